"""Chances, equivalence and error profiles, against scipy and simulation with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from tests.helpers.fake_study import draw_errors, draw_photos

Floats = NDArray[np.float64]
PAIR = [1.0, -1.0]


def drawn(seed: int, rmse: list[float], seeds: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return errors (c, s, p) of an imagined validation set, and its spots."""
    rng = np.random.default_rng(seed)
    photos = draw_photos(rng, 60, 45)
    offset = draw_errors(rng, photos, rmse, seeds)
    return np.hypot(offset[..., 0], offset[..., 1]), photos.spot


def test_the_chance_is_that_of_runs_with_other_seeds_on_other_photos() -> None:
    runs = [drawn(10_000 + i, [70.0, 74.0], 1)[0][:, 0] for i in range(1500)]
    truth = np.mean([np.sqrt((a**2).mean()) < np.sqrt((b**2).mean()) for a, b in runs])
    found = []
    for i in range(150):
        error, spot = drawn(i, [70.0, 74.0], 3)
        found.append(stats.chance_of_lower(error, PAIR, spot, luck=stats.Luck(0.03, 50.0)))
    assert np.mean([chance.estimate for chance in found]) == pytest.approx(truth, abs=0.06)
    held = np.mean([chance.low <= truth <= chance.high for chance in found])
    assert held > 0.89  # 0.95 less 3.5 standard errors of 150 simulations


def test_chances_of_both_directions_sum_to_one() -> None:
    error, spot = drawn(1, [70.0, 74.0], 2)
    luck = stats.luck_of(error, spot)
    one = stats.chance_of_lower(error, PAIR, spot, luck=luck)
    other = stats.chance_of_lower(error[::-1], PAIR, spot, luck=luck)
    assert one.estimate + other.estimate == pytest.approx(1.0)
    assert one.low < one.estimate < one.high


def test_two_cells_are_equivalent_if_both_one_sided_t_tests_say_so() -> None:
    rng = np.random.default_rng(2)
    a = rng.gamma(2.0, 20.0, 25)
    b = a + rng.normal(0.2, 2.0, 25)
    spot, error = np.arange(25), np.stack([a, b])[:, None]
    apart = stats.difference_interval(a, b, spot, luck=stats.NO_LUCK)
    for margin in (0.5, 1.0, 2.0, 4.0):
        t = np.array([margin + apart.estimate, margin - apart.estimate]) / apart.se_photos
        p = scipy_stats.t.sf(t, 24).max()  # fewer than 30 spots: Student's t
        found = stats.equivalence(error, PAIR, spot, margin, luck=stats.NO_LUCK)
        assert found.shown == (p < 0.05)
    assert not stats.equivalence(error, PAIR, spot, 0.5, luck=stats.NO_LUCK).shown
    assert stats.equivalence(error, PAIR, spot, 4.0, luck=stats.NO_LUCK).shown


def test_equivalence_takes_the_outer_end_of_the_bootstraps_and_students_interval() -> None:
    outer = set()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        a = rng.gamma(2.0, 20.0, 50)
        b = a + rng.exponential(8.0, 50) * (1 if seed % 2 else -1)
        spot, error = np.arange(50), np.stack([a, b])[:, None]
        rmse = np.sqrt((error[:, 0] ** 2).mean(axis=1))
        by_photo = a**2 / (2 * rmse[0]) - b**2 / (2 * rmse[1])
        student = scipy_stats.t.interval(0.9, 49, rmse[0] - rmse[1], scipy_stats.sem(by_photo))
        drawn = stats.difference_interval(a, b, spot, luck=stats.NO_LUCK, level=0.9)
        found = stats.equivalence(error, PAIR, spot, 1.0, luck=stats.NO_LUCK).interval
        assert found.low == pytest.approx(min(student[0], drawn.low))
        assert found.high == pytest.approx(max(student[1], drawn.high))
        outer |= {found.low == drawn.low, found.high == drawn.high}
    assert outer == {True, False}  # each of them is the outer one somewhere


def test_a_profile_is_the_share_of_photos_within_a_distance() -> None:
    error = np.array([[1.0, 5.0, 9.0, 30.0], [3.0, 7.0, 9.0, 10.0]])
    found = stats.profile(error, np.arange(4), [2.0, 5.0, 9.5, 40.0])
    assert found.share.tolist() == [1 / 8, 3 / 8, 6 / 8, 1.0]
    assert (found.low <= found.share).all()
    assert (found.share <= found.high).all()


def test_the_band_of_a_profile_holds_the_whole_curve() -> None:
    at = np.linspace(10, 120, 12)
    held = 0
    for seed in range(150):
        error = np.random.default_rng(seed).rayleigh(50.0, 200)
        found = stats.profile(error, np.arange(200), at, n=400)
        truth = scipy_stats.rayleigh.cdf(at, scale=50.0)
        held += bool(((found.low <= truth) & (truth <= found.high)).all())
    assert held / 150 > 0.88  # 0.95 less 4 standard errors of 150 simulations


def test_the_chance_has_the_noise_of_single_runs_and_not_that_of_their_means() -> None:
    """Runs whose errors on the photos differ, though none has luck as a whole."""
    rng, spots, shift_m = np.random.default_rng(3), 60, 8.0
    rows = [(rng.gamma(4.0, 15.0, (2, 5, spots)), np.arange(spots)) for _ in range(200)]
    found = []
    wins = 0.0
    for error, spot in rows:
        error[0] -= shift_m
        error = np.abs(error)
        single = np.sqrt((error**2).mean(axis=2))
        wins += float((single[0][:, None] < single[1]).mean()) / len(rows)
        luck = stats.luck_of(error, spot, stats.Luck(0.0, 50.0))
        found.append(stats.chance_of_lower(error, PAIR, spot, luck=luck).estimate)
    assert wins < 0.95
    assert np.median(found) == pytest.approx(wins, abs=0.06)


def test_single_runs_show_no_equivalence() -> None:
    error, spot = drawn(4, [70.0, 70.0], 1)
    found = stats.equivalence(error, PAIR, spot, 1000.0)
    assert -1000 < found.interval.low < found.interval.high < 1000
    assert not found.shown
    assert stats.equivalence(error, PAIR, spot, 1000.0, luck=stats.NO_LUCK).shown


@pytest.mark.parametrize("alike", [0.0, 0.7])
def test_the_band_of_a_profile_holds_the_whole_curve_as_often_as_it_says(alike: float) -> None:
    """Before, with errors alike over 40 m, it held in 61 % of such studies."""
    at_m, held, spots = np.linspace(5, 300, 60), [], 60
    truth = scipy_stats.norm.cdf(np.log(at_m / 60) / 0.8)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        place = rng.uniform(0, 300, (spots, 2))
        near = np.exp(-np.hypot(*np.moveaxis(place[:, None] - place, 2, 0)) / 40)
        smooth = np.linalg.cholesky(near + 1e-9 * np.eye(spots)) @ rng.normal(size=spots)
        z = np.sqrt(alike) * smooth + np.sqrt(1 - alike) * rng.normal(size=spots)
        known = stats.Places(np.arange(spots), place if alike else None)
        found = stats.profile(60 * np.exp(0.8 * z)[None], known, at_m, n=300, seed=seed)
        held.append(((found.low <= truth + 1e-9) & (truth <= found.high + 1e-9)).all())
    assert np.mean(held) > 0.89  # 0.95 less 3 standard errors of 120 simulations
