"""Checkpoints inside an epoch, for runs whose epochs take long."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from img2gps.training.checkpoint import MIDWAY
from img2gps.training.data import PhotoData
from img2gps.training.module import GeoRegression


class MidwayCheckpoint(pl.Callback):
    """Saves a run between two batches, and lets it go on with the batch that follows.

    Beside what Lightning saves, the numbers of the epoch depend on which batches are left, on the
    state of the generators, and on the training loss so far.
    """

    def __init__(self, path: Path, minutes: float | None) -> None:
        """Take the file, and how many minutes apart it is written; None for never."""
        self.path = path
        self._interval_s = None if minutes is None else 60 * minutes
        self._saved = time.monotonic()
        self._batches = 0  # of the epoch, while a checkpoint is written between two of them
        self._restored: dict[str, Any] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Remove the checkpoint of the epoch before: that of its end has replaced it."""
        self._remove(trainer)
        self._saved = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Remove the checkpoint of the last epoch."""
        self._remove(trainer)

    def _remove(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            self.path.unlink(missing_ok=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        """Save if it is time to, unless the epoch ends here or gradients are being accumulated."""
        *_, batch_index = args
        batches = batch_index + 1
        if self._interval_s is None:
            return
        if batches == trainer.num_training_batches or batches % trainer.accumulate_grad_batches:
            return
        due = time.monotonic() - self._saved >= self._interval_s
        if not trainer.strategy.broadcast(due):  # all processes must save at the same moment
            return
        self._batches = batches
        try:
            trainer.save_checkpoint(self.path, weights_only=False)
        finally:
            self._batches = 0
        self._saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what the rest of the epoch depends on."""
        if not self._batches:
            return
        assert isinstance(module, GeoRegression)
        own = {
            "loss": module.loss_so_far(),
            "draws": torch.get_rng_state(),
            "cuda_draws": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        first, *helpers = module.team.gather(own)
        checkpoint[MIDWAY] = {"batches": self._batches, **first, "helpers": helpers}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Skip the batches that the run has seen, and keep the rest for the first batch."""
        self._restored = checkpoint.get(MIDWAY)
        if self._restored is not None:
            data = trainer.datamodule  # type: ignore[attr-defined]  # set by fit
            assert isinstance(data, PhotoData)
            data.skipped_batches = self._restored["batches"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any
    ) -> None:
        """Restore the loss and the generators, which making the batches has drawn from."""
        if self._restored is None:
            return
        assert isinstance(module, GeoRegression)
        states = [self._restored, *self._restored.get("helpers", [])]
        if len(states) == module.team.size:
            own = states[module.team.rank]
            module.restore_loss(own["loss"])
        else:  # another number of processes began the epoch: the first has all its losses
            own = self._restored
            sums, weights = zip(*(state["loss"] for state in states), strict=True)
            scale = module.team.size / len(states)  # each process adds up every batch
            if module.team.leads:
                module.restore_loss((scale * sum(sums), scale * sum(weights)))
        torch.set_rng_state(own["draws"])
        if own["cuda_draws"]:
            torch.cuda.set_rng_state_all(own["cuda_draws"])
        self._restored = None
