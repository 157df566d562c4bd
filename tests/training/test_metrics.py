"""Errors in metres against numpy by hand and pyproj's geodesics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyproj import Geod

from img2gps.core.errors import BadInput
from img2gps.training import metrics

RNG = np.random.default_rng(0)
LAT = 39.951 + 0.001 * RNG.standard_normal(40)
LON = -75.191 + 0.001 * RNG.standard_normal(40)
PRED_LAT = LAT + 0.0003 * RNG.standard_normal(40)
PRED_LON = LON + 0.0003 * RNG.standard_normal(40)


def test_summary_agrees_with_geodesics_on_the_ellipsoid() -> None:
    state = metrics.PositionErrors()
    order = RNG.permutation(40)
    for rows in np.array_split(order, 3):
        label = metrics.as_degrees(LAT[rows], LON[rows])
        state.update(
            torch.from_numpy(rows), label, metrics.as_degrees(PRED_LAT[rows], PRED_LON[rows])
        )
    _, _, geodesic = Geod(ellps="WGS84").inv(LON, LAT, PRED_LON, PRED_LAT)
    computed = state.compute()
    # The mean sphere and the ellipsoid differ by up to 0.6 % in length.
    assert computed["rmse_m"] == pytest.approx(np.sqrt(np.mean(geodesic**2)), rel=0.006)
    assert computed["median_m"] == pytest.approx(np.median(geodesic), rel=0.006)
    assert computed["p90_m"] == pytest.approx(np.percentile(geodesic, 90), rel=0.006)
    assert computed["within_50m"] == np.mean(geodesic <= 50)


def test_collected_rows_come_back_in_the_manifests_order() -> None:
    state = metrics.PositionErrors()
    for added in ([5, 2], [9]):
        both = metrics.as_degrees(LAT[added], LON[added])
        state.update(torch.tensor(added), both, both)
    rows, label, predicted = state.arrays()
    assert rows.tolist() == [2, 5, 9]
    assert np.array_equal(label[:, 0], LAT[[2, 5, 9]])
    assert np.array_equal(predicted, label)


def test_extra_metric_sees_degrees() -> None:
    state = metrics.PositionErrors(
        {"lat_mae": lambda lat, lon, plat, plon: np.abs(lat - plat).mean()}
    )
    state.update(torch.tensor([0]), torch.tensor([[1.0, 2.0]]), torch.tensor([[1.5, 2.0]]))
    assert state.compute()["lat_mae"] == 0.5


def test_bias_and_spread_by_hand() -> None:
    lat, lon = np.array([0.0, 0.001]), np.array([10.0, 10.001])
    moved = metrics.bias_and_spread(lat, lon, lat + 0.0001, lon - 0.0002)
    metre = 6_371_008.8 * np.pi / 180
    assert moved["bias_north_m"] == pytest.approx(0.0001 * metre, rel=1e-6)
    assert moved["bias_east_m"] == pytest.approx(-0.0002 * metre, rel=1e-6)
    assert moved["spread_ratio"] == pytest.approx(1.0)
    constant = metrics.bias_and_spread(lat, lon, np.full(2, lat.mean()), np.full(2, lon.mean()))
    assert constant["spread_ratio"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("curve", "epoch"),
    [([90.0], 1), ([90, 60, 60.1, 60], 2), ([60, 90, 60], 3), ([90, 80, 70], 3), ([], None)],
)
def test_converged_epoch_is_the_first_that_stays_near_the_end(
    curve: list[float], epoch: int | None
) -> None:
    assert metrics.converged_epoch(curve) == epoch


def test_own_metric_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(BadInput, match=r"metrics\.mine: cannot be made .*no_such_package"):
        metrics.load_extra({"mine": {"_target_": "no_such_package.metric"}})
