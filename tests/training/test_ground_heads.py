"""Cells and mixtures: laid over the photos, their densities and losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from img2gps.config.heads import CellsConfig, CellsReadout, MixtureConfig
from img2gps.training.heads.cells import Cells
from img2gps.training.heads.ground import divide
from img2gps.training.heads.mixture import Mixture

UNIT_M = torch.tensor([60.0, 80.0])


def positions(n: int = 200) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0))


def mixture(count: int = 3, width: int = 5) -> Mixture:
    torch.manual_seed(1)
    head = Mixture(width, MixtureConfig(count=count))
    head.place(positions(), UNIT_M)
    return head


@pytest.mark.parametrize("count", [2, 5, 32])
def test_parts_hold_about_as_many_photos(count: int) -> None:
    places = positions() * UNIT_M
    centres = divide(places, count)
    nearest = torch.cdist(places, centres).argmin(dim=1)
    assert len(centres) == count
    assert torch.bincount(nearest, minlength=count).max() <= 3 * 200 / count


def test_more_parts_than_places_repeat_the_last() -> None:
    places = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    centres = divide(places, 5)
    assert centres.shape == (5, 2)
    assert {tuple(row) for row in centres.tolist()} == {(0.0, 0.0), (3.0, 0.0)}


def test_density_of_a_mixture_integrates_to_one() -> None:
    head = mixture()
    features = torch.randn(2, 5)
    step_m = 2.0
    axis = torch.arange(-600, 600, step_m)
    east, north = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([east, north], dim=-1).reshape(1, -1, 2) / UNIT_M
    with torch.no_grad():
        mass = head.log_density(features, grid).exp().sum(dim=1) * step_m**2
    assert mass.numpy() == pytest.approx(1.0, abs=1e-3)


def test_density_of_a_mixture_is_scipys() -> None:
    head = mixture()
    features, asked = torch.randn(1, 5), positions(7)
    with torch.no_grad():
        log_shares, means, widths = head.components(features)
        found = head.log_density(features, asked[None])[0]
    expected = np.zeros(7)
    for share, mean, width in zip(log_shares[0].exp(), means[0], widths[0], strict=True):
        normal = multivariate_normal((mean * UNIT_M).numpy(), float(width) ** 2)
        expected += float(share) * normal.pdf((asked * UNIT_M).numpy())
    assert found.exp().numpy() == pytest.approx(expected, rel=1e-4)


def test_loss_of_a_mixture_is_the_mean_negative_log_likelihood_by_its_spread() -> None:
    head = mixture()
    features, targets = torch.randn(6, 5), positions(6)
    with torch.no_grad():
        each = [head.log_density(features[i : i + 1], targets[None, i : i + 1]) for i in range(6)]
        expected = -float(torch.cat(each).mean()) - 2 * math.log(float(UNIT_M.norm()))
        assert float(head.loss(features, targets)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("readout", list(CellsReadout))
def test_cells_learn_where_photos_were_taken(readout: CellsReadout) -> None:
    torch.manual_seed(2)
    targets = positions()
    features = torch.cat([targets, targets.square(), torch.sin(3 * targets)], dim=1)
    head = Cells(6, CellsConfig(count=16, readout=readout))
    head.place(targets, UNIT_M)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    before = float((head(features).detach() - targets).square().mean())
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(head.loss(features, targets))
        optimizer.step()
    with torch.no_grad():
        assert float((head(features) - targets).square().mean()) < 0.3 * before


def test_a_soft_cell_is_right_by_its_distance() -> None:
    head = Cells(2, CellsConfig(count=2, tau_m=10.0))
    head.place(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), UNIT_M)  # 60 m apart
    torch.nn.init.zeros_(head.logits.weight)
    near, far = 1 / (1 + math.exp(-6)), 1 / (1 + math.exp(6))
    with torch.no_grad():
        head.logits.bias.copy_(torch.tensor([near, far]).log())
        target = head.centres[:1]
        found = head.loss(torch.zeros(1, 2), target)
    entropy = -near * math.log(near) - far * math.log(far)
    away = far * 1.0  # of the mean from the first cell, in units of the first axis
    assert float(found) == pytest.approx(entropy + away**2 / 2, rel=1e-3)
