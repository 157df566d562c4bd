"""The budget of a study: when it stops before all is run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from img2gps.core.errors import BadInput
from img2gps.runs.records import RunState

if TYPE_CHECKING:
    from img2gps.study.trials import Entry


@dataclass(frozen=True)
class Budget:
    """What a study may spend; None is no limit.

    Attributes:
        minutes: of wall-clock time, for each command anew.
        epochs, runs: of the whole study, without linked runs.
    """

    minutes: float | None = None
    epochs: int | None = None
    runs: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not 0 < value < math.inf:
                raise BadInput(f"hydra.sweeper.budget.{item.name}={value}: must be above 0")

    def spent(self, runs: Sequence[Entry], max_epochs: int) -> str:
        """Return which limit another run would break; "" if none.

        A run under way counts with all its epochs.
        """
        begun = [run for run in runs if _counts(run)]
        if self.runs is not None and len(begun) >= self.runs:
            return f"budget.runs={self.runs}"
        epochs = sum(_epochs(run, max_epochs) for run in begun)
        if self.epochs is not None and epochs + max_epochs > self.epochs:
            return f"budget.epochs={self.epochs}"
        return ""


def _counts(run: Entry) -> bool:
    """Whether a run has used the budget; a linked run was never attempted here."""
    return run.state is RunState.running or (run.state.has_ended and run.attempts > 0)


def _epochs(run: Entry, max_epochs: int) -> int:
    if run.state is RunState.running:
        return int(run.params.get("max_epochs", max_epochs))
    return (run.done.epochs if run.done else run.epochs) or 0
