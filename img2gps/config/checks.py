"""Checks of a knob's value. The message names the knob, the value and the remedy."""

from __future__ import annotations

import math

from img2gps.core.errors import BadInput


def check(key: str, value: object, ok: bool, remedy: str) -> None:
    """Raise `BadInput` unless `ok`."""
    if not ok:
        raise BadInput(f"{key}={value}: {remedy}")


def positive(key: str, value: float | None, unit: str = "") -> None:
    """Refuse zero, negative numbers and infinity."""
    fit = value is None or (value > 0 and math.isfinite(value))
    check(key, value, fit, f"must be above 0{unit}; give {key}=NUMBER")


def within(key: str, value: float | None, low: float, high: float) -> None:
    """Refuse numbers outside an interval."""
    check(key, value, value is None or low <= value <= high, f"must lie between {low} and {high}")
