"""Losses in metres agree with what SciPy says of the same distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import huber

from img2gps.config.schema import LossConfig, LossName
from img2gps.core.geo import LabelScaler, distance_m
from img2gps.training.losses import make_loss

RNG = np.random.default_rng(0)
LAT, LON = 40.95 + RNG.normal(0, 1e-3, 50), -75.19 + RNG.normal(0, 1e-3, 50)
SCALER = LabelScaler.fit(LAT, LON)


def scaled(rows: slice) -> torch.Tensor:
    return torch.from_numpy(SCALER.scale(LAT[rows], LON[rows])).float()


def distances() -> np.ndarray:
    return np.asarray(distance_m(LAT[:20], LON[:20], LAT[20:40], LON[20:40]))


def spread_m() -> float:
    return float(np.linalg.norm(SCALER.unit_m()))


def test_l2_m_is_the_mean_distance_relative_to_the_spread() -> None:
    loss = make_loss(LossConfig(LossName.l2_m), SCALER)
    found = float(loss(scaled(slice(0, 20)), scaled(slice(20, 40))))
    assert found * spread_m() == pytest.approx(distances().mean(), rel=1e-3)


def test_huber_is_scipys_of_the_distances() -> None:
    loss = make_loss(LossConfig(LossName.huber, delta_m=40.0), SCALER)
    found = float(loss(scaled(slice(0, 20)), scaled(slice(20, 40))))
    expected = huber(40.0 / spread_m(), distances() / spread_m()).mean()
    assert found == pytest.approx(expected, rel=1e-3)


def test_an_exact_answer_has_a_finite_slope() -> None:
    answers = scaled(slice(0, 5)).requires_grad_()
    for name in (LossName.l2_m, LossName.huber):
        loss = make_loss(LossConfig(name), SCALER)(answers, answers.detach())
        (slope,) = torch.autograd.grad(loss, answers)
        assert torch.isfinite(slope).all()


def test_spread_is_the_root_mean_square_distance_from_the_mean() -> None:
    away = distance_m(LAT, LON, LAT.mean(), LON.mean())
    assert spread_m() == pytest.approx(np.sqrt(np.mean(away**2)), rel=1e-3)
