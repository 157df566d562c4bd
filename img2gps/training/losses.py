"""What training minimises, of the errors of a batch of scaled positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from img2gps.config.own import own_function
from img2gps.config.schema import LossConfig, LossName
from img2gps.core.geo import LabelScaler

TINY_M2 = 1e-4  # a centimetre squared: the root has no slope at zero

Loss = Callable[[Tensor, Tensor], Tensor]  # of answers and targets, both (n, 2) and scaled


def make_loss(config: LossConfig, scaler: LabelScaler) -> Loss:
    """Return the loss of a run.

    `mse` is the study's: the mean squared error of the scaled axes. The others are of distances in
    metres on the local plane, divided by the spread of the training positions, so that a learning
    rate means about the same with each of them. A loss of the user's own takes answers and
    targets, both scaled.
    """
    if config.name is LossName.mse:
        return functional.mse_loss
    if config.custom is not None:
        return own_function("loss", config.custom)
    unit_m = torch.from_numpy(scaler.unit_m()).float()
    spread_m = unit_m.norm()

    def distances(answers: Tensor, targets: Tensor) -> Tensor:
        metres = (answers - targets) * unit_m.to(answers.device)
        return (metres.square().sum(dim=1) + TINY_M2).sqrt().div(spread_m)

    if config.name is LossName.l2_m:
        return lambda answers, targets: distances(answers, targets).mean()
    delta = config.delta_m / float(spread_m)

    def huber(answers: Tensor, targets: Tensor) -> Tensor:
        away = distances(answers, targets)
        return functional.huber_loss(away, torch.zeros_like(away), delta=delta)

    return huber
