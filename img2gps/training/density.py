"""How well the density that a head gives fits the labels: log likelihood and coverage."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

LEVELS = (0.5, 0.9)
DRAWS = 500  # positions for each photo, from which its most likely regions are known
NAMES = ("nll", *(f"coverage_{100 * level:.0f}" for level in LEVELS))


@runtime_checkable
class Density(Protocol):
    """A head that gives a density over the ground, per square metre."""

    def log_density(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return the log density (m, p) at scaled positions (m, p, 2)."""

    def draw(self, features: Tensor, count: int, generator: Generator) -> Tensor:
        """Return scaled positions (m, count, 2) drawn from the density."""


@runtime_checkable
class GaussianMixture(Protocol):
    """A head whose density is a mixture of round Gaussians on the ground."""

    def components(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log shares (m, k), scaled means (m, k, 2) and widths in metres (m, k)."""

    def deviation_m(self, features: Tensor) -> Tensor:
        """Return the root mean square distance (m,) in metres of the density from the answer."""


class DensityFit(Metric):
    """Collects how the densities of an epoch fit the labels.

    `nll` is the mean negative log likelihood in nats, of a density per square metre.
    `coverage_90` is the share of the photos whose label lies in the smallest region with 90 % of
    the density: 0.9 for a head that knows how sure it is.
    """

    full_state_update = False
    log_likelihood: list[Tensor]
    mass: list[Tensor]  # of the region that is at least as likely as the label

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)  # see `collect`
        for name in ("log_likelihood", "mass"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self, head: Density, features: Tensor, targets: Tensor, counted: slice = slice(None)
    ) -> None:
        """Add the `counted` photos of a batch by features (m, d) and scaled labels (m, 2)."""
        at_label = head.log_density(features, targets[:, None])
        drawn = head.draw(features, DRAWS, Generator(features.device).manual_seed(0))
        likelier = head.log_density(features, drawn) > at_label
        self.log_likelihood.append(at_label[counted, 0])
        self.mass.append(likelier.float().mean(dim=1)[counted])

    def summary(self) -> dict[str, float]:
        """Return what `compute` does; NaN where there are no photos."""
        if not self.mass:
            return dict.fromkeys(NAMES, math.nan)
        found: dict[str, float] = self.compute()
        return found

    def compute(self) -> dict[str, float]:
        """Return the figures by name."""
        mass = dim_zero_cat(self.mass)
        nll = -dim_zero_cat(self.log_likelihood).mean()
        covered = [(mass <= level).float().mean() for level in LEVELS]
        return dict(zip(NAMES, map(float, (nll, *covered)), strict=True))
