"""Numbers of things, in words."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, thing: str) -> str:
    """Return the number with the thing's name, in the plural if there are several.

    >>> counted(1, "epoch"), counted(3, "seed")
    ('1 epoch', '3 seeds')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and that there are more if there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c"], most=2)
    ('a, b', 'a, b, ...')
    """
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def among_others(number: int, others: int, thing: str) -> str:
    """Return how many of the other things are meant.

    >>> [among_others(n, 3, "cell") for n in (0, 1, 3)]
    ['none of the 3 other cells', '1 of the 3 other cells', 'all 3 other cells']
    >>> [among_others(n, n, "cell") for n in (1, 2)]
    ['the other cell', 'both other cells']
    """
    if number == others == 1:
        return f"the other {thing}"
    if number == others:
        return f"both other {thing}s" if others == 2 else f"all {others} other {thing}s"
    return f"{number or 'none'} of the {others} other {thing}s"
