"""Single runs that may have gone astray: chances by hand, and what intervals make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from img2gps.analysis import stats
from img2gps.analysis.contrast import contrast
from img2gps.analysis.stats.alone import BAD, EXCESS, SHARE, excess_chances
from img2gps.report import build
from tests.helpers.fake_study import Options, draw_errors, draw_photos, make_study

CELLS_M = np.array([66.0, 68.0, 70.0, 70.0, 72.0, 74.0, 76.0, 78.0, 80.0])


def chances(rmse: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return excess_chances(np.asarray(rmse), np.ones(len(rmse), dtype=bool))


def gone(rmse: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 - chances(rmse)[:, 0])


def single_runs(factor: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Errors (c, 1, p) of nine cells, each of whose runs is multiplied by a factor."""
    rng = np.random.default_rng(5)
    photos = draw_photos(rng, 60, 41)
    offset = draw_errors(rng, photos, list(CELLS_M), 1)
    return np.hypot(offset[..., 0], offset[..., 1]) * np.array(factor)[:, None, None], photos.spot


def test_the_chance_of_each_excess_is_averaged_over_all_that_the_cells_make_likely() -> None:
    rmse = CELLS_M.copy()
    rmse[3] *= 1.5
    level = np.log(rmse)
    total, astray = 0.0, np.zeros(len(EXCESS) - 1)
    for middle in np.quantile(level, np.linspace(0.1, 0.9, 17)):
        for spread in np.geomspace(0.03, 0.4, 12):
            usual = norm.pdf(level, middle, spread)
            bad = np.mean([norm.pdf(level, middle + np.log1p(e), spread) for e in BAD], axis=0)
            ran = [norm.pdf(level, middle + np.log1p(e), spread) for e in EXCESS[1:]]
            for share in (0.05, 0.1, 0.2, 0.3):
                all_runs = (1 - SHARE) * ((1 - share) * usual + share * bad)
                all_runs += SHARE * np.mean(ran, axis=0)
                likely = all_runs.prod()
                total += likely
                astray += likely * SHARE * np.array([e[3] for e in ran]) / len(ran) / all_runs[3]
    expected = astray / total
    beyond = (expected.sum() - SHARE) / (1 - SHARE)
    found = chances(rmse)
    assert found[3, 1:] == pytest.approx(expected * beyond / expected.sum())
    assert found.sum(axis=1) == pytest.approx(np.ones(9))
    assert found[3].argmax() == 0  # it may as well be the cell
    assert 0.4 < beyond < 0.7
    assert found[3, 1:].argmax() == 2  # half as much more
    assert np.delete(found[:, 0], 3).tolist() == [1.0] * 8


def test_the_more_cells_lie_far_above_the_less_likely_their_runs_went_astray() -> None:
    found = [gone([*np.linspace(66, 80, 16), *[110.0] * number])[-1] for number in (1, 2, 4, 8)]
    assert (np.diff(found) < 0).all()


def test_a_bad_cell_stays_possible_however_many_cells_there_are() -> None:
    cells = np.exp(norm.ppf((np.arange(300) + 0.5) / 300, np.log(70), 0.05))
    assert 0.4 < gone([*cells, 110.0])[-1] < 0.7


def test_cells_that_lie_far_apart_hardly_stand_out() -> None:
    found = gone(np.geomspace(50, 150, 9))
    assert found.max() < 0.15
    assert found[:5].tolist() == [0.0] * 5


def test_only_single_runs_beside_enough_cells_may_have_gone_astray() -> None:
    rmse = CELLS_M.copy()
    rmse[3] *= 1.5
    assert excess_chances(rmse, np.arange(9) != 3)[3, 0] == 1.0
    assert chances([60.0, 61.0, 90.0])[:, 0].tolist() == [1.0] * 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("absurd", [0.0, 1e9, math.nan])
def test_absurd_cells_are_bad_and_hardly_change_what_the_others_say(absurd: float) -> None:
    rmse = CELLS_M.copy()
    rmse[3] *= 1.5
    found = gone([*rmse, absurd])
    assert 0.3 < found[3] < 0.6
    assert np.delete(found, [3, 9]).tolist() == [0.0] * 8
    assert found[9] == pytest.approx(0.0, abs=1e-6)


def test_the_interval_of_such_a_run_reaches_down_to_what_its_cell_would_get() -> None:
    error, spot = single_runs([1, 1, 1, 1.5, 1, 1, 1, 1, 1])
    luck = stats.luck_of(error, spot)
    strays = stats.strays_of(error, luck)
    plain = stats.cell_interval(error[3], spot, luck=luck)
    found = stats.cell_interval(error[3], spot, luck=luck, strays=strays.of([3]))
    assert plain.low > 70 * 1.1
    assert found.low < found.estimate / 1.5
    assert (found.estimate, found.high) == (plain.estimate, plain.high)
    assert found.notes == [
        "one seed, luck assumed: 3.2 %",
        "a single run errs more than the other cells, may have gone astray: interval widened",
    ]
    usual = stats.cell_interval(error[1], spot, luck=luck)
    assert stats.cell_interval(error[1], spot, luck=luck, strays=strays.of([1])) == usual


def test_no_difference_rests_on_a_single_run_that_may_have_gone_astray() -> None:
    error, spot = single_runs([1, 1, 1, 1.5, 1, 1, 1, 1, 1])
    luck = stats.luck_of(error, spot)
    strays = stats.strays_of(error, luck)
    plain = stats.difference_interval(error[3], error[1], spot, luck=luck)
    found = stats.difference_interval(error[3], error[1], spot, luck=luck, strays=strays.of([3, 1]))
    assert plain.low > 10
    assert plain.p_value < 0.01
    assert found.low < 0 < found.high == plain.high
    assert found.p_value > 0.1
    back = stats.difference_interval(error[1], error[3], spot, luck=luck, strays=strays.of([1, 3]))
    assert [back.low, back.high, back.p_value] == pytest.approx(
        [-found.high, -found.low, found.p_value], rel=1e-3
    )


def test_a_level_all_of_whose_cells_are_bad_is_still_shown_to_be_worse() -> None:
    rng = np.random.default_rng(3)
    photos = draw_photos(rng, 60, 41)
    rmse = [*np.linspace(68, 72, 24), *[110.0] * 8]
    error = np.hypot(*np.moveaxis(draw_errors(rng, photos, rmse, 1), 3, 0))
    luck = stats.luck_of(error, photos.spot)
    strays = stats.strays_of(error, luck)
    assert (strays.alone_astray[24:] > 0.1).all()
    weights = np.repeat([-1 / 8, 0, 1 / 8], [8, 16, 8])
    plain = stats.contrast_interval(error, weights, photos.spot, luck=luck)
    found = stats.contrast_interval(error, weights, photos.spot, luck=luck, strays=strays)
    assert 0 < found.low < plain.low
    assert found.high == plain.high


def test_no_end_jumps_as_a_run_errs_more() -> None:
    def largest_step(factors: NDArray[np.float64]) -> float:
        ends = []
        for factor in factors:
            error, spot = single_runs([1, 1, 1, factor, 1, 1, 1, 1, 1])
            luck = stats.luck_of(error, spot)
            strays = stats.strays_of(error, luck).of([3])
            found = stats.cell_interval(error[3], spot, luck=luck, strays=strays)
            ends.append([found.low, found.high])
        return float(np.abs(np.diff(np.log(ends), axis=0)).max())

    assert largest_step(np.geomspace(1.0, 20.0, 200)) < 0.35
    # It is steepest where the run is too bad to have gone astray.
    assert largest_step(np.geomspace(2.6, 2.8, 75)) < 0.08


@given(st.permutations(range(9)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_cells_does_not_matter(order: list[int]) -> None:
    error, spot = single_runs([1, 1, 1, 1.5, 1, 1.6, 1, 1.3, 1])
    weights = np.array([1, 1, -1, -1, 1, -1, 1, -1, 0]) / 4
    found, again = (
        stats.contrast_interval(
            error[own],
            weights[own],
            spot,
            luck=stats.ASSUMED,
            strays=stats.strays_of(error[own], stats.ASSUMED),
        )
        for own in (list(range(9)), order)
    )
    assert [again.low, again.high] == pytest.approx([found.low, found.high], abs=0.2)


def test_a_ranking_and_a_contrast_name_runs_that_may_have_gone_astray(tmp_path: Path) -> None:
    def bad(params: object) -> float:
        return 110.0 if params == {"lr": 0.003, "batch_size": 8} else 70.0

    axes: dict[str, list[float]] = {"lr": [0.001, 0.003, 0.005], "batch_size": [8, 16, 32]}
    make_study(tmp_path, "once", Options(axes=axes, seeds=(0,), effect=bad))
    study = build.load("once", [tmp_path])
    (ranking,) = study.rankings
    (note,) = [note for note in ranking.notes if "astray" in note]
    assert note.startswith("The single run of lr=0.003,batch_size=8 (")
    assert note.endswith("Its interval counts on both; a second seed would tell.")
    found = contrast(study.study, {"lr": "0.003"}, {"lr": "0.001"}, {"batch_size": "8"})
    assert found.verdict == "not distinguishable"
    assert any("may have gone astray" in note for note in found.notes)
