"""Runs that go astray: what they say of the other runs, against values computed by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.report import build
from tests.helpers.fake_study import Noise, draw_errors, draw_photos

LUCK = stats.Luck(0.03, 20.0, 0.04, 3)
RUNS_M = [[10.0, 10.0, 10.0], [20.0, 20.0, 30.0], [40.0, 40.0, 40.0]]  # one errs half as much more


def constant(runs_m: list[list[float]], photos: int = 12) -> NDArray[np.float64]:
    """Errors (c, s, p) of runs that err equally on all photos."""
    return np.repeat(np.array(runs_m)[..., None], photos, axis=2)


def drawn(number: int, rmse: list[float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Errors (c, 3, p) of a simulated study, and the spot of each photo."""
    rng = np.random.default_rng(number)
    photos = draw_photos(rng, 60, 45)
    offset = draw_errors(rng, photos, rmse, 3, Noise())
    return np.hypot(offset[..., 0], offset[..., 1]), photos.spot


def by_hand(weight: Fraction) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """How likely the counts 0, 1 and 0 of 3 are, the share of cells 0 and 1, and the variance of 0.

    The share of a cell has a beta distribution that counts for `weight` runs around 1 of 9.
    """
    a, b = weight / 9, weight * 8 / 9
    runs = weight * (weight + 1) * (weight + 2)  # three runs of a cell, one after the other
    none, one = b * (b + 1) * (b + 2) / runs, a * b * (b + 1) / runs
    share = a / (weight + 3)
    own = share * (1 - share) / (weight + 4)
    of_common = (weight / (weight + 3)) ** 2 * Fraction(8, 81) / 9
    return none * one * none, share, (a + 1) / (weight + 3), own + of_common


def test_the_share_of_a_cell_is_that_of_all_cells_shrunk_towards_its_own() -> None:
    found = stats.strays_of(constant(RUNS_M), LUCK)
    parts = [by_hand(Fraction(weight)) for weight in (1, 4, 16, 10**6)]
    total = sum(part[0] for part in parts)
    clean, gone = (float(sum(p[0] * p[i] for p in parts) / total) for i in (1, 2))
    square = float(sum(p[0] * (p[3] + p[1] ** 2) for p in parts) / total)
    assert np.argwhere(found.runs).tolist() == [[1, 2]]
    assert found.excess == pytest.approx(0.5)
    assert found.share == pytest.approx([clean, gone, clean])
    assert 0.03 < clean < 1 / 9 < gone < 1 / 3
    assert found.doubt[0] == pytest.approx(math.sqrt(square - clean**2))
    assert found.doubt_below[0] == pytest.approx(clean / 2)  # the share is not below 0
    assert found.factor == pytest.approx(1 + 0.5 * found.share)


def test_cells_that_no_seed_changes_and_single_runs_say_nothing() -> None:
    nan = math.nan
    runs_m = [*RUNS_M[:2], [40.0, 40.0, 40.0], [50.0, nan, nan]]
    found = stats.strays_of(constant(runs_m), LUCK, solved=[False, False, True, False])
    two = stats.strays_of(constant(runs_m[:2]), LUCK)
    assert found.share[:2] == pytest.approx(two.share)
    assert found.share[2] == found.doubt[2] == 0.0
    assert found.share[3] == pytest.approx(1 / 6)  # the common share: it has no runs of its own
    assert stats.strays_of(constant(runs_m), LUCK, solved=[True] * 4).share.tolist() == [0.0] * 4


def test_the_corrected_winner_counts_on_runs_that_go_astray_in_other_cells() -> None:
    error, spot = constant(RUNS_M), np.arange(12)
    found = stats.selection_corrected(error, spot, luck=LUCK, n=50)
    assert found.winner == 0
    assert found.apparent == pytest.approx(10.0)
    share = stats.strays_of(error, LUCK).share[0]
    assert found.corrected == pytest.approx(10 * (1 + 0.5 * share))
    calm = stats.selection_corrected(constant([*RUNS_M[::2]]), spot, luck=LUCK, n=50)
    assert calm.corrected == pytest.approx(10.0)


def test_a_run_that_went_astray_does_not_score_its_cell() -> None:
    # Its other runs select it in every resample, and score it in every resample, too.
    found = stats.selection_corrected(
        constant([[10.0, 10.0, 15.0], [40.0] * 3]), np.arange(12), luck=LUCK, n=50
    )
    share = stats.strays_of(constant([[10.0, 10.0, 15.0], [40.0] * 3]), LUCK).share[0]
    assert found.apparent == pytest.approx(35 / 3)
    assert found.corrected == pytest.approx(10 * (1 + 0.5 * share))


def test_a_winner_one_of_whose_two_runs_went_astray_is_not_said_to_have_one_seed() -> None:
    error, spot = drawn(6, [50.0, 120.0])
    error = error[:, :2]
    error[0, 1] *= 1.9
    luck = stats.Luck(0.03, 20.0, 0.04, 2)
    found = stats.selection_corrected(error, spot, luck=luck, n=100)
    assert stats.strays_of(error, luck).runs.tolist() == [[False, True], [False, False]]
    assert found.winner == 0
    assert found.interval is not None
    assert (found.interval.n_seeds, found.interval.notes) == (2, [])


def test_the_corrected_interval_is_wider_by_the_doubt_about_the_share_and_more_so_above() -> None:
    error, spot = drawn(3, [50.0, 90.0, 90.0])
    error[2, 1] *= 1.6
    luck = stats.luck_of(error, spot)
    strays = stats.strays_of(error, luck)
    found = stats.selection_corrected(error, spot, luck=luck, n=200)
    own = stats.cell_interval(error[0], spot, luck=luck)
    assert found.wins.tolist() == [1.0, 0.0, 0.0]
    assert found.interval is not None
    own_se = math.hypot(own.se_photos, own.se_seeds)
    for end, own_end, doubt in (
        (found.interval.low, own.low, strays.share[0] / 2),
        (found.interval.high, own.high, strays.doubt[0]),
    ):
        se = math.hypot(own_se, strays.excess * doubt * own.estimate)
        expected = math.log(own_end / own.estimate) * se / own_se
        assert math.log(end / found.corrected) == pytest.approx(expected, rel=1e-3)
    assert strays.share[0] / 2 < strays.doubt[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("perfect", [[0], [0, 1]])
def test_runs_without_any_error_do_not_make_the_others_astray(perfect: list[int]) -> None:
    error, spot = drawn(4, [60.0, 62.0])
    error[0, perfect] = 0.0
    strays = stats.strays_of(error, stats.luck_of(error, spot))
    assert not strays.runs.any()
    assert strays.factor.tolist() == [1.0, 1.0]


@pytest.mark.filterwarnings("error")
def test_how_far_a_run_went_astray_does_not_decide_the_corrected_winner() -> None:
    error, spot = drawn(3, [70.0, 71.0, 75.0, 76.0])
    found = []
    for times in (2.0, 10.0, 1e4):
        worse = error.copy()
        worse[3, 1] *= times
        strays = stats.strays_of(worse, stats.luck_of(worse, spot))
        assert strays.runs.sum() == 1
        assert strays.excess <= 1.0
        found.append(stats.selection_corrected(worse, spot, strays=strays))
    assert found[2].corrected == pytest.approx(found[1].corrected, rel=0.03)
    interval = found[2].interval
    assert interval is not None
    assert interval.high < 2 * found[2].corrected


def test_runs_of_a_hopeless_cell_do_not_go_astray() -> None:
    error, spot = drawn(3, [70.0, 71.0, 75.0, 3e6])
    error[3, 1] *= 10.0
    strays = stats.strays_of(error, stats.luck_of(error, spot))
    assert not strays.runs.any()
    assert strays.factor.tolist() == [1.0] * 4


def test_where_no_run_went_astray_nothing_is_counted_on() -> None:
    error, spot = drawn(4, [60.0, 62.0, 64.0])
    luck = stats.luck_of(error, spot)
    strays = stats.strays_of(error, luck)
    assert not strays.runs.any()
    assert strays.factor.tolist() == [1.0] * 3
    plain = stats.cell_interval(error[0], spot, luck=luck)
    assert stats.cell_interval(error[0], spot, luck=luck, strays=strays.of([0])) == plain


def test_the_upper_end_of_a_cell_counts_on_the_share_unless_its_own_runs_went_astray() -> None:
    error, spot = drawn(5, [60.0, 62.0, 64.0])
    error[2, 1] *= 1.6
    luck = stats.luck_of(error, spot)
    strays = stats.strays_of(error, luck)
    for cell, factor in ((0, 1 + strays.excess * strays.share[0]), (2, 1.0)):
        plain = stats.cell_interval(error[cell], spot, luck=luck)
        found = stats.cell_interval(error[cell], spot, luck=luck, strays=strays.of([cell]))
        assert (found.low, found.estimate) == (plain.low, plain.estimate)
        assert found.high == pytest.approx(plain.high * factor)
    assert 1.001 < 1 + strays.excess * strays.share[0] < 1.1


def test_a_ranking_says_on_which_share_of_runs_it_counts() -> None:
    (ranking,) = build.load("table1", [Path(__file__).parents[2] / "results"]).rankings
    strays = ranking.errors.strays
    (note,) = [note for note in ranking.notes if "astray" in note]
    shares = strays.share[(ranking.corrected.wins > 0) | ~strays.runs.any(axis=1)]
    assert 0.01 < strays.share[ranking.corrected.winner] < 1 / 27
    counted = " to ".join(dict.fromkeys(f"{end:.1%}" for end in (shares.min(), shares.max())))
    assert f"count on {counted} of a cell's runs going astray" in note
    assert f"with errors {strays.excess:.0%} larger" in note
    nothing = np.zeros_like(strays.share)
    calm = stats.Strays(np.zeros_like(strays.runs), nothing, nothing, 0.0, strays.alone)
    errors = ranking.errors
    before = stats.selection_corrected(
        errors.error_m, errors.places, luck=errors.luck, strays=calm, n=10_000
    )
    raised = ranking.corrected.corrected / before.corrected
    assert 1.0 < raised < 1 + 2 * strays.excess / 27
