"""Log likelihood and coverage of the densities that heads give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from img2gps.config.heads import MixtureConfig
from img2gps.training.density import DensityFit
from img2gps.training.heads.mixture import Mixture

UNIT_M = torch.tensor([60.0, 80.0])


class Round:
    """A Gaussian of `width_m` around the origin, whatever the features say."""

    def __init__(self, width_m: float) -> None:
        self.width_m = width_m

    def log_density(self, features: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        away_m: torch.Tensor = (positions * UNIT_M).norm(dim=2) / self.width_m
        return -(away_m**2) / 2 - math.log(2 * math.pi * self.width_m**2)

    def draw(self, features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        noise = torch.randn(len(features), count, 2, generator=generator)
        return noise * self.width_m / UNIT_M


def fit(head: Round | Mixture, labels_m: np.ndarray, features: torch.Tensor) -> dict[str, float]:
    collected = DensityFit()
    targets = torch.from_numpy(labels_m).float() / UNIT_M
    for part in torch.split(torch.arange(len(labels_m)), 100):
        collected.update(head, features[part], targets[part])
    found: dict[str, float] = collected.compute()
    return found


@pytest.mark.parametrize(("width_m", "half"), [(20.0, 0.5), (10.0, None), (40.0, None)])
def test_likelihood_and_coverage_are_those_of_scipy(width_m: float, half: float | None) -> None:
    labels_m = np.random.default_rng(0).normal(0, 20, (2000, 2))
    found = fit(Round(width_m), labels_m, torch.zeros(2000, 1))
    density = stats.multivariate_normal(cov=[[width_m**2, 0], [0, width_m**2]])
    assert found["nll"] == pytest.approx(-density.logpdf(labels_m).mean(), rel=1e-5)
    for level in (0.5, 0.9):
        radius = stats.chi2(2).ppf(level) * width_m**2  # the smallest region is a disc
        expected = (np.square(labels_m).sum(axis=1) <= radius).mean()
        assert found[f"coverage_{100 * level:.0f}"] == pytest.approx(expected, abs=0.02)
    if half is not None:
        assert found["coverage_50"] == pytest.approx(half, abs=0.03)


def test_draws_of_a_mixture_are_spread_as_it_says() -> None:
    torch.manual_seed(1)
    head = Mixture(5, MixtureConfig(count=3))
    head.place(torch.randn(200, 2), UNIT_M)
    features = torch.randn(1, 5)
    with torch.no_grad():
        drawn = head.draw(features, 20_000, torch.Generator().manual_seed(0))
        log_shares, means, width_m = head.components(features)
        found = fit(head, (drawn[0, :2000] * UNIT_M).numpy(), features.expand(2000, -1))
    shares, means_m = log_shares[0].exp().numpy(), (means[0] * UNIT_M).numpy()
    mean_m = shares @ means_m
    variance = shares @ ((means_m - mean_m) ** 2 + width_m[0].numpy()[:, None] ** 2)
    drawn_m = (drawn[0] * UNIT_M).numpy()
    assert drawn_m.mean(axis=0) == pytest.approx(mean_m, abs=2)
    assert drawn_m.std(axis=0) == pytest.approx(np.sqrt(variance), rel=0.03)
    assert found["coverage_50"] == pytest.approx(0.5, abs=0.03)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.03)


def test_without_photos_nothing_is_known() -> None:
    assert all(math.isnan(value) for value in DensityFit().summary().values())
