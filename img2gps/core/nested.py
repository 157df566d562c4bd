"""Nested mappings, such as a configuration or a result, as one flat mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flat(nested: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """Return one flat mapping whose keys are the path to each value.

    >>> flat({"lr": 0.1, "split": {"kind": "random", "seed": 0}})
    {'lr': 0.1, 'split.kind': 'random', 'split.seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            inner = flat(value, separator)
            found |= {f"{key}{separator}{name}": item for name, item in inner.items()}
        else:
            found[str(key)] = value
    return found
