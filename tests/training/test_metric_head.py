"""head=metric: its loss, what it answers while it learns, and that it learns what matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from img2gps.config.heads import MetricConfig
from img2gps.training.heads.metric import Metric

UNIT_M = torch.tensor([60.0, 80.0])


def photos(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of which two say where the photo was taken, and 30 say louder something else."""
    draws = torch.Generator().manual_seed(seed)
    places = torch.rand(n, 2, generator=draws) * 2 - 1
    return torch.cat([places, 3 * torch.randn(n, 30, generator=draws)], dim=1), places


def head(features: torch.Tensor, places: torch.Tensor, **knobs: float) -> Metric:
    torch.manual_seed(0)
    made = Metric(features.shape[1], MetricConfig(**knobs))  # type: ignore[arg-type]  # whole numbers are floats
    made.place(places, UNIT_M)
    made.remember(features)
    return made


def error_m(made: Metric, features: torch.Tensor, places: torch.Tensor) -> float:
    with torch.no_grad():
        return float(((made(features) - places) * UNIT_M).norm(dim=1).mean())


def test_loss_is_the_negative_log_share_of_the_photos_nearby() -> None:
    features, places = photos(12, 0)
    made = head(features, places, near_m=40, far_m=60, temperature=0.5)
    found = float(made.loss(features[:5], places[:5]).detach())
    rows = features.numpy() - features.numpy().mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    learned = rows @ made.layer.weight.detach().numpy().T
    learned = learned / np.linalg.norm(learned, axis=1, keepdims=True)
    shares = []
    for i in range(5):
        away_m = np.linalg.norm((places[i] - places).numpy() * UNIT_M.numpy(), axis=1)
        weights = np.exp(learned[i] @ learned.T / 0.5)
        near = (away_m <= 40) & (np.arange(12) != i)
        if near.any():
            shares.append(weights[near].sum() / weights[near | (away_m > 60)].sum())
    assert found == pytest.approx(-np.log(shares).mean(), rel=1e-3)


def test_photos_without_any_nearby_give_no_loss() -> None:
    features = torch.eye(3)
    made = head(features, torch.tensor([[0.0, 0.0], [9.0, 9.0], [-9.0, 9.0]]))
    loss = made.loss(features, made.positions)
    torch.autograd.backward([loss])
    assert float(loss.detach()) == 0.0


def test_a_training_photo_does_not_find_itself_while_it_learns() -> None:
    features, places = photos(40, 0)
    made = head(features, places, k=1)
    assert error_m(made.eval(), features, places) == pytest.approx(0.0, abs=1e-3)
    assert error_m(made.train(), features, places) > 1.0


def test_it_learns_which_features_tell_places_apart() -> None:
    features, places = photos(300, 0)
    others = photos(200, 1)
    made = head(features, places, dim=8, near_m=20, far_m=40, temperature=0.1)
    before = error_m(made.eval(), *others)
    optimizer = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward([made.train().loss(features, places)])
        optimizer.step()
    assert error_m(made.eval(), *others) < 0.5 * before
