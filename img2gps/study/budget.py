"""The budget of a study: when it stops before all is run."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from img2gps.core.errors import BadInput


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
