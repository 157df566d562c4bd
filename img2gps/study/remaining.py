"""How long a study still takes, from what its finished runs took."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from img2gps.study.trials import Entry

_COSTED = {"model", "split"}  # what the relative cost of a run allows for, or what costs nothing
_ALIKE = 3.0  # kinds of runs whose costs differ by less foretell each other's

Kind = tuple[tuple[str, str], ...]


def seconds_left(entries: Sequence[Entry], *, searched: bool, at_once: int) -> float | None:
    """Return the seconds that the runs that have not ended take; None where nothing foretells them.

    Finished runs of the same kind say how many seconds a unit of cost takes: a solved head takes
    a fraction of a second, a network on the same photos minutes. Of a search all runs are of one
    kind, because it has not drawn the cells that are left.
    """
    rates: dict[Kind, list[float]] = defaultdict(list)
    costs: dict[Kind, list[float]] = defaultdict(list)
    for entry in entries:
        kind = () if searched else _kind(entry)
        cost = 1.0 if searched or not entry.ref else entry.ref.cost
        if entry.done and entry.done.seconds:
            rates[kind].append(entry.done.seconds / cost)
        elif not entry.state.has_ended:
            costs[kind].append(cost)
    if not rates:
        return None
    average = statistics.fmean if searched else statistics.median
    known = {kind: average(found) for kind, found in rates.items()}
    similar = max(known.values()) <= _ALIKE * min(known.values())
    if not similar and costs.keys() - known.keys():
        return None
    usual = statistics.fmean(known.values())
    left = [cost * known.get(kind, usual) for kind, own in costs.items() for cost in own]
    return max(sum(left) / at_once, max(left, default=0.0))  # a run has one worker


def _kind(entry: Entry) -> Kind:
    """Return what a run is besides its numbers, such as its head and its recipe."""
    words = {key: value for key, value in entry.params.items() if isinstance(value, str)}
    return tuple(sorted((key, value) for key, value in words.items() if key not in _COSTED))
