"""What differs between two configurations or identities, in one line for each value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from img2gps.core.nested import flat


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return `key=old (now new)` for every value that differs between two nested mappings."""
    old, new = _listed(flat(before)), _listed(flat(after))
    absent = "absent"
    return [
        f"{key}={old.get(key, absent)} (now {new.get(key, absent)})"
        for key in sorted(old.keys() | new.keys())
        # By their text, because 1 and 1.0 are equal to Python and different to a knob.
        if json.dumps(old.get(key, absent)) != json.dumps(new.get(key, absent))
    ]


def _listed(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Make lists of tuples, as JSON does."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in leaves.items()}
