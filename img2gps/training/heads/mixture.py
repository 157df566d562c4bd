"""head=mixture: a density over the ground, which says how sure an answer is."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from img2gps.config.heads import MixtureConfig
from img2gps.training.heads.ground import GroundHead, deviation_m, divide

START_SHARE = 0.5  # of the labels' spread: the width of every Gaussian before training


class Mixture(GroundHead):
    """A mixture of round Gaussians in metres on the local plane.

    It is trained by the negative log likelihood of the label, in nats, with the labels' spread as
    the unit of length. It answers the mean of the mixture.
    """

    centres: Tensor  # (components, 2), scaled
    spread_m: Tensor

    def __init__(self, width: int, config: MixtureConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centres", torch.zeros(config.count, 2))
        self.register_buffer("spread_m", torch.ones(()))
        self.layer = nn.Linear(width, 4 * config.count)  # share, two offsets and a log width each

    def place(self, targets: Tensor, unit_m: Tensor) -> None:
        """Put the Gaussians where the training photos are."""
        super().place(targets, unit_m)
        self.centres = divide(targets * self.unit_m, self.config.count) / self.unit_m
        self.spread_m = self.unit_m.norm()

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2)."""
        log_shares, means, _ = self.components(features)
        return (log_shares.exp()[..., None] * means).sum(dim=1)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log likelihood."""
        per_m2 = self.log_density(features, targets[:, None])[:, 0]
        return -(per_m2 + 2 * self.spread_m.log()).mean()

    def log_density(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return the log density in 1/m^2 (m, p) at scaled positions (m, p, 2) or (1, p, 2)."""
        log_shares, means, width_m = self.components(features)
        away_m = (positions[:, :, None] - means[:, None]) * self.unit_m
        square = (away_m / width_m[:, None, :, None]).square().sum(dim=3)
        each = -square / 2 - math.log(2 * math.pi) - 2 * width_m.log()[:, None]
        return torch.logsumexp(log_shares[:, None] + each, dim=2)

    def draw(self, features: Tensor, count: int, generator: Generator) -> Tensor:
        """Return scaled positions (m, count, 2) drawn from the density."""
        log_shares, means, width_m = self.components(features)
        chosen = torch.multinomial(log_shares.exp(), count, replacement=True, generator=generator)
        centres = means.gather(1, chosen[..., None].expand(-1, -1, 2))
        noise = torch.randn(centres.shape, generator=generator, device=centres.device)
        return centres + noise * width_m.gather(1, chosen)[..., None] / self.unit_m

    def deviation_m(self, features: Tensor) -> Tensor:
        """Return the root mean square distance (m,) in metres of the density from the answer."""
        log_shares, means, width_m = self.components(features)
        shares = log_shares.exp()
        away_m = (means - (shares[..., None] * means).sum(dim=1, keepdim=True)) * self.unit_m
        return deviation_m(shares, away_m, width_m)

    def components(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log shares (m, k), scaled means (m, k, 2) and widths in metres (m, k)."""
        flat: Tensor = self.layer(features)
        out = flat.reshape(-1, self.config.count, 4)
        width_m = self.spread_m * START_SHARE * out[..., 3].clamp(-6, 3).exp()
        width_m = width_m.clamp_min(self.config.least_m)
        return out[..., 0].log_softmax(dim=1), self.centres + out[..., 1:3], width_m
