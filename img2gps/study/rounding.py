"""Published tables, rounded to a tenth of a millimetre: more digits take room and say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DECIMALS = {"_m": 4, "_deg": 9}  # 1e-9 degrees of latitude are 0.11 mm


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table with its metres and degrees rounded; all else stays as it is."""
    return {column: _rounded(column, value) for column, value in row.items()}


def _rounded(column: str, value: Any) -> Any:
    decimals = next((n for unit, n in DECIMALS.items() if column.endswith(unit)), None)
    if decimals is None or value in ("", None):
        return value
    return round(float(value), decimals)
