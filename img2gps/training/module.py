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

from img2gps.config.own import make_own
from img2gps.config.schema import (
    Config,
    LossName,
    OptimizerConfig,
    OptimizerName,
    SchedulerConfig,
    SchedulerName,
    TrainedPart,
)
from img2gps.core.geo import LabelScaler
from img2gps.training.data import Batch, derived_seed
from img2gps.training.density import Density, DensityFit
from img2gps.training.heads.ground import GroundHead
from img2gps.training.losses import make_loss
from img2gps.training.metrics import PositionErrors, as_degrees, collect, load_extra
from img2gps.training.model import Regressor
from img2gps.training.shared_norm import SharedBatchNorm
from img2gps.training.team import Team

VALIDATION_PHASES = ("val", "train", "inner")  # in the order of PhotoData.val_dataloader
INNER_RMSE = "inner/rmse_m"  # of the training photos that only stop the training
BACKBONE_PREFIX = "model.backbone."  # of the backbone's tensors in a checkpoint
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
        self.team = Team()
        self.model = model
        respond = model.answer if config.model.train is TrainedPart.head else model.forward
        self.automatic_optimization = not config.is_solved
        self.strict_loading = not model.backbone_is_known
        # The method is compiled, not the module, so that the names in the checkpoint stay the same.
        self._regress: Callable[[Tensor], Tensor] = (
            torch.compile(respond) if config.trainer.compile else respond
        )
        self.scaler = scaler
        self.config = config
        self.loss = make_loss(config.loss, scaler)
        self._brings_loss = any(isinstance(part, GroundHead) for part in model.head.modules())
        self.density_fit = DensityFit() if isinstance(model.head, Density) else None
        # Means over batches, however many photos each has: "disable" leaves weights out.
        # "disable": a NaN must show, and looking for one would cost a CUDA sync per batch.
        self.train_mse = MeanMetric(nan_strategy="disable")
        self.val_mse = MeanMetric(nan_strategy="disable")
        self.errors = nn.ModuleDict(
            {
                "errors_val": PositionErrors(load_extra(config.metrics)),
                "errors_train": PositionErrors(),
                **({"errors_inner": PositionErrors()} if config.stops_early else {}),
            }
        )
        self.epoch_metrics: dict[str, float] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return latitude and longitude in degrees, (n, 2) float64 on the CPU."""
        return self._degrees(self._regress(images))

    def _degrees(self, scaled: Tensor) -> Tensor:
        return as_degrees(*self.scaler.unscale(scaled.detach().cpu().double().numpy()))

    def _step(self, phase: str, batch: Batch) -> Tensor:
        if phase == "fit" and self._brings_loss:
            return self._fit_step(batch)
        if phase == "val" and self.density_fit is not None:
            scaled = self._judge_density(batch, self.density_fit)
        else:
            scaled = self._regress(batch.inputs)
        mse = functional.mse_loss(scaled, batch.targets)
        if phase == "fit":
            self.train_mse.update(mse.detach() * batch.share.scale)
            plain = self.config.loss.name is LossName.mse and batch.weight is None
            return mse if plain else self.loss(scaled, batch.targets, batch.weight)
        if phase == "val":
            self.val_mse.update(mse * batch.share.scale)
        counted = batch.share.counted
        predicted = self._degrees(scaled)[counted]
        self.position_errors(phase).update(batch.rows[counted], batch.label[counted], predicted)
        return mse

    def _fit_step(self, batch: Batch) -> Tensor:
        """Return the loss that the head brings."""
        features = self._features(batch)
        mse = functional.mse_loss(self.model.answer(features).detach(), batch.targets)
        self.train_mse.update(mse * batch.share.scale)
        return self.model.head_loss(features, batch.targets, self.loss)

    def _judge_density(self, batch: Batch, fit: DensityFit) -> Tensor:
        """Collect how well the head's density fits the labels, and return its answers."""
        assert isinstance(self.model.head, Density)
        features = self._features(batch).float()
        with torch.autocast(features.device.type, enabled=False):
            fit.update(self.model.head, features, batch.targets, batch.share.counted)
        return self.model.answer(features)

    def _features(self, batch: Batch) -> Tensor:
        if self.config.model.train is TrainedPart.head:
            return batch.inputs
        features: Tensor = self.model.backbone(batch.inputs)
        return features

    def position_errors(self, phase: str) -> PositionErrors:
        """Return the errors collected for "val", for the "train" sample or for "inner" photos."""
        errors = self.errors[f"errors_{phase}"]
        assert isinstance(errors, PositionErrors)
        return errors

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss; of a share, scaled as its number of photos asks."""
        if not batch.share.is_divided:
            return self._step("fit", batch)
        with SharedBatchNorm():
            return self._step("fit", batch) * batch.share.scale

    def validation_step(self, batch: Batch, _: int, dataloader_idx: int = 0) -> None:
        """Collect the errors of the validation part or of the training sample."""
        self._step(VALIDATION_PHASES[dataloader_idx], batch)

    def on_train_epoch_start(self) -> None:
        """Forget the loss of the last epoch."""
        self.train_mse.reset()

    def loss_so_far(self) -> tuple[Tensor, Tensor]:
        """Return the sum of this epoch's training losses, and of their weights."""
        return self.train_mse.mean_value, self.train_mse.weight

    def restore_loss(self, loss: tuple[Tensor, Tensor]) -> None:
        """Go on from what `loss_so_far` returned."""
        self.train_mse.update(0.0, weight=0.0)  # so that it counts as updated
        device = self.train_mse.device
        self.train_mse.mean_value, self.train_mse.weight = (part.to(device) for part in loss)

    def on_train_batch_start(self, _: Any, batch_index: int) -> None:
        """Seed the draws inside the model, such as dropout, by seed, epoch and process alone.

        Not before the first batch, because making its iterator draws a number as well, and a
        resumed run makes it at another moment.
        """
        if batch_index == 0:
            of_process = () if self.team.leads else (self.team.rank,)
            torch.manual_seed(derived_seed(self.config.seed, self.current_epoch, *of_process))

    def on_validation_epoch_start(self) -> None:
        """Forget the errors of the last epoch."""
        self.val_mse.reset()
        if self.density_fit is not None:
            self.density_fit.reset()
        for name in self.errors:
            self.position_errors(name.removeprefix("errors_")).reset()

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics of the epoch."""
        for name in self.errors:
            errors = self.position_errors(name.removeprefix("errors_"))
            collect(errors, ("rows", "label", "predicted"), self.team)
        if self.density_fit is not None:
            collect(self.density_fit, ("log_likelihood", "mass"), self.team)
        trained = self.train_mse.update_called
        validation = self.position_errors("val").summary()
        if self.density_fit is not None:
            validation |= self.density_fit.summary()
        self.epoch_metrics = {
            "train/mse": float(self.train_mse.compute()) if trained else math.nan,
            "train/rmse_m": self.position_errors("train").summary()["rmse_m"],
            "val/mse": float(self.val_mse.compute()) if self.val_mse.update_called else math.nan,
            **{f"val/{name}": value for name, value in validation.items()},
        }
        if self.config.stops_early:
            self.epoch_metrics[INNER_RMSE] = self.position_errors("inner").summary()["rmse_m"]
        self.log_dict(self.epoch_metrics, batch_size=1)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig | None:
        """Return the optimiser and a schedule that steps once an epoch; None for solved heads."""
        if self.config.is_solved:
            return None
        optimizer = _optimizer(self.config.optimizer, self.model, self.config.lr)
        schedule = _schedule(self.config.scheduler, optimizer, self.config.max_epochs)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "epoch"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the label scaling with the weights, and no backbone that can be found again."""
        checkpoint["label_scaler"] = asdict(self.scaler)
        if self.model.backbone_is_known:
            state = checkpoint["state_dict"]
            kept = {k: v for k, v in state.items() if not k.startswith(BACKBONE_PREFIX)}
            checkpoint["state_dict"] = kept

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the label scaling."""
        self.scaler = LabelScaler(**checkpoint["label_scaler"])


def _optimizer(config: OptimizerConfig, model: Regressor, lr: float) -> torch.optim.Optimizer:
    groups = _parameter_groups(config, model, lr)
    decay, betas = config.weight_decay, (config.betas[0], config.betas[1])
    match config.name:
        case OptimizerName.adam:
            return torch.optim.Adam(groups, lr, betas, weight_decay=decay, fused=True)
        case OptimizerName.adamw:
            return torch.optim.AdamW(groups, lr, betas, weight_decay=decay, fused=True)
        case OptimizerName.sgd:
            momentum = config.momentum
            return torch.optim.SGD(groups, lr, momentum, weight_decay=decay, fused=True)
        case OptimizerName.custom:
            for group in groups:
                del group["weight_decay"]  # its own arguments say it
            own: torch.optim.Optimizer = make_own("optimizer", config.custom or {}, groups, lr)
            return own


def _parameter_groups(config: OptimizerConfig, model: Regressor, lr: float) -> list[dict[str, Any]]:
    """Divide the parameters by learning rate and weight decay, the highest rate first."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    of_head = {id(parameter) for parameter in model.head.parameters()}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = lr if id(parameter) in of_head else lr * config.backbone_lr
            norm = parameter.ndim == 1  # of normalisation layers, and biases
            decay = 0.0 if norm and not config.decay_norms else config.weight_decay
            groups.setdefault((rate, decay), []).append(parameter)
    ranked = sorted(groups.items(), key=lambda group: -group[0][0])  # history has the first rate
    return [{"params": p, "lr": rate, "weight_decay": d} for (rate, d), p in ranked]


def _schedule(
    config: SchedulerConfig, optimizer: torch.optim.Optimizer, max_epochs: int
) -> lr_scheduler.LRScheduler:
    after = max(1, max_epochs - config.warmup_epochs)
    main: lr_scheduler.LRScheduler
    match config.name:
        case SchedulerName.step:
            main = lr_scheduler.StepLR(optimizer, config.step_size, config.gamma)
        case SchedulerName.cosine:
            lowest = config.min_factor * min(group["lr"] for group in optimizer.param_groups)
            main = lr_scheduler.CosineAnnealingLR(optimizer, after, lowest)
        case SchedulerName.none:
            main = lr_scheduler.LambdaLR(optimizer, _constant)
        case SchedulerName.custom:
            main = make_own("scheduler", config.custom or {}, optimizer)
    if config.warmup_epochs == 0:
        return main
    warmup = lr_scheduler.LinearLR(optimizer, WARMUP_START, 1.0, config.warmup_epochs)
    return lr_scheduler.SequentialLR(optimizer, [warmup, main], [config.warmup_epochs])


def _constant(_: int) -> float:
    return 1.0
