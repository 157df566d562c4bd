"""Mirrors of a run at Weights & Biases, in MLflow or in TensorBoard, of what its folder says.

A tracker never raises into the training and never holds it up. What goes wrong becomes one line
of warning, and `img2gps sync` uploads later what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Several:
    """Several trackers of one run, each of which gets everything."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Give each tracker the epoch."""
        for tracker in self._trackers:
            tracker.epoch(epoch, metrics)

    def finish(self, result: RunResult | None, exit_code: int) -> None:
        """Tell each tracker that the run has ended."""
        for tracker in self._trackers:
            tracker.finish(result, exit_code)


def open_tracker(
    logger: LoggerConfig, folder: Path, swept: Mapping[str, Any], mean_predictor_m: float | None
) -> Tracker:
    """Return the tracker that `logger=...` and `logger.also=[...]` ask for.

    Args:
        logger: group `logger` of the configuration.
        folder: the run folder, with its config.yaml. Its name becomes the W&B id, so that a
            resumed run is the same run there, and its study's name becomes the W&B group.
        swept: the knobs that people vary, flat; they name and sort runs.
        mean_predictor_m: RMSE of the mean predictor, drawn as a line beside the curves.

    Raises:
        BadInput: TensorBoard or MLflow is asked for and not installed.
    """
    trackers = [_open(kind, logger, folder, swept, mean_predictor_m) for kind in logger.kinds]
    return trackers[0] if len(trackers) == 1 else Several(trackers)


def _open(
    kind: LoggerKind,
    logger: LoggerConfig,
    folder: Path,
    swept: Mapping[str, Any],
    mean_predictor_m: float | None,
) -> Tracker:
    match kind:
        case LoggerKind.csv | LoggerKind.none:
            return NoTracker()
        case LoggerKind.tensorboard:
            from img2gps.tracking.tensorboard import TensorBoardTracker

            return TensorBoardTracker(folder)
        case LoggerKind.wandb | LoggerKind.wandb_offline:
            from img2gps.tracking.live import WandbTracker

            return WandbTracker(logger, folder, swept, mean_predictor_m)
        case LoggerKind.mlflow:
            from img2gps.tracking.mlflow.tracker import MlflowTracker

            return MlflowTracker(logger, folder, swept, mean_predictor_m)


def end_study(study_folder: Path) -> None:
    """Send what a study has beyond its runs: to W&B means and a table, to MLflow how it ended.

    The runs' configurations say where to. Never raises; sends nothing twice.
    """
    from img2gps.tracking import live
    from img2gps.tracking.mlflow import study

    live.publish_cells(study_folder)
    study.end_study(study_folder)
