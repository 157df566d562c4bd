"""Intervals of RMSE and luck, against independent computation and simulation with known truth."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from tests.helpers.fake_study import Noise
from tests.helpers.simulated import simulated

Floats = NDArray[np.float64]


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
        "one seed, luck assumed: 3.2 %",
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
    assert plain_m == pytest.approx(0.043, abs=0.008)  # with a part of the typical 3.3 %
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


def test_fold_means_have_the_nadeau_bengio_variance() -> None:
    values = [62.0, 70.0, 66.0, 74.0, 68.0]
    found = stats.fold_mean(values, n_train=80, n_val=20)
    # mean 68, variance 20; (1/5 + 20/80) x 20 = 9; t(0.975, 4) = 2.776445
    assert found.estimate == pytest.approx(68.0)
    assert found.se == pytest.approx(3.0)
    assert found.low == pytest.approx(68.0 - 3 * 2.776445, abs=1e-5)
    assert found.high == pytest.approx(68.0 + 3 * 2.776445, abs=1e-5)
    assert math.isnan(stats.fold_mean([68.0], 80, 20).se)


def test_the_floor_is_the_rmse_of_labels_whose_stated_radius_holds_68_percent() -> None:
    rng = np.random.default_rng(18)
    east, north = rng.normal(0, 3.0, (2, 200_000))
    distance = np.hypot(east, north)
    radius = np.quantile(distance, 0.68)
    rmse = math.sqrt(float(np.mean(distance**2)))
    assert stats.label_floor_m(np.full(10, radius)) == pytest.approx(rmse, rel=0.01)
    assert math.isnan(stats.label_floor_m([5.0, math.nan, math.nan]))


def test_the_same_input_gives_the_same_numbers() -> None:
    error, spot, mean = simulated(17, [70.0, 72.0, 90.0])
    assert stats.cell_interval(error[0], spot) == stats.cell_interval(error[0], spot)
    first, second = (stats.resample(error, spot) for _ in range(2))
    assert np.array_equal(first.deviation, second.deviation)
    a, b = (stats.selection_corrected(error, spot) for _ in range(2))
    assert (a.corrected, a.interval) == (b.corrected, b.interval)
    once, again = (stats.beats_baseline(error, spot, mean).marked for _ in range(2))
    assert np.array_equal(once, again)


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
