"""Heads that learn by gradient descent."""

from __future__ import annotations

from torch import nn

from img2gps.config.heads import MlpConfig


def linear(features: int) -> nn.Module:
    """Return the study's head: one linear layer."""
    return nn.Linear(features, 2)


def mlp(features: int, config: MlpConfig) -> nn.Module:
    """Return one hidden layer with batch normalisation and dropout on normalised features."""
    return nn.Sequential(
        nn.BatchNorm1d(features, affine=False),
        nn.Dropout(config.dropout),
        nn.Linear(features, config.width),
        nn.BatchNorm1d(config.width),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.width, 2),
    )
