"""Numbers of things, in words."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return the number with the thing's name, in the plural if there are several.

    >>> counted(1, "epoch"), counted(3, "seed")
    ('1 epoch', '3 seeds')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
