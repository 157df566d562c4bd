"""What runs and cells are called."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any


def run_id(identity: Mapping[str, Any]) -> str:
    """Return ten hex digits of the SHA-256 of what can change the result, as canonical JSON.

    >>> run_id({"lr": 0.001, "seed": 0}) == run_id({"seed": 0, "lr": 0.001})
    True
    """
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def without_fold(cell: str) -> str:
    """Return the cell that is ranked: all folds of a k-fold split together are one cell.

    >>> without_fold("lr=0.001,split=kfold,split.fold=3"), without_fold("split.fold=3")
    ('lr=0.001,split=kfold', 'folds')
    """
    return re.sub(r"(^|,)split\.fold=[^,]*", "", cell).lstrip(",") or "folds"
