"""The confirmation of a search: its best cells, run again with seeds that it did not use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Confirmation:
    """Which cells are confirmed, decided when the search has ended.

    Attributes:
        cells: the best cells of the search without their folds, the best first.
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

    def has(self, cell: str, seed: int) -> bool:
        """Whether a run is one of the confirming runs."""
        from img2gps.runs.folder import without_fold  # which reads records, and these this module

        return seed in self.seeds and without_fold(cell) in self.cells
