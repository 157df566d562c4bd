"""The average of the best cells, and its error corrected for their selection."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from img2gps.analysis import stats

Floats = NDArray[np.float64]
CELLS, SEEDS, SPOTS = 9, 2, 41


def away(rng: np.random.Generator, spot: NDArray[np.int64]) -> Floats:
    """Return answers east and north of the truth of cells that share a part of their errors."""

    def part(cells: int, seeds: int, by_spot_m: float, by_photo_m: float) -> Floats:
        spots = rng.normal(scale=by_spot_m, size=(2, cells, seeds, spot.max() + 1))
        photos = rng.normal(scale=by_photo_m, size=(2, cells, seeds, len(spot)))
        return np.asarray(spots[..., spot] + photos)

    return part(1, 1, 28, 22) + part(CELLS, 1, 14, 12) + part(CELLS, SEEDS, 16, 16)


def of_study(seed: int, photos: int = 60) -> tuple[Floats, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    spot = np.concatenate([np.arange(SPOTS), rng.integers(SPOTS, size=photos - SPOTS)])
    return away(rng, spot), spot


def rmse_m(away_m: Floats, cells: NDArray[np.int64]) -> float:
    mean = away_m[:, cells].mean(axis=(1, 2))
    return float(np.sqrt((mean**2).sum(axis=0).mean()))


def test_apparent_error_is_that_of_the_mean_answer_of_the_lowest_cells() -> None:
    away_m, spot = of_study(0)
    error = np.hypot(*away_m)
    lowest = np.sqrt((error**2).mean(axis=2)).mean(axis=1).argsort()[:3]
    found = stats.average_of_best(error, away_m, spot, 3, n=50)
    assert found.apparent == pytest.approx(rmse_m(away_m, lowest))


def test_corrected_error_is_that_of_a_plain_loop_over_resamples() -> None:
    away_m, spot = of_study(1)
    error = np.hypot(*away_m)
    counts = np.random.default_rng(7).multinomial(SPOTS, np.full(SPOTS, 1 / SPOTS), 20)
    squares, scored = [], []
    for count in counts:
        drawn = count[spot]
        rmse = np.sqrt((error**2 * drawn).sum(axis=2) / drawn.sum()).mean(axis=1)
        left_out = count[spot] == 0
        squares.append(rmse_m(away_m[..., left_out], rmse.argsort()[:3]) ** 2)
        scored.append(left_out.sum())
    found = stats.average_of_best(error, away_m, spot, 3, n=20, seed=7)
    assert found.corrected == pytest.approx(math.sqrt(np.average(squares, weights=scored)))


def test_correction_expects_what_other_photos_show_and_its_interval_holds_it() -> None:
    seeming, expected, held = [], [], []
    for seed in range(150):
        away_m, spot = of_study(seed)
        error = np.hypot(*away_m)
        lowest = np.sqrt((error**2).mean(axis=2)).mean(axis=1).argsort()[:3]
        rng = np.random.default_rng(10_000 + seed)
        truth = rmse_m(away(rng, np.arange(1000)), lowest)
        found = stats.average_of_best(error, away_m, spot, 3, n=200)
        assert found.interval is not None
        seeming.append(found.apparent - truth)
        expected.append(found.corrected - truth)
        held.append(found.interval.low <= truth <= found.interval.high)
    assert np.mean(seeming) < -1.5  # the average was selected on these photos
    assert abs(np.mean(expected)) < 1.0
    assert np.mean(held) > 0.9


def test_all_cells_together_were_not_selected_and_one_spot_expects_nothing() -> None:
    away_m, spot = of_study(2)
    error = np.hypot(*away_m)
    everyone = stats.average_of_best(error, away_m, spot, CELLS)
    assert everyone.corrected == pytest.approx(everyone.apparent, rel=0.02)
    alone = stats.average_of_best(error, away_m, np.zeros_like(spot), 3)
    assert math.isnan(alone.corrected)
    assert alone.interval is None


def test_a_cell_that_lacks_a_seed_counts_with_the_runs_it_has() -> None:
    away_m, spot = of_study(3)
    away_m[:, 0, 1] = np.nan
    runs = np.concatenate([away_m[:, 0, :1], *(away_m[:, cell] for cell in range(1, CELLS))], 1)
    expected = np.hypot(*runs.mean(axis=1))
    assert stats.average_error_m(away_m) == pytest.approx(expected)
    found = stats.average_of_best(np.hypot(*away_m), away_m, spot, CELLS)
    assert found.apparent == pytest.approx(float(np.sqrt((expected**2).mean())))
