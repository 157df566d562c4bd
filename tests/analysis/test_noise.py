"""How surely a study shows the noise of a difference, against other studies of the same truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

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
    (found,) = noises_of(error, places, luck, stats.OF_DIFFERENCES)
    return found


@pytest.mark.parametrize(("alike_m", "n", "expected"), [(0.0, 120, 0.4), (30.0, 50, 0.75)])
def test_a_study_knows_how_badly_it_knows_its_noise(
    alike_m: float, n: int, expected: float
) -> None:
    found = [noise_of(*study(seed, alike_m)) for seed in range(n)]
    real = float(np.std([math.log(one.photo * one.alike) for one in found]))
    stated = math.sqrt(np.mean([one.doubt**2 for one in found]))
    assert real == pytest.approx(expected, abs=0.15)
    assert stated == pytest.approx(real, rel=0.25)


def test_neighbours_are_left_out_together_where_positions_count() -> None:
    """Spots that err alike say less of their noise than as many independent ones."""
    doubts = []
    for seed in range(12):
        error, places = study(seed, 30.0)
        known = [places, stats.Places(places.spot)]
        near, bare = (noise_of(error, one) for one in known)
        assert near.photo == pytest.approx(bare.photo)
        assert near.alike >= bare.alike == 1.0
        doubts.append((near.doubt, bare.doubt))
    with_positions, without = np.mean(doubts, axis=0)
    assert with_positions > without + 0.05


def test_factors_are_those_of_the_quantiles_of_the_noise() -> None:
    """With neither runs nor doubt about their luck, the noise is lognormal about its mean."""
    noise = Noise(photo=400.0, alike=2.0, doubt=0.5, run=0.0, luck=stats.NO_LUCK)
    low, middle, high = noise.nearer(100, 3, [0.95, 0.5, 0.05])
    assert middle == pytest.approx(math.sqrt(1 / (2 * math.exp(0.125))), rel=0.02)
    assert low / middle == pytest.approx(math.exp(-1.645 * 0.25), rel=0.03)
    assert high / middle == pytest.approx(math.exp(1.645 * 0.25), rel=0.03)


def test_more_photos_leave_the_luck_and_more_seeds_the_spots() -> None:
    noise = Noise(photo=400.0, alike=4.0, doubt=0.0, run=9.0, luck=KNOWN)
    few, many = (noise.nearer(photos, 3, [0.5])[0] for photos in (60, 6_000_000))
    assert few == pytest.approx(math.sqrt((400 / 60 + 3) / (4 * 400 / 60 + 3)), rel=0.01)
    assert many == pytest.approx(1.0, abs=0.01)


def test_cells_without_noise_and_few_spots_have_finite_factors() -> None:
    error, places = study(4)
    equal = np.stack([error[0], error[0]])
    factors = noise_of(equal, places, stats.NO_LUCK).nearer(60, 3, [0.5, 0.95])
    assert factors == pytest.approx([1.0, 1.0])
    three = stats.Places(np.arange(60) % 3)
    assert noise_of(error, three).doubt == MOST_DOUBT
