"""The loss of a head that may bring its own, or be an average of several."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from img2gps.training.heads.average import AverageHead
from img2gps.training.heads.ground import GroundHead
from img2gps.training.losses import Loss


def training_loss(
    head: nn.Module,
    features: Tensor,
    targets: Tensor,
    loss: Loss,
) -> Tensor:
    """Return what training minimises; of an average, the mean over the heads that are trained."""
    if isinstance(head, GroundHead):
        return head.loss(features, targets)
    if isinstance(head, AverageHead):
        each = [
            training_loss(part, head.read(part, features), targets, loss) for part in head.trained()
        ]
        return torch.stack(each).mean()
    return loss(head(features), targets)
