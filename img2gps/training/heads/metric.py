"""head=metric: neighbours in a space in which photos of near places are made alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from img2gps.config.heads import MetricConfig
from img2gps.training.heads.ground import GroundHead
from img2gps.training.heads.kept import KeptTensors
from img2gps.training.heads.neighbours import NearSetting, weighted_means
from img2gps.training.heads.solved import centred_directions, unit

COPY = 0.9999  # cosine of the features above which two photos are one


class Metric(KeptTensors, GroundHead):
    """Answers from the neighbours in a linear projection of frozen features, which it learns.

    The loss is contrastive: a photo is to be more similar to training photos within `near_m` than
    to those beyond `far_m`. Those in between do not count. It keeps all training photos.
    """

    kept = ("centre", "directions", "positions")
    centre: Tensor
    directions: Tensor
    positions: Tensor

    def __init__(self, width: int, config: MetricConfig) -> None:
        super().__init__()
        self.width, self.config = width, config
        self.layer = nn.Linear(width, config.dim, bias=False)

    def place(self, targets: Tensor, unit_m: Tensor) -> None:
        """Keep the positions of the training photos."""
        super().place(targets, unit_m)
        self.positions = targets

    def remember(self, features: Tensor) -> None:
        """Keep the features (n, d) of the training photos, in the order of their positions."""
        whole = features[:, : self.width].float()
        self.centre = whole.mean(dim=0)
        (directions,) = centred_directions(whole)
        self.directions = directions.half()

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2)."""
        similarity, itself = self._similarity(features)
        if self.training:  # as if the photo had not been seen
            similarity = similarity.masked_fill(itself, -torch.inf)
        setting = NearSetting(self.config.k, self.config.temperature)
        return weighted_means(similarity, self.positions, [setting])[0]

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log share of the photos nearby, over photos that have any."""
        similarity, itself = self._similarity(features)
        away_m = ((targets[:, None] - self.positions) * self.unit_m).norm(dim=2)
        near = (away_m <= self.config.near_m) & ~itself
        far = away_m > self.config.far_m
        alike = similarity / self.config.temperature
        nearby = alike.masked_fill(~near, -torch.inf).logsumexp(dim=1)
        counted = alike.masked_fill(~(near | far), -torch.inf).logsumexp(dim=1)
        has = near.any(dim=1)
        return (counted[has] - nearby[has]).sum() / max(1, int(has.sum()))

    def _similarity(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines (m, n) with the training photos, and where the two are one photo."""
        kept = self.directions.float()
        asked = unit(features.float() - self.centre)
        itself = asked @ kept.T > COPY
        return unit(self.layer(asked)) @ unit(self.layer(kept)).T, itself
