"""Joint comparisons: the confidence set and marks against a baseline."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from img2gps.analysis.stats.comparisons import se_of_differences
from img2gps.report import build
from tests.helpers.fake_study import Noise
from tests.helpers.simulated import simulated

Floats = NDArray[np.float64]


@pytest.mark.parametrize("n_spots", [3, 5, 12])
def test_few_spots_drop_one_of_two_equal_cells_as_rarely_as_many(n_spots: int) -> None:
    dropped = 0
    for i in range(200):
        rng = np.random.default_rng([n_spots, i])
        spot = np.concatenate([np.arange(n_spots), rng.integers(0, n_spots, n_spots // 2)])
        alike = rng.normal(0, 60, (2, 1, 1, len(spot)))
        own = rng.normal(0, 25, (2, 2, 1, n_spots))[..., spot]
        error = np.hypot(*(alike + own + rng.normal(0, 25, (2, 2, 1, len(spot)))))
        drawn = stats.resample(error, spot, luck=stats.NO_LUCK, n=500)
        dropped += not stats.confidence_set(drawn).marked.all()
    assert dropped <= 16  # 5 % of 200 are 10; without Student's t, 20 and more with 3 spots


def test_the_confidence_set_is_that_of_a_plain_loop_over_eliminations() -> None:
    error, spot, _ = simulated(9, [60.0, 66.0, 70.0, 80.0, 90.0, 91.0])
    drawn = stats.resample(error, spot, n=400)
    alive = list(range(6))
    while len(alive) > 1:
        null, largest = np.zeros(400), -np.inf
        for i, j in itertools.permutations(alive, 2):
            difference = drawn.deviation[:, i] - drawn.deviation[:, j]
            se = difference.std(ddof=1)
            null = np.maximum(null, difference / se)
            t = (drawn.estimate[i] - drawn.estimate[j]) / se
            if t > largest:
                largest, worst = t, i
        if largest <= np.quantile(null, 0.95):
            break
        alive.remove(worst)
    assert list(np.flatnonzero(stats.confidence_set(drawn).marked)) == alive
    assert 1 < len(alive) < 6


@pytest.mark.parametrize("spots", [12, 26])
def test_equal_cells_that_no_seed_changes_are_all_kept_as_often_as_promised(spots: int) -> None:
    """Without the spots' degrees of freedom, all nine were kept in 87 % of such studies."""
    kept = []
    for i in range(300):
        error, spot, _ = simulated(i, [70.0] * 9, 1, round(1.5 * spots), spots, Noise(cell_seed=0))
        found = stats.confidence_set(stats.resample(error, spot, luck=stats.NO_LUCK, n=500))
        kept.append(found.marked.all())
    assert np.mean(kept) > 0.92  # 0.95 less 2.4 standard errors of 300 simulations


def test_one_good_cell_among_many_equally_bad_stands_alone() -> None:
    error, spot, _ = simulated(18, [40.0] + [88.0] * 16)
    assert list(np.flatnonzero(stats.confidence_set(stats.resample(error, spot)).marked)) == [0]


def test_equal_cells_stay_together_and_a_far_better_one_stands_alone() -> None:
    error, spot, _ = simulated(10, [70.0])
    same = stats.resample(np.repeat(error, 4, axis=0), spot)
    assert stats.confidence_set(same).marked.all()
    better = np.concatenate([error * 0.5, error, error * 1.01])
    assert list(stats.confidence_set(stats.resample(better, spot)).marked) == [True, False, False]


def test_the_set_keeps_the_best_cell_and_marks_seldom_a_useless_one() -> None:
    """Nine equal cells, none better than the mean predictor: the hardest case."""
    kept, false_marks, runs = 0, 0, 60
    for i in range(runs):
        error, spot, mean = simulated(200_000 + i, [88.6] * 9)
        kept += bool(stats.confidence_set(stats.resample(error, spot, n=300, seed=i)).marked.all())
        marks = stats.beats_baseline(error, spot, mean, n=300, seed=i).marked
        false_marks += bool(marks.any())
    assert kept / runs > 0.88
    assert false_marks / runs < 0.18


def test_cells_far_below_the_mean_predictor_are_shown_to_beat_it() -> None:
    error, spot, mean = simulated(11, [35.0, 88.6, 30.0])
    assert list(stats.beats_baseline(error, spot, mean).marked) == [True, False, True]
    none = np.broadcast_to(mean, (2, 3, len(mean)))
    assert not stats.beats_baseline(none, spot, mean).marked.any()


def test_a_mark_asks_for_no_less_than_students_t_test() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rival = rng.gamma(2.0, 40.0, 30)
        own = rival * rng.lognormal(-0.06, 0.3, 30)
        found = stats.beats_baseline(own[None, None], np.arange(30), rival, luck=stats.NO_LUCK)
        rmse = np.sqrt([(own**2).mean(), (rival**2).mean()])
        by_photo = rival**2 / (2 * rmse[1]) - own**2 / (2 * rmse[0])
        t = (rmse[1] - rmse[0]) / scipy_stats.sem(by_photo)
        assert found.p_value[0] > scipy_stats.t.sf(t, 29) - 0.03  # of 2,000 draws
        assert not found.marked[0] or scipy_stats.t.sf(t, 29) < 0.065


def test_a_verdict_that_other_resamples_may_reverse_is_borderline() -> None:
    error, spot, _ = simulated(21, [60.0, 64.0, 66.0, 68.0, 70.0, 72.0, 74.0, 76.0, 78.0])
    found = [stats.confidence_set(stats.resample(error, spot, seed=i)) for i in range(20)]
    marked = np.array([each.marked for each in found])
    changed = marked.any(axis=0) & ~marked.all(axis=0)
    assert changed.any()
    assert np.array([each.borderline for each in found])[:, changed].any(axis=0).all()
    more = [stats.confidence_set(stats.resample(error, spot, n=10_000, seed=i)) for i in range(20)]
    assert np.mean([each.borderline for each in more]) < np.mean([f.borderline for f in found])


def test_a_run_that_went_astray_decides_only_verdicts_that_are_called_borderline() -> None:
    (ranking,) = build.load("table1", [Path(__file__).parents[2] / "results"]).rankings
    errors = ranking.errors
    cell, seed = np.argwhere(stats.astray(errors.error_m, errors.luck))[0]
    without = errors.error_m.copy()
    without[cell, seed] = np.nan
    before, after = (
        stats.confidence_set(stats.resample(error, errors.spot, n=10_000))
        for error in (errors.error_m, without)
    )
    others = np.arange(len(without)) != cell
    clear = others & ~before.borderline & ~after.borderline
    assert clear.sum() >= 7
    assert (before.marked == after.marked)[clear].all()


def test_answers_without_any_error_are_reported() -> None:
    error = np.zeros((2, 2, 30))
    error[1] = 10.0
    spot = np.arange(30)
    found = stats.selection_corrected(error, spot)
    assert (found.winner, found.corrected, found.interval) == (0, 0.0, None)
    assert stats.detectable(error, spot) is None
    away = np.stack([error, np.zeros_like(error)])
    assert stats.average_of_best(error, away, spot, top=1).interval is None


def test_no_cell_is_surer_to_beat_a_baseline_than_one_that_beats_it_more_clearly() -> None:
    spot = np.arange(40)
    for number in (0, 1, 28, 29):  # where cells are shown in several steps
        rng = np.random.default_rng(number)
        own = rng.gamma(6, 1 / 6, (8, 3, 40))
        error = 60 * rng.uniform(0.78, 1.0, (8, 1, 1)) * own
        rival = 60 * rng.gamma(6, 1 / 6, 40)
        luck = stats.luck_of(error, spot)
        apart = [stats.above_baseline(cell, rival, spot, luck=luck) for cell in error]
        clearly = [one.estimate / math.hypot(one.se_photos, one.se_seeds) for one in apart]
        p_value = stats.beats_baseline(error, spot, rival, luck=luck, n=500).p_value
        assert (np.diff(p_value[np.argsort(clearly)]) >= 0).all()


def test_standard_errors_do_not_depend_on_the_draws_of_a_cell_with_a_run_gone_astray() -> None:
    """Its luck has two degrees of freedom, with which draws have no variance."""
    error, spot, _ = simulated(26, [70.0, 72.0, 74.0], seeds=2)
    error[2, 1] *= 1.8
    se = [
        se_of_differences(stats.resample(error, spot, n=1000, seed=seed).covariance)[0, 2]
        for seed in range(6)
    ]
    assert max(se) < 1.1 * min(se)
