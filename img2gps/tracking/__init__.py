"""Mirrors of a run: Weights & Biases or TensorBoard. The run folder is the truth, they follow it.

A tracker never raises into training and never holds it up: what goes wrong becomes one line of
warning, and `img2gps sync` later makes up for it from the run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.runs.tracker import Tracker


class Nothing:
    """The mirror of a run that has none: history.csv is there anyway."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Nothing to do."""

    def finish(self, result: Mapping[str, Any], folder: Path, exit_code: int) -> None:
        """Nothing to do."""


def open_tracker(
    logger: LoggerConfig,
    *,
    run_id: str,
    study: str,
    folder: Path,
    config: Mapping[str, Any],
    swept: Mapping[str, Any],
    mean_predictor_m: float | None = None,
) -> Tracker:
    """The tracker that `logger=...` asks for.

    Args:
        logger: group `logger`.
        run_id: becomes the W&B id, so that a resumed run is the same run there.
        study: becomes the W&B group.
        folder: the run folder; history.csv in it is what curves are drawn from.
        config: the resolved configuration, plain values.
        swept: what result.json calls so: flat figures that name and sort runs.
        mean_predictor_m: RMSE of the mean predictor, drawn as a line beside the curves.

    Raises:
        BadInput: logger=tensorboard without TensorBoard.
    """
    match logger.kind:
        case LoggerKind.csv | LoggerKind.none:
            return Nothing()
        case LoggerKind.tensorboard:
            from img2gps.tracking.tensorboard import TensorBoardTracker

            return TensorBoardTracker(folder)
        case LoggerKind.wandb | LoggerKind.wandb_offline:
            from img2gps.tracking import live, mirror

            about = mirror.Description(run_id, study, dict(config), dict(swept))
            return live.WandbTracker(logger, folder, about, mean_predictor_m)


def log_cell_means(study_folder: Path) -> None:
    """Send the mean curve of each finished cell and the table of a finished study to W&B.

    Call it at a study's end: where to is in its runs' configurations. Never raises; what is there
    already is not sent again.
    """
    from img2gps.tracking import live

    live.publish_study(study_folder)
