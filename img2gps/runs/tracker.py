"""What a run tells the services that mirror it; `img2gps.tracking` has the mirrors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """What follows a run from outside, such as Weights & Biases."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in an epoch whose row is in history.csv."""

    def finish(self, result: Mapping[str, Any], folder: Path, exit_code: int) -> None:
        """Take in the end: `result` is what result.json holds, empty after an interruption."""
