"""Tuning curves, against plain loops, closed forms, the library and simulation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opda.nonparametric import EmpiricalDistribution
from scipy import stats as scipy_stats

from img2gps.analysis import collect, stats
from img2gps.analysis.overview import analyse
from img2gps.analysis.scene import Scene, scene_of
from img2gps.analysis.tuning import GRID, GUIDED, RANDOM, tuning_curve
from img2gps.report.figures.tuning import tuning
from tests.helpers.fake_study import Options, make_study

MOST_M = 180.0
SPREAD_M = scipy_stats.lognorm(s=0.25, loc=55.0, scale=25.0)  # of a random search's errors


def scene(root: Path, options: Options) -> Scene:
    """Return the scene of a study made by code."""
    make_study(root, "s", options)
    analysis = analyse(collect.load_study(root / "s", [root]))
    return scene_of(analysis, analysis.rankings[0])


def test_the_curve_of_a_grid_is_the_mean_over_all_orders_and_seeds() -> None:
    cells = [[70.0, 74.0], [66.0, 80.0], [90.0, 71.0], [68.0, 68.5]]
    found = stats.in_any_order(cells)
    for k in range(1, 5):
        lowest = [
            min(runs)
            for chosen in itertools.combinations(cells, k)
            for runs in itertools.product(*chosen)
        ]
        assert found.expected[k - 1] == pytest.approx(np.mean(lowest))
        assert found.low[k - 1] == np.quantile(lowest, 0.05, method="inverted_cdf")
        assert found.high[k - 1] == np.quantile(lowest, 0.95, method="inverted_cdf")


def test_after_all_cells_of_one_run_each_only_the_lowest_error_remains() -> None:
    found = stats.in_any_order([[71.0], [69.0], [80.0]])
    assert (found.expected[-1], found.low[-1], found.high[-1]) == (69.0, 69.0, 69.0)


def test_the_curve_of_a_random_search_is_unbiased_where_the_usual_one_is_too_high() -> None:
    rng, sizes = np.random.default_rng(0), np.arange(1, 13)
    at = np.linspace(0, MOST_M, 20_001)
    truth = np.asarray(np.trapezoid(SPREAD_M.sf(at) ** sizes[:, None], at, axis=1))
    drawn = np.minimum(SPREAD_M.rvs((4000, 12), random_state=rng), MOST_M)
    own = [stats.in_any_order(list(errors[:, None])).expected for errors in drawn]
    usual = [
        EmpiricalDistribution(errors).average_tuning_curve(sizes, minimize=True) for errors in drawn
    ]
    noise = 4 * drawn.min(axis=1).std() / np.sqrt(len(drawn))
    assert np.mean([curve[-1] for curve in own]) == pytest.approx(truth[-1], abs=noise)
    assert np.mean([curve[-1] for curve in usual]) > truth[-1] + noise


def test_the_band_of_a_random_search_holds_the_whole_curve_as_often_as_it_says() -> None:
    n, times, rng = 61, 100, np.random.default_rng(1)
    at = np.linspace(0, MOST_M, 5001)
    truth = np.trapezoid(SPREAD_M.sf(at) ** np.arange(1, n + 1)[:, None], at, axis=1)
    held = 0
    for _ in range(times):
        found = stats.of_random_search(SPREAD_M.rvs(n, random_state=rng), MOST_M)
        held += bool(((found.low <= truth) & (truth <= found.high)).all())
        assert (found.low <= found.expected).all()
        assert (found.expected <= found.high).all()
    assert held >= 0.88 * times  # 0.95 less 3 standard errors


def test_a_run_far_out_counts_as_the_most_and_widens_the_band_no_further() -> None:
    errors = np.array([70.0, 72.0, 75.0, 80.0, 1e6])
    found = stats.of_random_search(errors, MOST_M)
    assert np.nanmax(found.high) <= MOST_M
    assert found.expected[0] == pytest.approx((70 + 72 + 75 + 80 + MOST_M) / 5)


@pytest.mark.parametrize(
    ("kind", "expected"), [("grid", GRID), ("random", RANDOM), ("tpe", GUIDED)]
)
def test_a_curve_ends_at_the_lowest_cell_and_counts_what_was_spent(
    tmp_path: Path, kind: str, expected: str
) -> None:
    found = tuning_curve(scene(tmp_path, Options(kind=kind, seeds=(0,), epochs=15)))
    assert found is not None
    assert found.kind == expected
    figures = collect.load_study(tmp_path / "s", [tmp_path]).finished["val/rmse_m"]
    assert found.lowest_m == pytest.approx(figures.min())
    assert list(found.table["runs"]) == list(range(1, 19))
    assert found.table["epochs"].iloc[-1] == pytest.approx(18 * 15)
    assert found.table["minutes"].iloc[-1] == pytest.approx(18 * 15 * 13.7 / 60)
    assert found.table["low_m"].isna().all() == (kind == "tpe")


def test_a_diverged_run_costs_and_counts_as_twice_the_mean_predictor(tmp_path: Path) -> None:
    axes: dict[str, list[float]] = {"lr": [0.001, 0.003, 0.005, 0.01], "batch_size": [16]}
    states = {("lr=0.001,batch_size=16", 0): ("diverged", "loss is NaN")}
    drawn = scene(tmp_path, Options(axes=axes, kind="tpe", seeds=(0,), states=states))
    found = tuning_curve(drawn)
    assert found is not None
    assert found.table["expected_m"].iloc[0] == pytest.approx(2 * drawn.mean_rmse_m)
    assert found.table["epochs"].iloc[0] == 5  # of 15: a third, as the fake study has it
    assert len(found.table) == 4


def test_a_race_and_three_cells_have_no_curve(tmp_path: Path) -> None:
    assert tuning_curve(scene(tmp_path / "race", Options(kind="race"))) is None
    few = Options(axes={"lr": [0.001, 0.003, 0.005]})
    assert tuning_curve(scene(tmp_path / "few", few)) is None


def test_the_curves_of_a_grid_and_a_search_are_drawn_together_with_words_for_each(
    tmp_path: Path,
) -> None:
    found = {
        kind: tuning_curve(scene(tmp_path / kind, Options(kind=kind, seeds=(0,))))
        for kind in ("grid", "tpe")
    }
    curves = {name: curve for name, curve in found.items() if curve is not None}
    figure = tuning(curves, mean_rmse_m=90.0, floor_m=5.0)
    assert "grid: the lowest RMSE to expect if its cells are run in random order" in figure.caption
    assert "tpe: the lowest RMSE so far, as the trials went" in figure.caption
    titles = [panel["layer"][1]["encoding"]["x"]["title"] for panel in figure.spec["hconcat"]]
    assert titles == ["runs", "epochs trained", "minutes of training"]
    assert "floor 5.0" in str(figure.spec)


def test_seeds_of_a_cell_are_no_draws_of_their_own_in_a_random_search(tmp_path: Path) -> None:
    rates = [round(0.001 + 0.0003 * n, 4) for n in range(12)]
    given_up = {(f"lr={rate}", 1): ("pruned", "worse than the median") for rate in rates[6:]}
    options = Options(axes={"lr": rates}, seeds=(0, 1), epochs=2, kind="random", states=given_up)
    drawn = scene(tmp_path, options)
    curve = tuning_curve(drawn)
    assert curve is not None
    assert curve.kind == RANDOM
    assert len(curve.table) == len(rates)
    runs = drawn.study.finished.groupby("rank_cell")["val/rmse_m"].mean()
    assert curve.table["expected_m"].iloc[0] == pytest.approx(runs.mean())
    assert curve.table["runs"].iloc[-1] == pytest.approx(2 * len(rates))


def test_folds_of_a_trial_count_by_their_photos(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.002, 0.003, 0.004], "split.fold": [0, 1]}
    drawn = scene(tmp_path, Options(axes=axes, seeds=(0,), epochs=2, split_kind="kfold"))
    curve = tuning_curve(drawn)
    assert curve is not None
    assert curve.lowest_m == pytest.approx(drawn.cells["rmse_m"].min(), abs=1e-3)
