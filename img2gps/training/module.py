"""The LightningModule: one `_step` for all phases, errors in metres, optimiser and schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torchmetrics import MeanMetric

from img2gps.config.schema import (
    Config,
    OptimizerConfig,
    OptimizerName,
    SchedulerConfig,
    SchedulerName,
)
from img2gps.core.geo import LabelScaler
from img2gps.training.data import Batch, derived_seed
from img2gps.training.metrics import PositionErrors, as_degrees, load_extra
from img2gps.training.model import Regressor

VALIDATION_PHASES = ("val", "train")  # in the order of PhotoData.val_dataloader
WARMUP_START = 0.01  # of lr, in the first epoch of a warm-up


class GeoRegression(pl.LightningModule):
    """A regressor of scaled positions, trained with the mean squared error.

    After each epoch `epoch_metrics` holds the metrics of that epoch as Python floats. They are
    also logged for Lightning's own callbacks.
    """

    def __init__(
        self,
        model: Regressor,
        scaler: LabelScaler,
        config: Config,
    ) -> None:
        super().__init__()
        self.model = model
        # The method is compiled, not the module, so that the names in the checkpoint stay the same.
        self._regress: Callable[[Tensor], Tensor] = (
            torch.compile(model.forward) if config.trainer.compile else model.forward
        )
        self.scaler = scaler
        self.config = config
        # "disable": a NaN must show, and looking for one would cost a CUDA sync per batch.
        self.train_mse = MeanMetric(nan_strategy="disable")
        self.val_mse = MeanMetric(nan_strategy="disable")
        self.errors = nn.ModuleDict(
            {
                "errors_val": PositionErrors(load_extra(config.metrics)),
                "errors_train": PositionErrors(),
            }
        )
        self.epoch_metrics: dict[str, float] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return latitude and longitude in degrees, (n, 2) float64 on the CPU."""
        return self._degrees(self._regress(images))

    def _degrees(self, scaled: Tensor) -> Tensor:
        return as_degrees(*self.scaler.unscale(scaled.detach().cpu().double().numpy()))

    def _step(self, phase: str, batch: Batch) -> Tensor:
        scaled = self._regress(batch.images)
        loss = functional.mse_loss(scaled, batch.targets)
        if phase == "fit":
            self.train_mse.update(loss.detach(), weight=len(batch.rows))
            return loss
        if phase == "val":
            self.val_mse.update(loss, weight=len(batch.rows))
        self.position_errors(phase).update(batch.rows, batch.label, self._degrees(scaled))
        return loss

    def position_errors(self, phase: str) -> PositionErrors:
        """Return the errors collected for "val" or for the "train" sample."""
        errors = self.errors[f"errors_{phase}"]
        assert isinstance(errors, PositionErrors)
        return errors

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the mean squared error of the scaled positions."""
        return self._step("fit", batch)

    def validation_step(self, batch: Batch, _: int, dataloader_idx: int = 0) -> None:
        """Collect the errors of the validation part or of the training sample."""
        self._step(VALIDATION_PHASES[dataloader_idx], batch)

    def on_train_epoch_start(self) -> None:
        """Seed the draws inside the model, such as dropout, by seed and epoch alone."""
        torch.manual_seed(derived_seed(self.config.seed, self.current_epoch))
        self.train_mse.reset()

    def on_validation_epoch_start(self) -> None:
        """Forget the errors of the last epoch."""
        self.val_mse.reset()
        for phase in VALIDATION_PHASES:
            self.position_errors(phase).reset()

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics of the epoch."""
        trained = self.train_mse.update_called
        validation = self.position_errors("val").summary()
        self.epoch_metrics = {
            "train/mse": float(self.train_mse.compute()) if trained else math.nan,
            "train/rmse_m": self.position_errors("train").summary()["rmse_m"],
            "val/mse": float(self.val_mse.compute()) if self.val_mse.update_called else math.nan,
            **{f"val/{name}": value for name, value in validation.items()},
        }
        self.log_dict(self.epoch_metrics, batch_size=1)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimiser and a schedule that steps once an epoch."""
        optimizer = _optimizer(self.config.optimizer, self.model, self.config.lr)
        schedule = _schedule(self.config.scheduler, optimizer, self.config.max_epochs)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "epoch"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the label scaling with the weights."""
        checkpoint["label_scaler"] = asdict(self.scaler)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the label scaling."""
        self.scaler = LabelScaler(**checkpoint["label_scaler"])


def _optimizer(config: OptimizerConfig, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay, betas = config.weight_decay, (config.betas[0], config.betas[1])
    match config.name:
        case OptimizerName.adam:
            return torch.optim.Adam(parameters, lr, betas, weight_decay=decay, fused=True)
        case OptimizerName.adamw:
            return torch.optim.AdamW(parameters, lr, betas, weight_decay=decay, fused=True)
        case OptimizerName.sgd:
            return torch.optim.SGD(
                parameters, lr, momentum=config.momentum, weight_decay=decay, fused=True
            )


def _schedule(
    config: SchedulerConfig, optimizer: torch.optim.Optimizer, max_epochs: int
) -> lr_scheduler.LRScheduler:
    after = max(1, max_epochs - config.warmup_epochs)
    main: lr_scheduler.LRScheduler
    match config.name:
        case SchedulerName.step:
            main = lr_scheduler.StepLR(optimizer, config.step_size, config.gamma)
        case SchedulerName.cosine:
            lowest = config.min_factor * optimizer.param_groups[0]["lr"]
            main = lr_scheduler.CosineAnnealingLR(optimizer, after, lowest)
        case SchedulerName.none:
            main = lr_scheduler.LambdaLR(optimizer, _constant)
    if config.warmup_epochs == 0:
        return main
    warmup = lr_scheduler.LinearLR(optimizer, WARMUP_START, 1.0, config.warmup_epochs)
    return lr_scheduler.SequentialLR(optimizer, [warmup, main], [config.warmup_epochs])


def _constant(_: int) -> float:
    return 1.0
