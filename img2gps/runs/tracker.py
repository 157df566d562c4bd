"""What a run tells the service that mirrors it. `img2gps.tracking` has the mirrors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from img2gps.runs.records import RunResult


class Tracker(Protocol):
    """Follows a run from outside, as Weights & Biases does."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in an epoch whose row is in history.csv."""

    def finish(self, result: RunResult | None, exit_code: int) -> None:
        """Take in the end of the run; `result` is None after an interruption."""
