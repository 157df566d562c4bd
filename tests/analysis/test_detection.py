"""What a validation set can tell: detectable differences and photos needed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from img2gps.analysis.stats.simulated import StudyLike
from tests.helpers.simulated import simulated

Floats = NDArray[np.float64]


def test_smallest_detectable_difference_is_students_t_times_the_paired_standard_error() -> None:
    error, spot, _ = simulated(12, [70.0, 80.0], seeds=1, n=60, spots=60)
    found = stats.detectable(error, spot, luck=stats.NO_LUCK)
    assert found is not None
    rmse = stats.cell_rmse(error)
    linear = error[0, 0] ** 2 / (2 * rmse[0]) - error[1, 0] ** 2 / (2 * rmse[1])
    se = linear.std(ddof=1) / math.sqrt(60)
    factor = scipy_stats.t.ppf(0.975, 59) + scipy_stats.t.ppf(0.8, 59)
    assert found.median_m == pytest.approx(factor * se)
    assert (found.low_m, found.high_m) == (found.median_m, found.median_m)
    assert stats.detectable(error[:1], spot) is None


def test_cells_that_answer_alike_and_a_single_spot_have_no_detectable_difference() -> None:
    error, spot, _ = simulated(15, [70.0] * 3, seeds=1)
    assert stats.detectable(np.repeat(error[:1], 3, axis=0), spot, luck=stats.NO_LUCK) is None
    assert stats.detectable(error, np.zeros_like(spot), luck=stats.NO_LUCK) is None
    error[1] = error[0]
    assert stats.detectable(error, spot, luck=stats.NO_LUCK) is not None


@pytest.mark.filterwarnings("error")
def test_nothing_is_detectable_where_a_run_without_any_error_sets_equal_cells_apart() -> None:
    error, spot, _ = simulated(15, [48.0, 70.0, 75.0])
    error[0, 0] = 0.0
    assert stats.detectable(error, spot) is None


def test_cells_without_luck_show_smaller_differences_than_cells_whose_luck_is_assumed() -> None:
    error, spot, _ = simulated(14, [70.0] * 4, seeds=1)
    found, assumed = (
        stats.detectable(error, spot, luck=stats.NO_LUCK),
        stats.detectable(error, spot),
    )
    assert found is not None
    assert assumed is not None
    assert found.median_m < 0.7 * assumed.median_m


def test_a_hopeless_cell_does_not_set_the_detectable_difference() -> None:
    error, spot, _ = simulated(20, [70.0, 3e6])
    assert stats.detectable(error, spot) is None
    error, spot, _ = simulated(20, [70.0, 72.0, 3e6])
    luck = stats.luck_of(error[:2], spot)
    assert stats.detectable(error, spot, luck=luck) == stats.detectable(error[:2], spot, luck=luck)


def test_cells_that_went_astray_do_not_set_the_detectable_difference() -> None:
    error, spot, _ = simulated(20, [70.0, 72.0, 74.0])
    astray = np.concatenate([error, error[:2] * np.linspace(1, 40, 60)])
    found, plain = stats.detectable(astray, spot), stats.detectable(error, spot)
    assert found is not None
    assert plain is not None
    assert found.high_m < 2 * plain.high_m


@pytest.mark.slow
def test_a_difference_called_detectable_is_detected_with_about_the_power_promised() -> None:
    def difference(sets: int, of: float) -> tuple[float, float]:
        """The middle detectable difference, and how often this one is detected."""
        smallest, seen = [], 0
        for i in range(sets):
            error, spot, _ = simulated(300_000 + i, [60.0, 60.0 + of])
            found = stats.detectable(error, spot)
            assert found is not None
            smallest.append(found.median_m)
            seen += stats.difference_interval(error[0], error[1], spot, seed=i).high < 0
        return float(np.median(smallest)), seen / sets

    smallest, _ = difference(60, 9.0)
    _, power = difference(250, smallest)
    assert power == pytest.approx(0.8, abs=0.1)


@pytest.mark.slow
def test_a_cell_worse_by_the_detectable_difference_loses_its_mark_about_as_often_as_promised() -> (
    None
):
    def drawn(seed: int, of: float) -> tuple[Floats, NDArray[np.int64]]:
        error, spot, _ = simulated(seed, [60.0, *([60.0 + of] * 8)], spots=41)
        return error, spot

    stated = [stats.detectable(*drawn(600_000 + i, 10.0)) for i in range(25)]
    smallest = float(np.median([found.median_m for found in stated if found]))
    lost = []
    for i in range(60):
        error, spot = drawn(610_000 + i, smallest)
        marked = stats.confidence_set(stats.resample(error, spot, n=500)).marked
        lost.append(1 - marked[1:].mean())
    # A formula for one pair chosen beforehand had 48 % here.
    assert np.mean(lost) == pytest.approx(0.8, abs=0.12)


@given(st.floats(0.5, 20.0), st.floats(0.5, 10.0), st.integers(30, 500))
def test_photos_needed_give_the_power_asked_for_and_one_fewer_does_not(
    difference: float, se: float, n: int
) -> None:
    needed = stats.photos_needed(difference, se, n)

    def power(photos: int) -> float:
        shrunk = se * math.sqrt(n / photos)
        return float(scipy_stats.norm.cdf(difference / shrunk - scipy_stats.norm.ppf(0.975)))

    assert power(needed) >= 0.8 - 1e-9
    assert needed == 1 or power(needed - 1) < 0.8


def test_telling_the_published_pair_takes_thousands_of_photos_and_60_tell_about_ten_metres() -> (
    None
):
    found = [
        stats.detectable(*simulated(400_000 + i, [68.78, 70.12, 79.89])[:2]) for i in range(20)
    ]
    typical = float(np.median([d.median_m for d in found if d]))
    se = float(np.median([d.se_photos_m for d in found if d]))
    assert 6.0 < typical < 14.0
    assert 1000 < stats.photos_needed(1.34, se, 60) < 9999


def test_cells_that_differ_by_rounding_are_no_pair_to_tell_apart() -> None:
    spot = np.repeat(np.arange(30), 2)
    error = np.random.default_rng(3).rayleigh(60.0, (4, 1, 60))
    error[1] = error[0] * (1 + 1e-13)
    error[2:] *= 1.2
    found = stats.detectable(np.repeat(error, 2, axis=1), spot, luck=stats.NO_LUCK)
    without = stats.detectable(np.repeat(error[[0, 2, 3]], 2, axis=1), spot, luck=stats.NO_LUCK)
    assert found == without


def test_cells_that_no_seed_changes_are_told_apart_without_the_luck_of_trained_ones() -> None:
    spot = np.repeat(np.arange(30), 2)
    rng = np.random.default_rng(4)
    error = np.full((5, 3, 60), np.nan)
    error[:4, :2] = rng.rayleigh(60.0, (4, 1, 60))
    error[4] = rng.rayleigh(120.0, (3, 60)) * (1 + 0.1 * rng.standard_normal((3, 1)))  # is trained
    solved = [True] * 4 + [False]
    luck = stats.luck_of(error, spot)
    known = stats.detectable(error, spot, luck=luck, solved=solved)
    unknown = stats.detectable(error, spot, luck=luck)
    assert known is not None
    assert unknown is not None
    assert known.median_m < unknown.median_m


def test_a_cell_that_no_seed_changes_errs_alike_however_many_seeds_are_drawn() -> None:
    spot = np.repeat(np.arange(30), 2)
    for number in range(20):  # in some of them nothing sets the two cells apart but their runs
        rng = np.random.default_rng(number)
        error = np.full((2, 3, 60), np.nan)
        error[0, 0] = rng.rayleigh(60.0, 60)
        error[1] = error[0, 0] * rng.uniform(0.5, 1.5, (3, 60))
        known = StudyLike(error, spot, solved=[True, False])
        few, many = (known.draw(np.random.default_rng(1), 60, seeds)[0][0] for seeds in (3, 9))
        assert np.array_equal(few[0], many[0])
        assert np.array_equal(many, np.broadcast_to(many[0], many.shape))


def test_cells_that_are_equal_but_for_missing_runs_are_no_pair_to_tell_apart() -> None:
    error, spot, _ = simulated(25, [70.0, 78.0], seeds=3)
    same = np.stack([error[0], error[0], error[1]])
    same[:, :] = same[:, :1]  # no seed changes a cell
    same[0, 2] = same[1, 1] = np.nan
    found = stats.detectable(same, spot, luck=stats.NO_LUCK, solved=[True] * 3)
    assert found is not None
    assert found.median_m > 1.0


@pytest.mark.parametrize("cells", [2, 4])
def test_spots_that_err_alike_do_not_make_luck_larger(cells: int) -> None:
    """Where nearly all that is uncertain is luck, positions hardly change what is detectable."""
    rng = np.random.default_rng(27)
    east = np.linspace(0, 200, 60)
    places = stats.Places(np.arange(60), np.stack([east, np.zeros(60)], axis=1))
    alike = 1 + 0.02 * np.sin(east / 40 + np.arange(cells)[:, None])
    error = 70 * alike[:, None] * (1 + 0.1 * rng.normal(size=(cells, 4, 1)))
    known, bare = (stats.detectable(error, spot) for spot in (places, places.spot))
    assert known is not None
    assert bare is not None
    assert known.median_m == pytest.approx(bare.median_m, rel=0.05)
    assert known.se_photos_m > 1.5 * bare.se_photos_m
