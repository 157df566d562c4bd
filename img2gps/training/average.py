"""The average of a run's weights over its steps."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging


class WeightAverage(EMAWeightAveraging):
    """Lightning's average, which leaves alone the buffers that no checkpoint has.

    These are constants, such as the normalisation. On some processors the average of a constant is
    not quite that constant, because each step rounds it; the model that is loaded from a checkpoint
    would then not be the one that was validated.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note which buffers no checkpoint has."""
        super().setup(trainer, pl_module, stage)
        saved = pl_module.state_dict(keep_vars=True)
        self._constants = [name for name, _ in pl_module.named_buffers() if name not in saved]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any, **named: Any
    ) -> None:
        """Average the weights after a step, and put the constants back."""
        super().on_train_batch_end(trainer, pl_module, *batch, **named)
        with torch.no_grad():
            for name in self._constants:
                self.averaged.get_buffer(name).copy_(pl_module.get_buffer(name))

    @property
    def averaged(self) -> pl.LightningModule:
        """The module that holds the average; there is one during training."""
        assert self._average_model is not None
        module = self._average_model.module
        assert isinstance(module, pl.LightningModule)
        return module
