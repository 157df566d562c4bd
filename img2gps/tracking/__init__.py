"""Mirrors of a run at Weights & Biases or in TensorBoard. They show what the run folder says.

A tracker never raises into the training and never holds it up. What goes wrong becomes one line
of warning, and `img2gps sync` uploads later what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.runs.records import RunResult
from img2gps.runs.tracker import Tracker


class NoTracker:
    """The tracker of a run that is shown nowhere. history.csv exists anyway."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def finish(self, result: RunResult | None, exit_code: int) -> None:
        """Do nothing."""


def open_tracker(
    logger: LoggerConfig, folder: Path, swept: Mapping[str, Any], mean_predictor_m: float | None
) -> Tracker:
    """Return the tracker that `logger=...` asks for.

    Args:
        logger: group `logger` of the configuration.
        folder: the run folder, with its config.yaml. Its name becomes the W&B id, so that a
            resumed run is the same run there, and its study's name becomes the W&B group.
        swept: the knobs that people vary, flat; they name and sort runs.
        mean_predictor_m: RMSE of the mean predictor, drawn as a line beside the curves.

    Raises:
        BadInput: TensorBoard is asked for and not installed.
    """
    match logger.kind:
        case LoggerKind.csv | LoggerKind.none:
            return NoTracker()
        case LoggerKind.tensorboard:
            from img2gps.tracking.tensorboard import TensorBoardTracker

            return TensorBoardTracker(folder)
        case LoggerKind.wandb | LoggerKind.wandb_offline:
            from img2gps.tracking.live import WandbTracker

            return WandbTracker(logger, folder, swept, mean_predictor_m)


def log_cell_means(study_folder: Path) -> None:
    """Send the mean curves of a study's finished cells, and its table once it is done, to W&B.

    The runs' configurations say where to. Never raises; sends nothing twice.
    """
    from img2gps.tracking import live

    live.publish_cells(study_folder)
