"""How surely a study shows the noise of a difference, against other studies of the same truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from img2gps.analysis.stats.noise import MOST_DOUBT, Noise, noises_of
from tests.helpers import fake_study
from tests.helpers.fake_study import draw_errors, draw_photos

Floats = NDArray[np.float64]

KNOWN = stats.Luck(0.03, 1e6, 0.03, 9)


def study(seed: int, alike_m: float = 0.0) -> tuple[Floats, stats.Places]:
    """Return errors (2, 3, 60) and places of two cells that are 8 m apart."""
    rng = np.random.default_rng([9, seed])
    photos = draw_photos(rng, 60, 42)
    noise = fake_study.Noise(cell_seed=0.03)
    if alike_m:
        noise = fake_study.Noise(cell_seed=0.03, alike_m=alike_m, cells_alike=True, pull=0.4)
    offset = draw_errors(rng, photos, [70.0, 78.0], 3, noise)
    position = np.stack([photos.east, photos.north], axis=1) if alike_m else None
    return np.hypot(offset[..., 0], offset[..., 1]), stats.Places(photos.spot, position)


def noise_of(error: Floats, places: stats.Places, luck: stats.Luck = KNOWN) -> Noise:
    """Return what two cells show."""
    (found,) = noises_of(error, places, luck, stats.OF_DIFFERENCES, [True, True])
    return found


@pytest.mark.parametrize(("alike_m", "expected"), [(0.0, 0.4), (30.0, 0.75)])
def test_a_study_knows_how_badly_it_knows_its_noise(alike_m: float, expected: float) -> None:
    found = [noise_of(*study(seed, alike_m)) for seed in range(120)]
    real = float(np.std([math.log(one.photo_m2 * one.alike) for one in found]))
    stated = math.sqrt(np.mean([one.doubt**2 for one in found]))
    assert real == pytest.approx(expected, abs=0.12)
    assert stated == pytest.approx(real, rel=0.2)


def test_neighbours_are_left_out_together_where_positions_count() -> None:
    """Spots that err alike say less of their noise than as many independent ones."""
    doubts = []
    for seed in range(20):
        error, places = study(seed, 30.0)
        known = [places, stats.Places(places.spot)]
        near, bare = (noise_of(error, one) for one in known)
        assert near.photo_m2 == pytest.approx(bare.photo_m2)
        assert near.alike >= bare.alike == 1.0
        doubts.append((near.doubt, bare.doubt))
    with_positions, without = np.mean(doubts, axis=0)
    assert with_positions > without + 0.05


NOISE = Noise(
    difference_m=1.0, error_m=0.0, photo_m2=400.0, alike=1.0, doubt=0.0, measured=True,
    rmse_m2=0.0, luck=stats.NO_LUCK,
)  # fmt: skip


def test_differences_follow_the_quantiles_of_the_noise() -> None:
    """Without luck, the logarithm of the noise has Student's t about its mean."""
    middle, low, high = replace(NOISE, alike=2.0, doubt=0.5).differences(100, 3)
    assert middle == pytest.approx(math.sqrt(1 / (2 * math.exp(0.125))), rel=0.02)
    reach = float(scipy_stats.t.ppf(0.95, 9)) * 0.25
    assert low / middle == pytest.approx(math.exp(-reach), rel=0.03)
    assert high / middle == pytest.approx(math.exp(reach), rel=0.03)


def test_a_difference_that_was_only_observed_may_be_none_at_all() -> None:
    assert NOISE.differences(100, 3) == pytest.approx([1.0, 1.0, 1.0])
    middle, low, high = replace(NOISE, error_m=0.6).differences(100, 3)
    assert middle == pytest.approx(1.0)
    assert [low, high] == pytest.approx([1 - 0.6 * 1.645, 1 + 0.6 * 1.645], abs=0.05)
    middle, low, high = replace(NOISE, difference_m=0.0, error_m=2.0).differences(100, 3)
    assert middle == 0.0
    assert [low, high] == pytest.approx([-2 * 1.645, 2 * 1.645], abs=0.15)


def test_the_standard_error_of_a_difference_is_that_of_its_interval() -> None:
    error, places = study(5)
    observed, given = (
        noises_of(error, places, KNOWN, stats.OF_DIFFERENCES, [True, True], observed=so)[0]
        for so in (True, False)
    )
    interval = stats.contrast_interval(error, [-1.0, 1.0], places, luck=KNOWN)
    total = math.hypot(interval.se_photos, interval.se_seeds)
    assert observed.difference_m == given.difference_m == pytest.approx(interval.estimate)
    assert observed.error_m == pytest.approx(total, rel=0.05)
    assert given.error_m == 0.0


def test_more_photos_leave_the_luck_and_more_seeds_the_spots() -> None:
    noise = replace(NOISE, alike=4.0, rmse_m2=1e4, luck=KNOWN)
    few, many = (noise.differences(photos, 3)[0] for photos in (60, 6_000_000))
    assert few == pytest.approx(math.sqrt((400 / 60 + 3) / (4 * 400 / 60 + 3)), rel=0.01)
    assert many == pytest.approx(1.0, abs=0.01)


def test_a_luck_that_was_estimated_as_none_may_still_be_some() -> None:
    noise = replace(NOISE, rmse_m2=1e4, luck=stats.Luck(0.0, 10, 0.03, 5))
    middle, low, high = noise.differences(60, 3)
    assert [middle, high] == pytest.approx([1.0, 1.0], abs=1e-3)
    assert 0.5 < low < 0.95


def test_cells_that_no_seed_changes_have_no_luck() -> None:
    error, places = study(6)
    once = np.full_like(error, np.nan)
    once[0, 0], once[1] = error[0, 0], error[1]
    both, one = (
        noises_of(once, places, KNOWN, stats.OF_DIFFERENCES, trained)[0]
        for trained in ([True, True], [False, True])
    )
    first, second = stats.cell_rmse(once)
    assert both.rmse_m2 == pytest.approx(first**2 + second**2)
    assert one.rmse_m2 == pytest.approx(second**2)


@pytest.mark.filterwarnings("error")
def test_equal_cells_and_few_spots_and_positions_that_coincide_have_finite_differences() -> None:
    error, places = study(4)
    equal = np.stack([error[0], error[0]])
    for luck in (stats.NO_LUCK, KNOWN, stats.ASSUMED, stats.Luck(0.01, 10, 0.05, 5)):
        assert noise_of(equal, places, luck).differences(60, 3) == pytest.approx([0.0] * 3)
    three = noise_of(error, stats.Places(np.arange(60) % 3))
    assert (three.doubt, three.measured) == (MOST_DOUBT, False)
    assert np.isfinite(three.differences(60, 3)).all()
    same = noise_of(error, stats.Places(places.spot, np.zeros((60, 2))))
    assert not same.measured
    assert np.isfinite(same.differences(60, 3)).all()
