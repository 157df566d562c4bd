"""The Lightning callback that puts each epoch on disk and ends a run that has diverged."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

from img2gps.core import pulse, signals
from img2gps.runs.folder import PREDICTIONS_BEST, Diverged, RunFolder
from img2gps.runs.predictions import PredictionTable
from img2gps.training.module import GeoRegression

log = logging.getLogger(__name__)

EpochHook = Callable[[int, Mapping[str, float]], None]


class Recorder(pl.Callback):
    """Writes history.csv and predictions_best.csv, then calls the hooks with the epoch's row.

    It runs before the checkpoint is saved. A kill between the two leaves a row that is newer than
    the checkpoint, which resuming cuts.
    """

    def __init__(
        self, folder: RunFolder, table: PredictionTable, hooks: Sequence[EpochHook]
    ) -> None:
        self.folder = folder
        self.table = table
        self.hooks = hooks
        self.mean_predictor_m = table.mean_predictor_rmse_m()
        self.best_m = min((row["val/rmse_m"] for row in folder.history.rows()), default=math.inf)
        self._began = self._earlier_seconds = self._train_seconds = 0.0
        self._lr = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return how long this epoch has taken, for a run that goes on in the middle of it."""
        return {"epoch_seconds": self._epoch_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over how long the epoch had taken before."""
        self._earlier_seconds = state_dict["epoch_seconds"]

    def on_train_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Note the time and the learning rate where training goes on inside an epoch."""
        self._note(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Note the time and the learning rate of this epoch."""
        self._earlier_seconds = 0.0
        self._note(trainer)

    def _note(self, trainer: pl.Trainer) -> None:
        self._began = time.perf_counter()
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self._lr = float(groups[0]["lr"]) if groups else 0.0  # solved heads have no optimiser

    def _epoch_seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._began

    def on_train_batch_end(
        self, trainer: pl.Trainer, _: pl.LightningModule, outputs: Any, *__: Any
    ) -> None:
        """End the run if the loss is not finite.

        On CUDA this is checked only at the end of an epoch, to avoid a sync per batch.
        """
        signals.check()
        pulse.beat()
        if outputs["loss"].device.type == "cpu":
            _end_if_diverged(trainer, float(outputs["loss"]))

    def on_validation_batch_end(self, *_: Any) -> None:
        """Give a sign of progress."""
        pulse.beat()

    def on_validation_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Note how long the training batches of this epoch took."""
        self._train_seconds = self._epoch_seconds()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put the epoch on disk."""
        assert isinstance(module, GeoRegression)
        epoch = trainer.current_epoch + 1
        row = {"epoch": epoch, "lr": self._lr, **module.epoch_metrics}
        row["train_seconds"] = self._train_seconds
        row["seconds"] = self._epoch_seconds()
        for key in ("train/mse", "val/mse") if len(self.table.rows) else ("train/mse",):
            _end_if_diverged(trainer, row[key])
        self.folder.history.append(row)
        if row["val/rmse_m"] < self.best_m:
            self.best_m = row["val/rmse_m"]
            rows, _, predicted = module.position_errors("val").arrays()
            best = self.folder.path / PREDICTIONS_BEST
            self.table.write(best, rows, predicted[:, 0], predicted[:, 1])
        if not trainer.progress_bar_callback:
            log.info(
                "epoch %d/%d  lr %.3g  train/mse %.4f  val/rmse_m %.2f  (mean predictor %.2f)",
                epoch, trainer.max_epochs, self._lr, row["train/mse"], row["val/rmse_m"],
                self.mean_predictor_m,
            )  # fmt: skip
        for hook in self.hooks:
            hook(epoch, row)


def _end_if_diverged(trainer: pl.Trainer, loss: float) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"loss became {loss} in epoch {trainer.current_epoch + 1}; lower lr")
