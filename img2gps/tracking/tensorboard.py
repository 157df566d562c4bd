"""Mirroring a run's curves to TensorBoard, as event files in the run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.core.errors import BadInput
from img2gps.runs.records import RunResult

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes scalars epoch by epoch. A resumed run purges later points that it repeats."""

    def __init__(self, folder: Path) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401 - is it there?
        except ImportError as error:
            raise BadInput(
                "logger=tensorboard: TensorBoard is not installed; "
                "run `pip install 'img2gps[tensorboard]'` or choose another logger"
            ) from error
        self._folder = folder / FOLDER
        self._writer: SummaryWriter | None = None

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write one point of each curve."""
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=epoch)
        for key, value in metrics.items():
            if key != "epoch" and math.isfinite(value):
                self._writer.add_scalar(key, value, epoch)
        self._writer.flush()

    def finish(self, result: RunResult | None, exit_code: int) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
