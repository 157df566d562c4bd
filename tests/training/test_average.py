"""The average of a run's weights over its steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytorch_lightning as pl
import torch

from img2gps.training.average import WeightAverage


class Scaled(pl.LightningModule):
    """A weight, and a constant that no checkpoint has."""

    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("scale", torch.tensor([0.1]), persistent=False)


def test_weights_are_averaged_and_constants_stay_what_they_are() -> None:
    callback, module = WeightAverage(decay=0.9), Scaled()
    trainer = cast(Any, SimpleNamespace(global_step=1))
    callback.setup(trainer, module, "fit")
    callback.on_train_batch_end(trainer, module, None, None, 0)  # the first step is copied
    module.weight.data += 1.0
    callback.averaged.get_buffer("scale").add_(0.25)  # as if averaging had rounded it
    trainer.global_step = 2
    callback.on_train_batch_end(trainer, module, None, None, 1)
    torch.testing.assert_close(callback.averaged.get_parameter("weight").data, torch.tensor([0.1]))
    assert torch.equal(callback.averaged.get_buffer("scale"), module.scale)
