"""The confirmation of a search: its best cells, run again with seeds that it did not use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from img2gps.core.counted import counted
from img2gps.runs.names import without_fold
from img2gps.runs.states import RunState


@dataclass(frozen=True)
class Standing:
    """What a confirmation has come to: which runs rank the cells, and which cells may win.

    Once all fresh runs have ended, it is decided cell by cell. A cell is confirmed if one of its
    fresh seeds has finished with all folds; its fresh runs then rank it alone, because those by
    which the search found it owe a part of their figures to luck. A cell that has no such seed
    keeps the search's own runs and may not win. Until then, and where no cell is confirmed, the
    search's own runs rank all cells and any of them may win.

    Attributes:
        cells: those to be confirmed.
        seeds: the fresh ones.
        left: how many fresh runs have not ended; None where none is planned yet.
        confirmed: cells that are confirmed; empty while runs are left.
    """

    cells: tuple[str, ...]
    seeds: tuple[int, ...]
    left: int | None
    confirmed: frozenset[str]

    @property
    def pending(self) -> bool:
        """Whether fresh runs have still to end."""
        return self.left != 0

    @property
    def lost(self) -> list[str]:
        """The cells that could not be confirmed; empty while runs are left."""
        return [] if self.pending else [c for c in self.cells if c not in self.confirmed]

    def may_win(self, cell: str) -> bool:
        """Whether a cell, without its fold, may win."""
        return not self.confirmed or cell in self.confirmed

    def decides(self, cell: str, seed: int) -> bool:
        """Whether the runs of a cell, without its fold, with this seed rank it."""
        fresh = cell in self.cells and seed in self.seeds
        return fresh == (cell in self.confirmed)

    def lines(self) -> list[str]:
        """Say what the fresh runs lack, and what follows; nothing where every cell is confirmed."""
        if self.left is None:
            return [
                "The search is not confirmed yet: no fresh run has begun. Until all of them have "
                "ended, the search's own runs decide."
            ]
        if self.left:
            has, its = ("has", "it has") if self.left == 1 else ("have", "they have")
            return [
                f"The search is not confirmed yet: {counted(self.left, 'fresh run')} {has} not "
                f"ended. Until {its}, the search's own runs decide."
            ]
        if not self.lost:
            return []
        if not self.confirmed:
            return [
                f"The search is not confirmed: none of the fresh runs of its "
                f"{counted(len(self.cells), 'best cell')} has finished, so its own runs decide."
            ]
        which = "; ".join(self.lost)
        its, it = ("its", "it keeps") if len(self.lost) == 1 else ("their", "they keep")
        return [
            f"Not confirmed, because no fresh seed has finished: {which}. In the table {it} {its} "
            "figures of the search, but cannot win."
        ]


@dataclass(frozen=True)
class Confirmation:
    """Which cells are confirmed, decided when the search has ended.

    Attributes:
        cells: the best cells of the search without their folds, the best first; cells that were
            asked for later come after them.
        seeds: with which each of them is run; only these runs decide the winner.
        values: the metric of each cell in the search, which owes a part to luck.
        trials: how many finished trials there were to choose from; more of them decide anew.
    """

    cells: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    trials: int = 0

    @property
    def best(self) -> float:
        """What the best cell got in the search; NaN where it is not known."""
        return self.values[0] if self.values else math.nan

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned."""
        return cls(**{item.name: plain[item.name] for item in fields(cls) if item.name in plain})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def standing(self, runs: Iterable[tuple[str, int, RunState]]) -> Standing:
        """Return what the confirmation has come to.

        Args:
            runs: cell, with or without its fold, seed and state of each run of the study.
        """
        fresh: dict[tuple[str, int], list[RunState]] = {}
        for cell, seed, state in runs:
            if self.has(cell, seed):
                fresh.setdefault((without_fold(cell), seed), []).append(state)
        left = sum(not state.has_ended for states in fresh.values() for state in states)
        whole = {c for (c, _), states in fresh.items() if set(states) == {RunState.finished}}
        return Standing(
            tuple(self.cells),
            tuple(self.seeds),
            left if fresh else None,
            frozenset() if left else frozenset(whole),
        )

    def has(self, cell: str, seed: int) -> bool:
        """Whether a run is one of the confirming runs."""
        return seed in self.seeds and without_fold(cell) in self.cells
