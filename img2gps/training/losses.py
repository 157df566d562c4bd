"""What training minimises, of the errors of a batch of scaled positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from img2gps.config.own import own_function
from img2gps.config.schema import LossConfig, LossName
from img2gps.core.errors import BadInput
from img2gps.core.geo import LabelScaler

TINY_M2 = 1e-4  # a centimetre squared: the root has no slope at zero
MODEL_ERROR_M = 25.0  # which a good model makes anyway, however exact the label is


class Loss(Protocol):
    """A loss of answers and targets, both (n, 2) and scaled; `weight` (n,) is of each photo."""

    def __call__(self, answers: Tensor, targets: Tensor, weight: Tensor | None = None, /) -> Tensor:
        """Return the mean over the photos."""


class _Reduced(Protocol):
    def __call__(self, answers: Tensor, targets: Tensor, reduction: str, /) -> Tensor: ...


def make_loss(config: LossConfig, scaler: LabelScaler) -> Loss:
    """Return the loss of a run.

    `mse` is the study's: the mean squared error of the scaled axes. `l2_m` and `huber` are of
    distances in metres on the local plane, divided by the spread of the training positions, so
    that a learning rate means about the same with each of them. A loss of the user's own takes
    answers and targets, both scaled. `nll` comes from the head.
    """
    if config.custom is not None:
        return _own(config.custom)
    reduced = _mse if config.name in (LossName.mse, LossName.nll) else _of_distances(config, scaler)

    def loss(answers: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        if weight is None:
            return reduced(answers, targets, "mean")
        each = reduced(answers, targets, "none").reshape(len(answers), -1).mean(dim=1)
        return (each * weight).mean()

    return loss


def _own(node: Mapping[str, Any]) -> Loss:
    own = own_function("loss", node, "answers", "targets")

    def loss(answers: Tensor, targets: Tensor, _: Tensor | None = None) -> Tensor:
        found = own(answers, targets)
        if not isinstance(found, Tensor) or found.numel() != 1:
            what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise BadInput(
                f"loss._target_={node['_target_']}: returns {what}; return a tensor with one "
                "number, such as the mean over the photos"
            )
        return found

    return loss


def label_weights(gps_error_m: NDArray[np.float64], train: NDArray[np.int64]) -> Tensor:
    """Return the weight of each photo in the loss, (n,) float32, with a mean of 1 in training.

    A weight is the inverse of the variance that is expected between label and answer. A photo
    that does not say its error gets the median of those that do.
    """
    known = np.isfinite(gps_error_m)
    error_m = np.where(known, gps_error_m, np.median(gps_error_m[known]))
    weights = 1 / (MODEL_ERROR_M**2 + error_m**2)
    return torch.from_numpy((weights / weights[train].mean()).astype(np.float32))


def _mse(answers: Tensor, targets: Tensor, reduction: str) -> Tensor:
    return functional.mse_loss(answers, targets, reduction=reduction)


def _of_distances(config: LossConfig, scaler: LabelScaler) -> _Reduced:
    unit_m = torch.from_numpy(scaler.unit_m()).float()
    spread_m = unit_m.norm()
    delta = config.delta_m / float(spread_m)

    def reduced(answers: Tensor, targets: Tensor, reduction: str) -> Tensor:
        metres = (answers - targets) * unit_m.to(answers.device)
        away = (metres.square().sum(dim=1) + TINY_M2).sqrt().div(spread_m)
        if config.name is LossName.huber:
            zero = torch.zeros_like(away)
            return functional.huber_loss(away, zero, reduction=reduction, delta=delta)
        return away.mean() if reduction == "mean" else away

    return reduced
