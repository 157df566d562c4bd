"""Statistics against independent computation and against simulation with known truth."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from img2gps.analysis.edges import edges
from img2gps.analysis.stats.simulated import StudyLike
from img2gps.report import build
from tests.helpers.fake_study import Noise, draw_errors, draw_photos

Floats = NDArray[np.float64]
NOISE = Noise()


def simulated(
    seed: int, rmse: list[float], seeds: int = 3, n: int = 60, spots: int = 45, noise: Noise = NOISE
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Errors (c, s, p), spots and the mean predictor's errors of one imagined validation set."""
    rng = np.random.default_rng(seed)
    photos = draw_photos(rng, n, spots)
    offsets = draw_errors(rng, photos, rmse, seeds, noise)
    error = np.hypot(offsets[..., 0], offsets[..., 1])
    return error, photos.spot, np.hypot(photos.east, photos.north)


def test_the_rmse_of_a_cell_is_the_mean_over_its_seeds_and_missing_seeds_do_not_count() -> None:
    error = np.array([[[3.0, 4.0], [6.0, 8.0]], [[1.0, 7.0], [np.nan, np.nan]]])
    expected = [(math.sqrt(12.5) + math.sqrt(50)) / 2, 5.0]
    assert stats.cell_rmse(error) == pytest.approx(expected)


def unequal_spots(spot: NDArray[np.int64]) -> tuple[float, float]:
    """The true variance by the expected cluster-robust one, and the degrees of freedom of that.

    Computed with matrices, as in Bell & McCaffrey (2002), for sums of spots that vary as their
    sizes.
    """
    sizes = np.unique(spot, return_counts=True)[1].astype(float)
    g, true = len(sizes), np.diag(sizes**2)
    about_mean = np.eye(g) - np.outer(sizes, np.ones(g)) / sizes.sum()
    seen = about_mean @ true @ about_mean.T
    bias = float(np.trace(true) / (np.trace(seen) * g / (g - 1)))
    return bias, float(np.trace(seen) ** 2 / np.trace(seen @ seen))


def test_standard_error_of_one_seed_is_the_cluster_robust_one_computed_by_hand() -> None:
    error, spot, _ = simulated(0, [70.0], seeds=1)
    square, n = error[0, 0] ** 2, error.shape[2]
    groups = np.unique(spot)
    total = 0.0
    for group in groups:
        total += float(np.sum(square[spot == group] - square.mean())) ** 2
    variance_of_mse = len(groups) / (len(groups) - 1) * total / n**2
    expected = math.sqrt(variance_of_mse) / (2 * math.sqrt(square.mean()))  # delta method
    expected *= math.sqrt(unequal_spots(spot)[0])
    found = stats.cell_interval(error[0], spot, luck=stats.NO_LUCK)
    assert found.se_photos == pytest.approx(expected)
    assert found.estimate == pytest.approx(math.sqrt(square.mean()))
    assert found.se_seeds == 0


def test_standard_error_of_the_seeds_is_their_own_moderated_by_the_studys_luck() -> None:
    error, spot, _ = simulated(1, [70.0], seeds=4, noise=Noise(cell_seed=0.1))
    runs, n = error[0], error.shape[2]
    rmse = np.sqrt((runs**2).mean(axis=1))
    groups = np.unique(spot)
    interaction = 0.0
    linear = (runs**2 - (rmse**2)[:, None]) / (2 * rmse[:, None])
    rest = linear - linear.mean(axis=0)
    for seed, group in itertools.product(range(4), groups):
        interaction += (rest[seed, spot == group].sum() / n) ** 2
    interaction *= len(groups) / (len(groups) - 1) / (4 * 3)
    expected = np.var(rmse, ddof=1) / 4 - interaction
    assert expected > 0
    luck = stats.Luck(0.05, 20.0)
    shared = (0.05 * rmse.mean()) ** 2 / 4
    found = stats.cell_interval(runs, spot, luck=luck)
    # Four seeds have 3 degrees of freedom, and the study's luck counts for 4.
    assert found.se_seeds**2 == pytest.approx((3 * expected + 4 * shared) / 7)


def test_interval_of_many_normal_errors_is_that_of_the_chi_square_distribution() -> None:
    n, sigma = 4000, 12.0
    error = np.abs(np.random.default_rng(3).normal(0, sigma, n))
    found = stats.cell_interval(error[None], np.arange(n), luck=stats.NO_LUCK)
    sum_of_squares = float(np.sum(error**2))
    low, high = (math.sqrt(sum_of_squares / scipy_stats.chi2.ppf(q, n)) for q in (0.975, 0.025))
    assert found.low == pytest.approx(low, abs=0.06)
    assert found.high == pytest.approx(high, abs=0.06)


def test_interval_of_independent_photos_agrees_with_scipys_bca_bootstrap() -> None:
    error = np.random.default_rng(4).gamma(2.0, 20.0, 500)
    expected = scipy_stats.bootstrap(
        (error,),
        lambda x, axis: np.sqrt(np.mean(x**2, axis=axis)),
        n_resamples=4000,
        vectorized=True,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    found = stats.cell_interval(error[None], np.arange(len(error)), luck=stats.NO_LUCK)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.08 * width)
    assert found.high == pytest.approx(expected.high, abs=0.08 * width)


def test_paired_interval_agrees_with_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(5)
    a = rng.gamma(2.0, 20.0, 500)
    b = np.abs(a + rng.normal(3.0, 10.0, 500))

    def difference(x: Any, y: Any, axis: int) -> Any:
        return np.sqrt(np.mean(x**2, axis=axis)) - np.sqrt(np.mean(y**2, axis=axis))

    expected = scipy_stats.bootstrap(
        (a, b),
        difference,
        paired=True,
        vectorized=True,
        n_resamples=4000,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    found = stats.difference_interval(a, b, np.arange(500), luck=stats.NO_LUCK)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.08 * width)
    assert found.high == pytest.approx(expected.high, abs=0.08 * width)


def test_pairing_makes_a_difference_narrower_than_two_separate_intervals() -> None:
    error, spot, _ = simulated(6, [70.0, 76.0])
    pair = stats.difference_interval(error[0], error[1], spot)
    apart = [stats.cell_interval(cell, spot) for cell in error]
    unpaired = math.hypot(*(interval.se_photos for interval in apart))
    assert pair.se_photos < 0.7 * unpaired
    assert pair.estimate == pytest.approx(apart[0].estimate - apart[1].estimate)


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


def test_photos_of_one_spot_count_as_one() -> None:
    error, spot, _ = simulated(7, [70.0], n=60, spots=60)
    once = stats.cell_interval(error[0], spot)
    tenfold = stats.cell_interval(np.tile(error[0], 10), np.tile(spot, 10))
    assert tenfold.low == pytest.approx(once.low)
    assert tenfold.high == pytest.approx(once.high)
    assert tenfold.n_photos == 10 * once.n_photos


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100.0), st.randoms(use_true_random=False))
def test_intervals_scale_with_the_unit_and_ignore_the_order_of_photos_and_seeds(
    seed: int, factor: float, shuffler: Any
) -> None:
    error, spot, _ = simulated(seed, [70.0], n=40, spots=30)
    photos, seeds = list(range(40)), list(range(3))
    shuffler.shuffle(photos)
    shuffler.shuffle(seeds)
    plain = stats.cell_interval(error[0], spot)
    changed = stats.cell_interval(factor * error[0][seeds][:, photos], spot[photos])
    for name in ("estimate", "low", "high", "se_photos", "se_seeds"):
        assert getattr(changed, name) == pytest.approx(factor * getattr(plain, name), rel=1e-6)


def test_one_seed_and_few_spots_are_said() -> None:
    error, spot, _ = simulated(8, [70.0], seeds=1, n=40, spots=20)
    assert stats.cell_interval(error[0], spot).notes == [
        "one seed, luck assumed: 3.4 %",
        "interval unreliable: 20 spots, fewer than 30",
    ]
    error, spot, _ = simulated(8, [70.0], seeds=2)
    assert stats.cell_interval(error[0], spot).notes == []


def test_few_spots_take_students_t_on_the_log_scale() -> None:
    error, spot, _ = simulated(19, [70.0], seeds=1, n=20, spots=12)
    found = stats.cell_interval(error[0], spot, luck=stats.NO_LUCK)
    freedom = unequal_spots(spot)[1]
    assert 5 < freedom < 11
    half = scipy_stats.t.ppf(0.975, freedom) * found.se_photos / found.estimate
    assert found.low == pytest.approx(found.estimate * math.exp(-half))
    assert found.high == pytest.approx(found.estimate * math.exp(half))


def test_a_single_spot_has_no_interval_rather_than_a_false_one() -> None:
    found = stats.cell_interval(np.array([[1.0, 2.0, 3.0]]), [4, 4, 4])
    assert found.estimate == pytest.approx(math.sqrt(14 / 3))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def coverage(runs: int, seeds: int, *, pair: bool) -> float:
    """Share of simulated validation sets whose interval holds the truth."""
    held = 0
    for i in range(runs):
        error, spot, _ = simulated(100_000 + i, [70.0, 76.0], seeds)
        if pair:
            found = stats.difference_interval(error[0], error[1], spot, seed=i)
            held += found.low <= -6.0 <= found.high
        else:
            found = stats.cell_interval(error[0], spot, seed=i)
            held += found.low <= 70.0 <= found.high
    return held / runs


@pytest.mark.parametrize("pair", [False, True])
def test_intervals_hold_the_truth_about_as_often_as_they_say(pair: bool) -> None:
    assert coverage(150, 3, pair=pair) > 0.89  # 0.94 less 2.5 standard errors of 150 simulations


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "pair"), [(3, False), (3, True)])
def test_intervals_hold_the_truth_as_often_as_the_docstring_says(seeds: int, pair: bool) -> None:
    assert coverage(400, seeds, pair=pair) == pytest.approx(0.95, abs=0.03)


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


def test_the_interval_of_the_winner_has_the_luck_of_the_cells_that_might_have_won() -> None:
    error, spot, _ = simulated(31, [70.0, 70.0, 70.0])
    plain = stats.selection_corrected(error, spot)
    rival = int(np.argsort(stats.cell_rmse(error))[1])
    error[rival] *= np.array([0.85, 0.85, 1.35])[:, None]
    gone = stats.selection_corrected(error, spot)
    assert gone.winner == plain.winner
    assert gone.wins[rival] > 0.1
    assert plain.interval is not None
    assert gone.interval is not None
    assert gone.interval.se_seeds > 1.5 * plain.interval.se_seeds
    assert gone.interval.high - gone.interval.low > plain.interval.high - plain.interval.low


def test_a_verdict_that_other_resamples_may_reverse_is_borderline() -> None:
    error, spot, _ = simulated(24, [60.0, 64.0, 66.0, 68.0, 70.0, 72.0, 74.0, 76.0, 78.0])
    found = [stats.confidence_set(stats.resample(error, spot, seed=i)) for i in range(20)]
    marked = np.array([each.marked for each in found])
    changed = marked.any(axis=0) & ~marked.all(axis=0)
    assert changed.any()
    assert np.array([each.borderline for each in found])[:, changed].any(axis=0).all()
    more = [stats.confidence_set(stats.resample(error, spot, n=10_000, seed=i)) for i in range(20)]
    assert np.mean([each.borderline for each in more]) < np.mean([f.borderline for f in found])


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


def test_cells_without_luck_show_smaller_differences_than_cells_whose_luck_is_assumed() -> None:
    error, spot, _ = simulated(14, [70.0] * 4, seeds=1)
    found, assumed = (
        stats.detectable(error, spot, luck=stats.NO_LUCK),
        stats.detectable(error, spot),
    )
    assert found is not None
    assert assumed is not None
    assert found.median_m < 0.7 * assumed.median_m


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


def test_selection_correction_is_that_of_a_plain_loop() -> None:
    error, spot, _ = simulated(14, [70.0, 71.0, 72.0, 90.0], seeds=3, n=40, spots=25)
    error[1, 2] = np.nan  # a seed that failed
    error[2, 0] = np.nan
    n, seed = 200, 3
    found = stats.selection_corrected(error, spot, n=n, seed=seed)
    rng = np.random.default_rng(seed)
    order = np.random.default_rng([seed, 1]).random((n, 4, 3))
    labels = np.unique(spot)
    squares, scored, wins = [], [], np.zeros(4)
    for r, counts in enumerate(rng.multinomial(len(labels), [1 / len(labels)] * len(labels), n)):
        inside = np.concatenate(
            [np.tile(np.flatnonzero(spot == g), k) for g, k in zip(labels, counts, strict=True)]
        )
        outside = np.flatnonzero(np.isin(spot, labels[counts == 0]))
        scores, others = [], []
        for c in range(4):
            seeds = [s for s in range(3) if not np.isnan(error[c, s, 0])]
            seeds.sort(key=lambda s, r=r, c=c: order[r, c, s])  # type: ignore[misc]  # defaults in a lambda
            part = {3: 2, 2: 1}[len(seeds)]  # 63 %, at least one and not all
            others.append(seeds[part:])
            runs = [math.sqrt(np.mean(error[c, s][inside] ** 2)) for s in seeds[:part]]
            scores.append(np.mean(runs))
        winner = int(np.argmin(scores))
        wins[winner] += 1
        squares.append(np.mean([np.mean(error[winner, s][outside] ** 2) for s in others[winner]]))
        scored.append(len(outside))
    assert found.corrected == pytest.approx(math.sqrt(np.average(squares, weights=scored)))
    assert found.wins == pytest.approx(wins / n)
    assert found.winner == int(stats.cell_rmse(error).argmin())
    assert found.apparent == pytest.approx(stats.cell_rmse(error).min())


@pytest.mark.parametrize("pair", [False, True])
def test_with_one_seed_intervals_hold_the_truth_at_least_as_often_as_they_say(pair: bool) -> None:
    assert coverage(150, 1, pair=pair) > 0.92


def test_luck_is_estimated_and_one_run_that_went_astray_hardly_changes_it() -> None:
    found = []
    for i in range(20):
        error, spot, _ = simulated(600_000 + i, [70.0] * 9, noise=Noise(cell_seed=0.043))
        plain = stats.luck_of(error, spot)
        error[4, 1] *= 1.6
        gone = stats.luck_of(error, spot)
        assert np.argwhere(stats.astray(error, gone)).tolist() == [[4, 1]]
        found.append((plain.relative, gone.relative))
    plain_m, gone_m = np.mean(found, axis=0)
    assert plain_m == pytest.approx(0.043, abs=0.008)  # with a part of the typical 3.5 %
    assert gone_m < plain_m + 0.008
    assert stats.luck_of(error[:, :1], spot).cells == 0


@pytest.mark.parametrize(("cells", "seeds"), [(1, 2), (1, 5), (2, 2), (2, 3), (9, 3)])
@pytest.mark.parametrize("true", [0.03, 0.043])
def test_the_luck_of_few_cells_is_right_on_average(cells: int, seeds: int, true: float) -> None:
    squares = []
    for i in range(100):
        error, spot, _ = simulated(700_000 + i, [70.0] * cells, seeds, noise=Noise(cell_seed=true))
        squares.append(stats.luck_of(error, spot).relative ** 2 / true**2)
    # A median of one or two variances and an assumption of 6 % had 1.5 to 3.8 here.
    assert 0.6 < np.mean(squares) < 1.35


def test_runs_that_are_equal_have_no_luck() -> None:
    error, spot, _ = simulated(22, [70.0, 72.0])
    baseline = error[1, 0]
    beside = stats.above_baseline(error[0], baseline, spot, luck=stats.Luck(0.1, 20.0))
    alone = stats.cell_interval(error[0], spot, luck=stats.Luck(0.1, 20.0))
    assert beside.se_seeds == pytest.approx(alone.se_seeds)
    error[1] = baseline  # with every seed
    assert stats.luck_of(error, spot) == stats.luck_of(error[:1], spot)


def test_correction_takes_back_most_of_the_optimism_of_choosing_among_equal_cells() -> None:
    """Also where much of it is the luck of the seeds."""
    apparent, corrected = [], []
    for i in range(80):
        error, spot, _ = simulated(500_000 + i, [70.0] * 9, noise=Noise(cell_seed=0.08))
        found = stats.selection_corrected(error, spot, n=300, seed=i)
        apparent.append(found.apparent - 70.0)
        corrected.append(found.corrected - 70.0)
    assert np.mean(apparent) < -4.0
    assert abs(np.mean(corrected)) < 1.5


def test_a_cell_alone_always_wins_and_a_single_spot_cannot_be_corrected() -> None:
    error, spot, _ = simulated(15, [70.0])
    alone = stats.selection_corrected(error, spot)
    assert alone.wins == pytest.approx([1.0])
    assert abs(alone.optimism) < 2.0
    one_spot = stats.selection_corrected(error, np.zeros_like(spot))
    assert one_spot.interval is None
    assert math.isnan(one_spot.corrected)


def test_fold_means_have_the_nadeau_bengio_variance() -> None:
    values = [62.0, 70.0, 66.0, 74.0, 68.0]
    found = stats.fold_mean(values, n_train=80, n_val=20)
    # mean 68, variance 20; (1/5 + 20/80) x 20 = 9; t(0.975, 4) = 2.776445
    assert found.estimate == pytest.approx(68.0)
    assert found.se == pytest.approx(3.0)
    assert found.low == pytest.approx(68.0 - 3 * 2.776445, abs=1e-5)
    assert found.high == pytest.approx(68.0 + 3 * 2.776445, abs=1e-5)
    assert math.isnan(stats.fold_mean([68.0], 80, 20).se)


def sums_of_squares(y: Floats, shape: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """Sequential sums of squares of a full factorial by least squares on dummy variables."""
    levels = np.indices(shape).reshape(len(shape), -1)
    levels = np.repeat(levels, y.shape[1], axis=1)
    flat = y.ravel()
    design = np.ones((len(flat), 1))
    residual = float(np.sum((flat - flat.mean()) ** 2))
    found = {}
    for size in range(1, len(shape) + 1):
        for names in itertools.combinations(range(len(shape)), size):
            codes = np.ravel_multi_index(
                tuple(levels[i] for i in names), tuple(shape[i] for i in names)
            )
            design = np.column_stack([design, np.eye(codes.max() + 1)[codes]])
            fit = design @ np.linalg.lstsq(design, flat, rcond=None)[0]
            now = float(np.sum((flat - fit) ** 2))
            found[names] = residual - now
            residual = now
    found[()] = residual
    return found


def test_importance_is_the_analysis_of_variance_by_least_squares() -> None:
    shape = (2, 3, 2)
    rng = np.random.default_rng(16)
    error = rng.gamma(2.0, 20.0, (12, 3, 40)) * rng.uniform(0.7, 1.3, (12, 1, 1))
    effects = stats.importance(error, np.arange(40) // 2, {"a": 2, "b": 3, "c": 2})
    expected = sums_of_squares(np.sqrt((error**2).mean(axis=2)), shape)
    total = sum(expected.values())
    index = {"a": 0, "b": 1, "c": 2}
    assert sum(effect.share for effect in effects) == pytest.approx(1.0)
    for effect in effects:
        key = tuple(index[axis] for axis in effect.axes)
        assert effect.share == pytest.approx(expected[key] / total, abs=1e-9)
        assert 0 <= effect.low <= effect.high <= 1


def test_the_floor_is_the_rmse_of_labels_whose_stated_radius_holds_68_percent() -> None:
    rng = np.random.default_rng(18)
    east, north = rng.normal(0, 3.0, (2, 200_000))
    distance = np.hypot(east, north)
    radius = np.quantile(distance, 0.68)
    rmse = math.sqrt(float(np.mean(distance**2)))
    assert stats.label_floor_m(np.full(10, radius)) == pytest.approx(rmse, rel=0.01)
    assert math.isnan(stats.label_floor_m([5.0, math.nan, math.nan]))


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


def test_effects_are_tested_against_the_variance_between_seeds() -> None:
    shape, seeds = (2, 3, 2), 3
    rng = np.random.default_rng(17)
    error = rng.gamma(2.0, 20.0, (12, seeds, 40)) * np.repeat([0.8, 1.2], 6)[:, None, None]
    effects = stats.importance(error, np.arange(40), {"a": 2, "b": 3, "c": 2})
    squares = sums_of_squares(np.sqrt((error**2).mean(axis=2)), shape)
    left = 12 * (seeds - 1)
    noise, total = squares[()] / left, sum(squares.values())
    index = {"a": 0, "b": 1, "c": 2}
    for effect in effects[:-1]:
        key = tuple(index[axis] for axis in effect.axes)
        freedom = math.prod(shape[i] - 1 for i in key)
        f = squares[key] / freedom / noise
        assert effect.p_value == pytest.approx(scipy_stats.f.sf(f, freedom, left))
        omega = (squares[key] - freedom * noise) / (total + noise)
        assert effect.omega == pytest.approx(max(omega, 0.0))
    assert effects[0].p_value < 1e-6
    assert effects[0].omega < effects[0].share
    assert math.isnan(effects[-1].p_value)  # the seeds themselves


def test_importance_gives_seeds_no_share_where_a_cell_has_one() -> None:
    error = np.random.default_rng(3).gamma(2.0, 20.0, (4, 2, 40))
    error[0, 1] = np.nan
    effects = stats.importance(error, np.arange(40), {"a": 2, "b": 2})
    assert [effect.axes for effect in effects] == [("a",), ("b",), ("a", "b")]
    assert sum(effect.share for effect in effects) == pytest.approx(1.0)


def test_importance_refuses_what_is_no_full_grid() -> None:
    error = np.ones((5, 1, 10))
    with pytest.raises(ValueError, match="every cell of a full grid"):
        stats.importance(error, np.arange(10), {"a": 2, "b": 3})
    error = np.full((6, 1, 10), np.nan)
    with pytest.raises(ValueError, match="every cell of a full grid"):
        stats.importance(error, np.arange(10), {"a": 2, "b": 3})


def test_winner_on_the_edge_names_the_next_value() -> None:
    axes: dict[str, list[Any]] = {
        "lr": [0.001, 0.003, 0.005],
        "batch_size": [8, 16, 32],
        "model": ["a", "b"],
        "n": [5],
    }
    low = edges({"lr": 0.001, "batch_size": 16, "model": "a", "n": 5}, axes)
    assert [(edge.axis, edge.suggestion) for edge in low] == [("lr", 0.0003)]
    high = edges({"lr": 0.003, "batch_size": 32, "model": "a", "n": 5}, axes)
    assert [(edge.axis, edge.suggestion) for edge in high] == [("batch_size", 64.0)]
    inside = edges({"lr": 0.003, "batch_size": 16, "model": "b", "n": 5}, axes)
    assert inside == []
    assert edges({"decay": 0}, {"decay": [0, 0.1, 0.2]}) == []  # nothing lies below
    assert edges({"k": 1}, {"k": [1, 4]}) == []
    for seed in ("order_seed", "split.seed"):  # no scale, so nothing lies beyond
        assert edges({seed: 3}, {seed: [0, 1, 2, 3]}) == []


def test_the_same_input_gives_the_same_numbers() -> None:
    error, spot, mean = simulated(17, [70.0, 72.0, 90.0])
    assert stats.cell_interval(error[0], spot) == stats.cell_interval(error[0], spot)
    first, second = (stats.resample(error, spot) for _ in range(2))
    assert np.array_equal(first.deviation, second.deviation)
    a, b = (stats.selection_corrected(error, spot) for _ in range(2))
    assert (a.corrected, a.interval) == (b.corrected, b.interval)
    once, again = (stats.beats_baseline(error, spot, mean).marked for _ in range(2))
    assert np.array_equal(once, again)


def test_the_next_value_beyond_an_edge_is_never_rounded_back_inside() -> None:
    (low,) = edges({"lr": 0.0011}, {"lr": [0.0011, 0.0012]})
    assert low.suggestion == pytest.approx(0.0011**2 / 0.0012, rel=0.1)
    assert low.suggestion < 0.0011
    (high,) = edges({"lr": 1.2}, {"lr": [1.0, 1.2]})
    assert high.suggestion == pytest.approx(1.44, rel=0.1)
    assert high.suggestion > 1.2


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


def test_one_cell_alone_needs_no_correction_however_unequal_its_spots_are() -> None:
    """An average of left-out mean squares would give a large spot the weight of a small one."""
    for large in (0.5, 1.0, 2.0):
        rng = np.random.default_rng(5)
        spot = np.concatenate([np.zeros(20, dtype=int), np.arange(1, 41)])
        error = rng.rayleigh(50.0, (1, 2, 60)) * np.where(spot == 0, large, 1.0)
        found = stats.selection_corrected(error, spot)
        assert found.corrected == pytest.approx(found.apparent, rel=0.01)


@pytest.mark.parametrize("sizes", [(1000, 1), (100, *[1] * 40), (30, *[1] * 30)])
def test_an_interval_over_spots_of_which_one_has_most_photos_is_called_unreliable(
    sizes: tuple[int, ...],
) -> None:
    spot = np.repeat(np.arange(len(sizes)), sizes)
    error = np.random.default_rng(6).rayleigh(50.0, (2, len(spot)))
    found = stats.cell_interval(error, spot)
    assert any("interval unreliable" in note for note in found.notes)
    equal = stats.cell_interval(error[:, :40], np.arange(40))
    assert equal.notes == []


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


def test_equal_cells_are_equivalent_for_certain() -> None:
    error, spot, _ = simulated(8, [70.0])
    runs = np.concatenate([error, error])
    once = np.repeat(runs[:, :1], 2, axis=1)  # as of heads that no seed changes
    found = stats.equivalence(once, [1, -1], spot, 0.1)
    assert found.shown
    lucky = stats.equivalence(runs, [1, -1], spot, 0.1)  # other seeds might differ
    assert not lucky.shown


def test_photos_of_one_spot_have_no_band_and_no_interval_of_a_share() -> None:
    error, _, _ = simulated(9, [70.0, 72.0, 74.0, 76.0], seeds=2)
    one = np.zeros(error.shape[2], dtype=int)
    band = stats.profile(error[0], one, [50.0, 100.0])
    assert np.isnan(band.low).all()
    assert np.isnan(band.high).all()
    effects = stats.importance(error, one, {"a": 2, "b": 2})
    assert all(math.isnan(effect.low) for effect in effects)


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
