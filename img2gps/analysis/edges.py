"""Winners at the end of an axis: a better value may lie beyond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_RATIO = 10.0  # of a value beyond the end to the end, however far apart a grid's values are


@dataclass(frozen=True)
class Edge:
    """A numeric axis at whose end a cell lies."""

    axis: str
    value: float
    suggestion: float  # the next value beyond, in the steps of the axis


def in_line(
    params: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], axes: Iterable[str]
) -> dict[str, list[Any]]:
    """Return the values that an axis has in the cells which differ from one in this axis alone.

    A list of cells need not have two that lie in a line.

    >>> cells = [{"lr": 0.1, "seed": 1}, {"lr": 0.2, "seed": 1}, {"lr": 0.4, "seed": 2}]
    >>> in_line(cells[0], cells, ["lr", "seed"])
    {'lr': [0.1, 0.2], 'seed': [1]}
    """
    rest = {axis: {**params, axis: None} for axis in axes if axis in params}
    return {
        axis: [cell[axis] for cell in cells if axis in cell and {**cell, axis: None} == others]
        for axis, others in rest.items()
    }


def edges(params: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> list[Edge]:
    """Return the axes at whose end a cell lies, with the next value beyond.

    >>> edges({"lr": 0.001, "batch_size": 16}, {"lr": [0.001, 0.002], "batch_size": [8, 16, 32]})
    [Edge(axis='lr', value=0.001, suggestion=0.0005)]
    """
    found = []
    for axis, given in axes.items():
        if axis.endswith("seed"):  # such as order_seed and split.seed: names of draws, no scale
            continue
        if not all(_is_number(value) for value in given) or not _is_number(params.get(axis)):
            continue
        values = sorted(set(map(float, given)))
        value = float(params[axis])
        if len(values) < 2 or value not in (values[0], values[-1]):
            continue
        inner = values[1] if value == values[0] else values[-2]
        if values[0] > 0:  # a geometric step, as for learning rates and batch sizes
            beyond = value * min(max(value / inner, 1 / MOST_RATIO), MOST_RATIO)
        else:
            beyond = 2 * value - inner
        if all(isinstance(given_value, int) for given_value in given):
            beyond = float(round(beyond))
        else:  # the fewest digits that still lie beyond the end
            rounded = (float(f"{beyond:.{digits}g}") for digits in range(1, 17))
            beyond = next((r for r in rounded if not values[0] <= r <= values[-1]), beyond)
        if values[0] >= 0 and beyond <= 0:
            continue  # nothing lies below
        found.append(Edge(axis, value, beyond))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
