"""Single runs that may have gone astray: chances by hand, and what intervals make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from img2gps.analysis import stats
from img2gps.analysis.contrast import contrast
from img2gps.analysis.stats.alone import EXCESS, LEAST, excess_chances
from img2gps.report import build
from tests.helpers.fake_study import Options, draw_errors, draw_photos, make_study

CELLS_M = np.array([66.0, 68.0, 70.0, 70.0, 72.0, 74.0, 76.0, 78.0, 80.0])
ALL = np.ones(len(CELLS_M), dtype=bool)


def chances(rmse: NDArray[np.float64], share: float = 0.05) -> NDArray[np.float64]:
    n = len(rmse)
    return excess_chances(rmse, np.ones(n, dtype=bool), np.full(n, share), 0.03)


def single_runs(factor: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Errors (c, 1, p) of nine cells, each of whose runs is multiplied by a factor."""
    rng = np.random.default_rng(5)
    photos = draw_photos(rng, 60, 41)
    offset = draw_errors(rng, photos, list(CELLS_M), 1)
    return np.hypot(offset[..., 0], offset[..., 1]) * np.array(factor)[:, None, None], photos.spot


def test_the_chance_of_each_excess_follows_from_the_spread_of_the_other_cells() -> None:
    rmse = CELLS_M.copy()
    rmse[3] *= 1.5
    found = chances(rmse)
    gone = found[:, 1:].sum(axis=1)
    usual = 1 - np.where(gone > 0, gone * (1 - LEAST) + LEAST, 0.0)  # before small ones are cut
    for cell in (3, 8):
        others = np.delete(np.arange(9), cell)
        weight, level = usual[others], np.log(rmse[others])
        freedom = weight.sum() - 1
        middle = np.average(level, weights=weight)
        spread = math.sqrt(weight @ (level - middle) ** 2 / freedom)
        reach = max(spread, 0.03) * math.sqrt(1 + 1 / weight.sum())
        density = student.pdf(np.log(rmse[cell]) - np.log1p(EXCESS), freedom, middle, reach)
        likely = density * np.array([0.95, *[0.01] * 5])
        likely /= likely.sum()
        assert usual[cell] == pytest.approx(likely[0], abs=2e-3)
    assert gone[3] > 0.9
    assert found[3].argmax() == 3  # half as much more
    assert found.sum(axis=1) == pytest.approx(np.ones(9))
    assert gone[[0, 1, 2, 4, 5, 6]].tolist() == [0.0] * 6


def test_cells_that_lie_far_apart_are_not_taken_for_astray() -> None:
    gone = 1 - chances(np.geomspace(50, 150, 9))[:, 0]
    assert gone.max() < 0.2
    assert (np.diff(gone) >= 0).all()


def test_only_single_runs_beside_enough_cells_may_have_gone_astray() -> None:
    rmse = CELLS_M.copy()
    rmse[3] *= 1.5
    several = np.arange(9) == 3
    assert excess_chances(rmse, ~several, np.full(9, 0.05), 0.03)[3, 0] == 1.0
    assert excess_chances(rmse, several, np.full(9, 0.05), 0.03)[3, 0] < 0.1
    assert chances(np.array([60.0, 61.0, 90.0]))[:, 0].tolist() == [1.0] * 3
    assert excess_chances(rmse, ~ALL, np.full(9, 0.05), 0.03)[:, 0].tolist() == [1.0] * 9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("absurd", [0.0, 1e9, math.nan])
def test_absurd_cells_do_not_change_what_the_others_say(absurd: float) -> None:
    rmse = CELLS_M.copy()
    rmse[3] *= 1.5
    found, beside = chances(rmse), chances(np.array([*rmse, absurd]))
    assert beside[:9] == pytest.approx(found)
    assert np.isfinite(beside).all()


def test_the_interval_of_such_a_run_reaches_down_to_what_its_cell_would_get() -> None:
    error, spot = single_runs([1, 1, 1, 1.5, 1, 1, 1, 1, 1])
    luck = stats.luck_of(error, spot)
    strays = stats.strays_of(error, luck)
    assert strays.alone_astray[3] > 0.5
    plain = stats.cell_interval(error[3], spot, luck=luck)
    found = stats.cell_interval(error[3], spot, luck=luck, strays=strays.of([3]))
    assert plain.low > 70 * 1.1
    assert found.low < 70 / 1.1
    assert found.high <= plain.high
    assert found.estimate == plain.estimate
    assert found.notes == [
        "one seed, luck assumed: 3.2 %",
        "a single run far above the other cells may have gone astray: interval widened",
    ]
    usual = stats.cell_interval(error[1], spot, luck=luck)
    assert stats.cell_interval(error[1], spot, luck=luck, strays=strays.of([1])) == usual


def test_no_difference_rests_on_a_single_run_that_may_have_gone_astray() -> None:
    error, spot = single_runs([1, 1, 1, 1.5, 1, 1, 1, 1, 1])
    luck = stats.luck_of(error, spot)
    strays = stats.strays_of(error, luck).of([3, 1])
    plain = stats.difference_interval(error[3], error[1], spot, luck=luck)
    found = stats.difference_interval(error[3], error[1], spot, luck=luck, strays=strays)
    assert plain.low > 10
    assert plain.p_value < 0.01
    assert found.low < 0 < found.high
    assert found.p_value > 0.3
    swapped = stats.difference_interval(
        error[1], error[3], spot, luck=luck, strays=stats.strays_of(error, luck).of([1, 3])
    )
    assert [swapped.low, swapped.high] == pytest.approx([-found.high, -found.low], abs=0.5)


def test_no_end_jumps_as_a_run_errs_more() -> None:
    ends = []
    factors = np.arange(1.0, 1.8, 0.01)
    for factor in factors:
        error, spot = single_runs([1, 1, 1, factor, 1, 1, 1, 1, 1])
        luck = stats.luck_of(error, spot)
        strays = stats.strays_of(error, luck).of([3])
        found = stats.cell_interval(error[3], spot, luck=luck, strays=strays)
        ends.append([found.low, found.high])
    low, high = np.abs(np.diff(ends, axis=0)).max(axis=0)
    assert low < 8
    assert high < 5


def test_a_ranking_and_a_contrast_name_runs_that_may_have_gone_astray(tmp_path: Path) -> None:
    def bad(params: object) -> float:
        return 110.0 if params == {"lr": 0.003, "batch_size": 8} else 70.0

    axes: dict[str, list[float]] = {"lr": [0.001, 0.003, 0.005], "batch_size": [8, 16, 32]}
    make_study(tmp_path, "once", Options(axes=axes, seeds=(0,), effect=bad))
    study = build.load("once", [tmp_path])
    (ranking,) = study.rankings
    (note,) = [note for note in ranking.notes if "astray" in note]
    assert note.startswith("The single run of this cell errs far more than the other cells")
    assert "if 5% of the runs do): lr=0.003,batch_size=8 (" in note
    assert note.endswith("Its interval counts on it; a second seed would tell.")
    found = contrast(study.study, {"lr": "0.003"}, {"lr": "0.001"}, {"batch_size": "8"})
    assert found.verdict == "not distinguishable"
    assert any("may have gone astray" in note for note in found.notes)
