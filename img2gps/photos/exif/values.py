"""Raw EXIF values as numbers and text, whichever library read them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

Tags = Mapping[int, Any]  # tag number to raw value


def numbers(value: object) -> list[float]:
    """Return the components of a value; 0/0 and text that is no number become NaN, x/0 infinity."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        parts = re.findall(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:/[-+]?[\d.]+)?|nan|inf", value)
        return [_number(part) for part in parts]
    if isinstance(value, Sequence):
        return [number for part in value for number in _component(part)]
    return [_number(value)]


def _component(part: object) -> list[float]:
    """Read two integers inside a value as one rational; side by side they are two components."""
    match part:
        case (int(numerator), int(denominator)):
            return [_ratio(numerator, denominator)]
    return numbers(part)


def _number(value: object) -> float:
    numerator = getattr(value, "numerator", None)
    denominator = getattr(value, "denominator", None)
    if numerator is not None and denominator is not None:
        return _ratio(numerator, denominator)
    try:
        if isinstance(value, str) and "/" in value:
            top, bottom = value.split("/")
            return _ratio(float(top), float(bottom))
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return math.nan


def _ratio(numerator: float, denominator: float) -> float:
    if denominator == 0:
        return math.nan if numerator == 0 else math.inf
    return float(numerator / denominator)


def scalar(value: object) -> float | None:
    """Return the first number if it is finite, else None."""
    found = numbers(value) if value is not None else []
    return found[0] if found and math.isfinite(found[0]) else None


def byte(value: object) -> int | None:
    """Return a field of type BYTE, which is bytes, a list or text, depending on the reader."""
    if isinstance(value, bytes) and value and value[0] < 32:
        return value[0]
    number = scalar(value)
    return None if number is None else int(number)


def text(value: object) -> str:
    """Return text up to its first NUL, with white space made single; "" for anything else."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return " ".join(value.split("\0")[0].split())


def letter(value: object) -> str:
    """Return the first letter of a reference such as "North" in upper case, or ""."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = "".join(chr(c) if isinstance(c, int) and 0 < c < 128 else str(c) for c in value)
    return str(value or "").strip("\0 \t\r\n").upper()[:1]
