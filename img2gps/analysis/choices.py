"""Choices that a user types, such as `lr=0.001` or `name=warm *`, and values that fit them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from img2gps.core.errors import BadInput

NAME = "name"
ABSENT = "absent"  # what is typed for a knob that does not exist for a cell
Choice = Mapping[str, str]  # knob (or "name") to value, in which * stands for anything


def read_choice(words: Sequence[str]) -> Choice:
    """Read words such as `lr=0.001` as a choice.

    Raises:
        BadInput: a word without an equals sign.
    """
    found = {}
    for word in words:
        knob, sign, value = word.partition("=")
        if not sign or not knob:
            raise BadInput(f"{word}: give KNOB=VALUE, such as lr=0.001")
        found[knob] = value
    return found


def fits(value: Any, pattern: str) -> tuple[str, ...] | None:
    """Return what each * of a pattern stands for in a value; None where the value does not fit.

    >>> fits(1e-05, "0.00001"), fits(True, "true"), fits("lr x k, batch 8", "lr x k, *")
    ((), (), ('batch 8',))
    """
    if "*" not in pattern:
        try:
            same = float(pattern) == float(plain(value))
        except ValueError:
            same = pattern == plain(value)
        return () if same else None
    wanted = "(.*)".join(re.escape(part) for part in pattern.split("*"))
    match = re.fullmatch(wanted, plain(value))
    return match.groups() if match else None


def plain(value: Any) -> str:
    """Return a value as one would type it.

    >>> plain(0.001), plain(8.0), plain(False), plain(None)
    ('0.001', '8', 'false', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_text(chosen: Choice) -> str:
    """Return a choice for a message.

    >>> as_text({"lr": "0.001", "batch_size": "8"})
    'lr=0.001 and batch_size=8'
    """
    return " and ".join(f"{knob}={value}" for knob, value in chosen.items())
