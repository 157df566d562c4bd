"""Losses in metres agree with what SciPy says of the same distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import huber

from img2gps.config.schema import LossConfig, LossName
from img2gps.core.geo import LabelScaler, distance_m
from img2gps.training.losses import label_weights, make_loss

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


def test_a_weight_of_one_for_all_changes_no_loss() -> None:
    answers, targets = scaled(slice(0, 20)), scaled(slice(20, 40))
    for name in (LossName.mse, LossName.l2_m, LossName.huber):
        loss = make_loss(LossConfig(name), SCALER)
        assert float(loss(answers, targets, torch.ones(20))) == pytest.approx(
            float(loss(answers, targets)), rel=1e-6
        )


def test_a_photo_counts_in_the_loss_by_its_weight() -> None:
    answers, targets = scaled(slice(0, 20)), scaled(slice(20, 40))
    weights = torch.linspace(0, 2, 20)
    found = float(make_loss(LossConfig(LossName.l2_m), SCALER)(answers, targets, weights))
    expected = np.average(distances(), weights=weights) * float(weights.mean())
    assert found * spread_m() == pytest.approx(expected, rel=1e-3)


def test_weights_are_inverse_variances_with_a_mean_of_one_over_the_training_photos() -> None:
    errors_m = np.array([5.0, 10.0, 60.0, np.nan, 20.0])
    weights = label_weights(errors_m, np.array([0, 1, 2])).numpy()
    assert weights[:3].mean() == pytest.approx(1)
    assert weights[0] / weights[2] == pytest.approx((25**2 + 60**2) / (25**2 + 5**2))
    median = label_weights(np.array([5.0, 10.0, 60.0, 15.0, 20.0]), np.array([0, 1, 2])).numpy()
    assert weights[3] == pytest.approx(median[3])
