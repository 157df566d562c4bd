"""The luck of a seed: what it assumes, against published studies, and what it leaves certain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize
from scipy import stats as scipy_stats

from img2gps.analysis.collect import load_study
from img2gps.analysis.stats.intervals import difference_interval, spread_of
from img2gps.analysis.stats.luck import (
    ASSUMED,
    ASSUMED_FREEDOM,
    LEAST_FREEDOM,
    NO_LUCK,
    OUTLYING,
    PRIOR_FREEDOM,
    TYPICAL,
    Luck,
    luck_of,
    seed_variances,
)
from img2gps.analysis.stats.sample import Sample
from tests.helpers.simulated import simulated

RESULTS = Path(__file__).parents[2] / "results"
SPOTS = np.arange(20)
STUDIES = ("table1", "table1_64", "lr_edge_64", "lr_decay", "last_batch")


def variances(study: str) -> tuple[NDArray[np.float64], int]:
    """Return the relative variance between the runs of each cell, and its degrees of freedom."""
    error = load_study(RESULTS / study, []).errors().error_m
    rmse = np.sqrt((error**2).mean(axis=2))
    rmse = rmse[~np.isnan(rmse).any(axis=1)]
    return rmse.var(axis=1, ddof=1) / rmse.mean(axis=1) ** 2, rmse.shape[1] - 1


def log_likelihood(known: list[tuple[NDArray[np.float64], int]], freedom: float) -> float:
    """Return that of a scaled F distribution, whose scale is each study's most likely one."""
    total = 0.0
    for found, own in known:

        def missed(log_scale: float, found: NDArray[np.float64] = found, own: int = own) -> float:
            density = scipy_stats.f.logpdf(found / np.exp(log_scale), own, freedom) - log_scale
            return -float(density.sum())

        total -= optimize.minimize_scalar(missed, bounds=(-14, -2), method="bounded").fun
    return total


def test_the_weight_of_a_cells_own_luck_is_likely_in_published_studies() -> None:
    known = [variances(study) for study in STUDIES]
    assert sum(len(found) for found, _ in known) > 30
    likely = log_likelihood(known, PRIOR_FREEDOM)
    assert likely > log_likelihood(known, 1.0) + 1  # each cell for itself
    assert likely > log_likelihood(known, 1000.0) + 1  # all cells alike


@pytest.mark.parametrize("worse", [1.0, 1.08, 1.5])
def test_the_less_likely_a_cells_variance_is_the_less_the_others_moderate_it(worse: float) -> None:
    rng = np.random.default_rng(5)
    scale = 1 + 0.03 * rng.normal(size=(9, 3, 1))
    scale[4] *= np.array([[1.0], [1.0], [worse]])
    error = rng.gamma(2.0, 20.0, 20) * scale  # runs differ in little but their scale
    luck = luck_of(error, SPOTS)
    found = seed_variances(Sample(error, SPOTS), luck)
    rmse = np.sqrt((error[4] ** 2).mean(axis=1))
    own, common = rmse.var(ddof=1) / rmse.mean() ** 2, luck.relative**2
    chance = scipy_stats.f.sf(own / common, 2, luck.freedom)
    weight = max(PRIOR_FREEDOM * min(chance / OUTLYING, 1.0), LEAST_FREEDOM)
    expected = (weight * common + 2 * own) / (weight + 2) * rmse.mean() ** 2 / 3
    assert found.freedom[4] == pytest.approx(weight + 2, rel=0.01)
    assert found.variance[4] == pytest.approx(expected, rel=0.02)  # less photos' noise
    assert (weight == PRIOR_FREEDOM) == (worse < 1.2)


@pytest.mark.parametrize("others", [1, 2, 4])
def test_the_luck_of_a_hopeless_cell_does_not_widen_the_intervals_of_others(others: int) -> None:
    error, spot, _ = simulated(8, [70.0] * others + [3e6], seeds=2)
    error[-1] *= np.array([0.7, 1.3])[:, None]
    found, alone = luck_of(error, spot), luck_of(error[:-1], spot)
    assert found.relative == pytest.approx(alone.relative, rel=0.3)
    assert found.freedom == alone.freedom
    wide = difference_interval(error[0], error[0] * 1.1, spot, luck=found)
    narrow = difference_interval(error[0], error[0] * 1.1, spot, luck=alone)
    assert wide.high - wide.low == pytest.approx(narrow.high - narrow.low, rel=0.15)


def test_one_seed_takes_the_assumed_luck_and_how_uncertain_it_is() -> None:
    """The half width beside certain spots is that of Student's t with the assumed freedom."""
    error = np.random.default_rng(6).gamma(400.0, 0.1, (1, 1, 400))  # errors of about 40 m
    spread = spread_of(
        Sample(error, np.arange(400)), np.array([1.0]), luck_of(error, np.arange(400))
    )
    assert spread.se_seeds == pytest.approx(0.0322 * np.sqrt((error**2).mean()))
    assert spread.freedom == pytest.approx(ASSUMED_FREEDOM, rel=0.05)


@pytest.mark.parametrize("seed", range(8))
def test_cells_whose_seeds_have_much_noise_in_common_keep_some_degrees_of_freedom(
    seed: int,
) -> None:
    """As many as spots and seeds have together where each counts for itself: 1/(1/19 + 1/6)."""
    rng = np.random.default_rng(seed)
    common = np.abs(rng.normal(80, 25, (1, 3, 20)))
    error = np.concatenate([common, 1.1 * common]) + rng.normal(0, 0.5, (2, 3, 20))
    spread = spread_of(Sample(error, SPOTS), np.array([1.0, -1.0]), luck_of(error, SPOTS))
    assert spread.freedom >= 1 / (1 / 19 + 1 / 6) - 1e-9
    interval = difference_interval(error[0], error[1], SPOTS)
    assert interval.high - interval.low < 6 * spread.total


def test_luck_that_other_cells_show_counts_as_if_all_cells_were_seen_together() -> None:
    rng = np.random.default_rng(0)
    luck = 1 + 0.06 * rng.standard_normal((8, 3, 1))
    error = 60 * luck * rng.chisquare(20, (8, 1, 20)) / 20
    together = luck_of(error, SPOTS)
    in_turn = luck_of(error[:2], SPOTS, luck_of(error[2:], SPOTS))
    assert in_turn.relative == pytest.approx(together.relative)
    assert (in_turn.freedom, in_turn.cells) == (together.freedom, together.cells)
    assert luck_of(error[:, :1], SPOTS, together) == together


def test_runs_that_differ_are_moderated_by_the_typical_luck_and_not_by_the_assumed_one() -> None:
    rng = np.random.default_rng(2)
    error = 60 * (1 + 0.06 * rng.standard_normal((2, 3, 1))) * rng.chisquare(20, (2, 1, 20)) / 20
    single = luck_of(error[:, :1], SPOTS)
    assert single == ASSUMED
    assert luck_of(error, SPOTS, single) == luck_of(error, SPOTS, TYPICAL) == luck_of(error, SPOTS)
    assert TYPICAL.relative == pytest.approx(0.033)
    assert TYPICAL.freedom == PRIOR_FREEDOM


def test_possible_lucks_vary_by_what_is_known_and_a_known_luck_not_at_all() -> None:
    sure, unsure = (Luck(0.04, freedom, 0.05, 9).possible(2000) for freedom in (1e6, 8.0))
    assert sure == pytest.approx(2000 * [0.04], rel=0.02)
    totals = np.square(unsure) + 0.05**2 - 0.04**2
    expected = scipy_stats.invgamma(4.0, scale=4.0 * 0.05**2)
    assert np.median(totals) == pytest.approx(expected.median(), rel=0.01)
    assert np.quantile(totals, 0.9) == pytest.approx(expected.ppf(0.9), rel=0.01)
    assert not NO_LUCK.possible(10).any()
