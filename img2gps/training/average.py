"""The average of a run's weights over its steps."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import Tensor

BUFFERS = "average_buffers"  # in a checkpoint


class WeightAverage(EMAWeightAveraging):
    """Lightning's average, which also resumes the buffers that no checkpoint of a model has.

    The average of a constant, such as the normalisation, is not quite that constant: each step
    rounds it.
    """

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the buffers."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint[BUFFERS] = self._buffers()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the buffers."""
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        for name, buffer in self._buffers().items():
            if name in checkpoint.get(BUFFERS, {}):  # older checkpoints have none
                buffer.copy_(checkpoint[BUFFERS][name])

    @property
    def averaged(self) -> pl.LightningModule:
        """The module that holds the average; there is one during training."""
        assert self._average_model is not None
        module = self._average_model.module
        assert isinstance(module, pl.LightningModule)
        return module

    def _buffers(self) -> dict[str, Tensor]:
        if self._average_model is None:  # outside training
            return {}
        saved = self._average_model.state_dict()
        named = self._average_model.named_buffers()
        return {name: buffer for name, buffer in named if name not in saved}
