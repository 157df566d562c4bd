"""Correlation between spots, against dense matrices and simulation with known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from scipy.spatial.distance import cdist

from img2gps.analysis import stats
from img2gps.analysis.stats import Places, places

Floats = NDArray[np.float64]
N_SPOTS = 60


def ground(seed: int, side_m: float = 300.0) -> tuple[np.random.Generator, Floats]:
    """Return random numbers, and spots spread at random over a square."""
    rng = np.random.default_rng(seed)
    return rng, rng.uniform(0, side_m, (N_SPOTS, 2))


def kernel(position_m: Floats, range_m: float) -> Floats:
    """Return the exponential correlation of all pairs of spots."""
    return np.asarray(np.exp(-cdist(position_m, position_m) / range_m))


@pytest.mark.parametrize("within", [1.0, 0.3])
def test_a_covariance_widens_by_true_variance_over_the_variance_that_is_seen(within: float) -> None:
    rng, position_m = ground(0)
    sizes = rng.integers(1, 5, N_SPOTS).astype(np.float64)
    share, near = 0.7, kernel(position_m, 40.0)
    own = within + (1 - within) / sizes  # of a mean over photos that have this correlation
    covariance = share * near + (1 - share) * np.diag(own)
    sums = rng.multivariate_normal(np.zeros(N_SPOTS), covariance, 200_000) * sizes
    residual = sums - np.outer(sums.sum(axis=1) / sizes.sum(), sizes)
    seen = (residual**2).sum(axis=1) * N_SPOTS / (N_SPOTS - 1)
    square, lost = places._meaning(near, share, sizes, within)
    assert square == pytest.approx(sums.sum(axis=1).var() / seen.mean(), rel=0.02)
    # Satterthwaite: the variance of a chi-square mean with k degrees of freedom is 2 / k.
    assert lost == pytest.approx(seen.var() / seen.mean() ** 2 / 2, rel=0.02)


@pytest.mark.parametrize("within", [1.0, 0.5, 0.0])
def test_independent_spots_are_those_of_the_unit_matrix(within: float) -> None:
    sizes = np.random.default_rng(4).integers(1, 9, 20).astype(np.float64)
    found = places._independent(sizes, within)
    square, lost = places._meaning(np.zeros((20, 20)), 0.0, sizes, within)
    assert found.factor**2 == pytest.approx(square)
    assert found.freedom == pytest.approx(1 / lost)


def test_photos_that_are_less_alike_make_unequal_spots_count_for_more() -> None:
    sizes = np.array([9.0, *[1.0] * 19])
    alike, unlike = (places._independent(sizes, within) for within in (1.0, 0.0))
    # Independent photos: 28 - 1 less what the large spot's square takes.
    assert alike.freedom < 3 < unlike.freedom


def test_ranges_beyond_a_quarter_of_the_ground_are_left_out_for_differences() -> None:
    rng, position_m = ground(5, side_m=150.0)
    near = kernel(position_m, 100.0) + 1e-9 * np.eye(N_SPOTS)
    smooth = np.linalg.cholesky(near) @ rng.normal(size=N_SPOTS)
    spots = Places(np.arange(N_SPOTS), position_m)
    of_tests, of_differences = (
        spots.correlation(smooth, expected) for expected in (stats.OF_TESTS, stats.OF_DIFFERENCES)
    )
    all_ranges = replace(stats.OF_DIFFERENCES, longest=math.inf)
    assert of_differences.range_m <= 0.25 * 150 * math.sqrt(2) < of_tests.range_m
    assert of_differences.factor < spots.correlation(smooth, all_ranges).factor


def test_spots_on_a_circle_have_no_trend_away_from_the_middle() -> None:
    turn = np.linspace(0, 2 * math.pi, N_SPOTS, endpoint=False)
    circle = Places(np.arange(N_SPOTS), 50 * np.stack([np.cos(turn), np.sin(turn)], axis=1))
    error = np.random.default_rng(6).gamma(2.0, 20.0, (1, N_SPOTS))
    assert math.isfinite(stats.cell_interval(error, circle, luck=stats.NO_LUCK).high)


def test_spots_at_one_place_are_no_error() -> None:
    spots = Places(np.arange(N_SPOTS), np.zeros((N_SPOTS, 2)))
    error = np.random.default_rng(7).gamma(2.0, 20.0, (1, N_SPOTS))
    assert stats.cell_interval(error, spots, luck=stats.NO_LUCK).high > 0


def test_a_range_that_is_not_thought_possible_decides_nothing_however_likely() -> None:
    likelihood = np.array([-2000.0, -1990.0, 0.0])
    weight = places._posterior(likelihood, 0.5, np.array([True, True, False]))
    assert weight[1] == pytest.approx(1.0, abs=1e-4)
    assert weight[2] == 0.0


def test_the_restricted_likelihood_is_that_of_contrasts_without_the_trend() -> None:
    rng, position_m = ground(1)
    trend = np.stack([np.ones(N_SPOTS), rng.normal(size=N_SPOTS)], axis=1)
    contrasts = np.linalg.svd(trend, full_matrices=True)[0][:, 2:]
    near, z = kernel(position_m, 30.0), rng.normal(size=N_SPOTS)
    values, vectors = np.linalg.eigh(near)
    expected, shares = [], (0.0, 0.3, 0.8)
    for share in shares:
        covariance = share * near + (1 - share) * np.eye(N_SPOTS)
        y, own = contrasts.T @ z, contrasts.T @ covariance @ contrasts
        scale = y @ np.linalg.solve(own, y) / len(y)  # profiled out
        normal = scipy_stats.multivariate_normal(np.zeros(len(y)), scale * own)
        expected.append(normal.logpdf(y))
    found = places._likelihoods(z[None], trend, values, vectors, shares)
    assert np.diff(found) == pytest.approx(np.diff(expected))  # equal but for a constant


def test_errors_that_are_alike_over_some_distance_are_found_and_others_are_not() -> None:
    alike = []
    for seed in range(40):
        rng, position_m = ground(seed)
        spots = Places(np.arange(N_SPOTS), position_m)
        near = kernel(position_m, 60.0) + 1e-9 * np.eye(N_SPOTS)
        smooth = np.linalg.cholesky(near) @ rng.normal(size=N_SPOTS)
        rough = rng.normal(size=N_SPOTS)
        alike.append([spots.correlation(np.exp(x)).range_m > 0 for x in (smooth, rough)])
    smooth_found, rough_found = np.mean(alike, axis=0)
    assert smooth_found > 0.9
    assert rough_found < 0.1


def test_intervals_hold_the_truth_more_often_where_errors_are_alike_over_thirty_metres() -> None:
    held = np.zeros(2)
    for seed in range(200):
        rng, position_m = ground(seed)
        near = kernel(position_m, 30.0) + 1e-9 * np.eye(N_SPOTS)
        field = np.linalg.cholesky(near) @ rng.normal(size=N_SPOTS)
        error = 70 * np.exp(0.8 * field / 2 - 0.8**2 / 4)  # mean square 70 squared
        for i, known in enumerate((None, position_m)):
            spot = Places(np.arange(N_SPOTS), known)
            found = stats.cell_interval(error[None], spot, luck=stats.NO_LUCK)
            held[i] += found.low <= 70 <= found.high
    independent, measured = held / 200
    assert independent < 0.8
    assert measured > 0.88  # 0.93 less 2.5 standard errors of 200 simulations


def test_without_positions_spots_count_as_independent() -> None:
    error = np.random.default_rng(2).gamma(2.0, 20.0, (1, N_SPOTS))
    plain = stats.cell_interval(error, np.arange(N_SPOTS), luck=stats.NO_LUCK)
    assert stats.cell_interval(error, Places(np.arange(N_SPOTS)), luck=stats.NO_LUCK) == plain
    assert plain.alike_m == 0
    assert math.isclose(plain.freedom, N_SPOTS - 1)


def test_errors_alike_are_said() -> None:
    rng, position_m = ground(3)
    near = kernel(position_m, 60.0) + 1e-9 * np.eye(N_SPOTS)
    error = 70 * np.exp(0.8 * np.linalg.cholesky(near) @ rng.normal(size=N_SPOTS) / 2)
    spot = Places(np.arange(N_SPOTS), position_m)
    (note,) = stats.cell_interval(error[None], spot, luck=stats.NO_LUCK).notes
    assert note.startswith("errors alike over about ")
    assert "interval widened" in note
