"""The correction for having been selected, against a plain loop and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from tests.helpers.fake_study import Noise
from tests.helpers.simulated import simulated

Floats = NDArray[np.float64]


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


def test_one_cell_alone_needs_no_correction_however_unequal_its_spots_are() -> None:
    """An average of left-out mean squares would give a large spot the weight of a small one."""
    for large in (0.5, 1.0, 2.0):
        rng = np.random.default_rng(5)
        spot = np.concatenate([np.zeros(20, dtype=int), np.arange(1, 41)])
        error = rng.rayleigh(50.0, (1, 2, 60)) * np.where(spot == 0, large, 1.0)
        found = stats.selection_corrected(error, spot)
        assert found.corrected == pytest.approx(found.apparent, rel=0.01)


def test_a_winner_of_single_runs_has_the_doubt_about_what_luck_flatters_it_by() -> None:
    """Brute force: the correction for each luck that there may be, taken for known."""
    error, spot, _ = simulated(77, [70.0] * 9, seeds=1)
    assumed = stats.selection_corrected(error, spot, luck=stats.ASSUMED)
    freedom = stats.ASSUMED.freedom
    chi_square = scipy_stats.chi2.ppf((np.arange(300) + 0.5) / 300, freedom)
    lucks = np.sqrt(freedom / chi_square) * stats.ASSUMED.relative
    known = [
        stats.selection_corrected(error, spot, luck=stats.Luck(luck, 1e6, luck, 9), n=400)
        for luck in lucks
    ]
    typical = stats.selection_corrected(
        error, spot, luck=stats.Luck(stats.ASSUMED.relative, 1e6, stats.ASSUMED.relative, 9)
    )
    assert assumed.interval is not None
    assert typical.interval is not None
    added = assumed.interval.se_seeds**2 - typical.interval.se_seeds**2
    corrected = np.array([found.corrected for found in known])
    # Nine equally good cells are hardly so near to each other with a large luck.
    rmse = stats.cell_rmse(error)
    likely = scipy_stats.chi2.cdf(8 * rmse.var(ddof=1) / (lucks * rmse.mean()) ** 2, 8)
    middle = np.average(corrected, weights=likely)
    doubt = math.sqrt(np.average((corrected - middle) ** 2, weights=likely))
    assert math.sqrt(added) == pytest.approx(doubt, rel=0.25)
    assert doubt > 0.5


def test_the_winner_of_equal_cells_with_single_runs_is_corrected_by_their_luck() -> None:
    """As of the lowest of nine normal draws: 1.485 standard deviations."""
    flattered, off = [], []
    for i in range(60):
        error, spot, _ = simulated(600_000 + i, [70.0] * 9, seeds=1, noise=Noise(cell_seed=0.06))
        found = stats.selection_corrected(
            error, spot, luck=stats.Luck(0.06, 1e6, 0.06, 9), n=300, seed=i
        )
        flattered.append(found.apparent - 70.0)
        off.append(found.corrected - 70.0)
    assert np.mean(flattered) < -5.0
    assert abs(np.mean(off)) < 2.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [1, 2, 30, 40, 200])
@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-4])
def test_many_single_runs_that_are_nearly_equal_have_a_corrected_winner(
    n: int, apart: float
) -> None:
    error, spot, _ = simulated(78, [70.0], seeds=1)
    equal = np.repeat(error, n, axis=0) * (1 + apart * np.arange(n))[:, None, None]
    found = stats.selection_corrected(equal, spot, n=100)
    assert found.interval is not None
    assert abs(found.optimism) < 6.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("worse", [100.0, 1e5, 1e9])
def test_how_absurd_a_hopeless_cell_is_does_not_change_the_corrected_winner(
    worse: float, seeds: int
) -> None:
    error, spot, _ = simulated(77, [70.0] * 9, seeds=seeds)
    error[8] *= 3.0
    hopeless = stats.selection_corrected(error, spot)
    error[8] *= worse
    absurd = stats.selection_corrected(error, spot)
    without = stats.selection_corrected(error[:8], spot)
    assert hopeless.interval is not None
    assert absurd.interval is not None
    assert without.interval is not None
    assert absurd.corrected == pytest.approx(hopeless.corrected)
    assert absurd.interval.low == pytest.approx(hopeless.interval.low)
    assert absurd.interval.high == pytest.approx(hopeless.interval.high)
    assert absurd.corrected == pytest.approx(without.corrected, abs=0.5)
    assert absurd.interval.high == pytest.approx(without.interval.high, abs=1.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("better", [0.3, 1e-3, 1e-8])
def test_a_single_run_far_better_than_all_others_is_hardly_corrected(better: float) -> None:
    error, spot, _ = simulated(77, [70.0] * 9, seeds=1)
    error[8] *= better
    found = stats.selection_corrected(error, spot)
    alone = stats.selection_corrected(error[8:], spot)
    assert found.interval is not None
    assert alone.interval is not None
    assert found.corrected == pytest.approx(alone.corrected, rel=1e-3)
    assert found.interval.high == pytest.approx(alone.interval.high, rel=1e-2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_rival_that_errs_ever_more_on_one_photo_counts_ever_less_and_without_jumps(
    seeds: int,
) -> None:
    error, spot, _ = simulated(5, [70.0, 71.0, 72.0], seeds=seeds)
    corrected = []
    for one_photo_m in [*range(700, 1100, 20), 2e7]:
        error[0, :, 7] = one_photo_m
        found = stats.selection_corrected(error, spot)
        assert found.interval is not None
        corrected.append(found.corrected)
    alone = stats.selection_corrected(error[1:], spot)
    assert found.wins[0] == 0.0
    assert found.corrected == pytest.approx(alone.corrected, abs=0.6)
    assert np.abs(np.diff(corrected)).max() < np.ptp(corrected) / 4


def test_single_runs_beside_cells_with_several_are_corrected() -> None:
    error, spot, _ = simulated(79, [70.0] * 4, seeds=3)
    error[:2, 1:] = np.nan
    found = stats.selection_corrected(error, spot)
    assert found.interval is not None
    assert found.optimism > 0
