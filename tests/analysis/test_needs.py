"""How many photos and seeds a question takes: power against simulation with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.collect import load_study
from img2gps.analysis.contrast import pair_of
from img2gps.analysis.needs import Needs
from img2gps.analysis.stats import Luck, power
from img2gps.analysis.stats.luck import TYPICAL_RELATIVE
from img2gps.analysis.stats.simulated import StudyLike
from img2gps.cli.main import main
from tests.helpers.fake_study import Noise, Options, draw_errors, draw_photos, make_study

Floats = NDArray[np.float64]


def drawn(seed: int, rmse: list[float], n: int, seeds: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return errors (c, s, p) of an imagined validation set, and its spots."""
    rng = np.random.default_rng(seed)
    photos = draw_photos(rng, n, round(0.7 * n))
    offset = draw_errors(rng, photos, rmse, seeds)
    return np.hypot(offset[..., 0], offset[..., 1]), photos.spot


RMSE_M = [70.0, 78.0, *[74.0] * 7]  # of a study's cells, of which the first two are asked about


def stated(pilots: int, n: int, seeds: int) -> list[stats.Power]:
    """Return the powers that pilot studies of 60 photos and 3 seeds state."""
    found = []
    for seed in range(pilots):
        error, spot = drawn(seed, RMSE_M, 60, 3)
        pair, others = stats.with_difference(error[:2], 8.0), stats.luck_of(error[2:], spot)
        found += stats.simulated_power(
            pair,
            spot,
            stats.first_is_lower,
            [n],
            [seeds],
            others=others,
            simulations=40,
            seed=seed,
        )
    return found


@pytest.mark.parametrize(("n", "seeds"), [(60, 3), (120, 5)])
def test_the_power_that_pilots_state_is_the_power_that_studies_have(n: int, seeds: int) -> None:
    shown = []
    for seed in range(1000):
        error, spot = drawn(50_000 + seed, RMSE_M, n, seeds)
        shown.append(stats.first_is_lower(error[:2], spot, stats.luck_of(error, spot)))
    actual = float(np.mean(shown))
    assert 0.2 < actual < 0.99
    found = stated(100, n, seeds)
    mean = np.mean([row.power for row in found])
    assert mean == pytest.approx(actual, abs=0.08)  # pilots alone: 2 points
    held = [row.low <= actual <= row.high for row in found]
    assert np.mean(held) > 0.7  # benchmarks/power.py has how often, with more simulations


def variance(pairs: list[Floats]) -> float:
    """Return the variance of the difference of two cells' RMSE."""
    return float(np.var([np.subtract(*stats.cell_rmse(pair)) for pair in pairs]))


def test_more_runs_than_the_pilot_has_make_means_as_much_steadier_as_in_new_studies() -> None:
    def of_nature(seed: int, runs: int) -> tuple[Floats, NDArray[np.int64]]:
        rng = np.random.default_rng([2, seed])
        photos = draw_photos(rng, 60, 42)
        offset = draw_errors(rng, photos, [70.0, 70.0], runs, Noise(cell_seed=0.0))
        return np.hypot(offset[..., 0], offset[..., 1]), photos.spot

    nine = [of_nature(seed, 9)[0] for seed in range(500)]
    real = variance(nine) / variance([pair[:, :3] for pair in nine])
    drawn_ones = []
    for seed in range(40):
        error, spot = of_nature(10_000 + seed, 3)
        like = StudyLike(stats.with_difference(error, 0.0), spot, Luck(0.0))
        drawn_ones.append(
            [
                variance([like.draw(np.random.default_rng(k), 60, runs)[0] for k in range(30)])
                for runs in (9, 3)
            ]
        )
    of_nine, of_three = np.mean(drawn_ones, axis=0)
    # With cells as far apart on a spot as in their three runs, nine runs were no steadier.
    assert of_nine / of_three == pytest.approx(real, abs=0.08)


def test_cells_get_the_difference_that_is_asked_about() -> None:
    error, _ = drawn(3, [70.0, 78.0], 60, 3)
    first, second = stats.cell_rmse(stats.with_difference(error, 5.0))
    assert first == pytest.approx(stats.cell_rmse(error)[0])
    assert second - first == pytest.approx(5.0)


def test_cells_that_are_equal_are_told_apart_as_often_as_chance_allows() -> None:
    error, spot = drawn(4, [70.0, 70.0], 60, 3)
    equal = stats.with_difference(error, 0.0)
    (row,) = stats.simulated_power(equal, spot, stats.first_is_lower, [60], [3])
    assert row.power < 0.07  # 2.5 % in one direction


def test_a_pair_is_judged_by_the_luck_that_the_other_cells_show() -> None:
    error, spot = drawn(5, [70.0, 78.0], 60, 2)
    lucky, unlucky = (
        stats.simulated_power(error, spot, stats.first_is_lower, [60], [2], others=luck)[0].power
        for luck in (Luck(0.005, 40.0, 0.01, 20), Luck(0.08, 40.0, 0.09, 20))
    )
    assert lucky > unlucky + 0.2


def test_a_pilot_of_two_cells_is_planned_with_the_luck_that_it_shows() -> None:
    """A report pulls it towards the typical one more strongly."""
    error, spot = drawn(14, [70.0, 75.0], 60, 3)
    rmse = np.sqrt((error**2).mean(axis=2, keepdims=True))
    unlucky = error / rmse * rmse.mean(axis=1, keepdims=True) * np.array([[0.91], [1.0], [1.09]])
    steady = error / rmse * rmse.mean(axis=1, keepdims=True) * np.array([[0.99], [1.0], [1.01]])
    for pilot, least, most in ((unlucky, 0.075, 0.09), (steady, 0.0, 0.01)):
        planned = power._planned_luck(pilot, spot, stats.ASSUMED)
        reported = stats.luck_of(pilot, spot)
        assert least <= planned.relative < most
        apart = [abs(luck.relative - TYPICAL_RELATIVE) for luck in (planned, reported)]
        assert apart[0] > apart[1] + 0.005
        assert planned.freedom == reported.freedom  # known as surely, so ranges are no wider
    single = error[:, :1]
    assert power._planned_luck(single, spot, stats.ASSUMED) == stats.ASSUMED
    others = Luck(0.05, 20.0, 0.06, 8)
    assert power._planned_luck(error, spot, others) == stats.luck_of(error, spot, others)


def test_each_cell_has_the_range_of_its_own_difference() -> None:
    """A near cell decides whether one wins alone; a far one tells nothing of its doubt."""
    error, spot = drawn(11, [60.0, 60.0, 60.0], 60, 3)
    rmse = stats.cell_rmse(error)
    powers = {}
    for near, far in ((6.0, 30.0), (6.0, 60.0)):
        wanted = np.array([60.0, 60.0 + near, 60.0 + far])
        (powers[far],) = stats.simulated_power(
            error * (wanted / rmse)[:, None, None], spot, stats.first_wins_alone, [60], [3],
            expected=stats.OF_TESTS, observed=True, simulations=60,
        )  # fmt: skip
    assert powers[30.0].low < 0.1
    assert powers[60.0].low < 0.1
    assert powers[30.0].high > powers[30.0].power + 0.3


def test_heads_that_no_seed_changes_need_no_seeds() -> None:
    """Before, the typical luck was assumed of them."""
    error, spot = drawn(6, [70.0, 78.0], 60, 1)
    one, many = stats.simulated_power(
        error, spot, stats.first_is_lower, [60], [1, 8], others=stats.NO_LUCK
    )
    assert one.power == pytest.approx(many.power, abs=0.1)


def test_the_luck_of_the_other_cells_is_that_of_the_whole_study(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003, 0.005], "batch_size": [8, 16]}
    make_study(tmp_path, "s", Options(axes=axes, seeds=(0, 1, 2)))
    study = load_study(tmp_path / "s", [tmp_path])
    errors, pair = pair_of(study, {"lr": "0.001"}, {"lr": "0.003"}, {"batch_size": "8"})
    assert [errors.cells[cell] for cell in pair] == [
        "lr=0.001,batch_size=8",
        "lr=0.003,batch_size=8",
    ]
    others = errors.luck_without(pair)
    assert others.cells == 4
    together = stats.luck_of(errors.error_m[pair], errors.places, others)
    assert together.relative == pytest.approx(errors.luck.relative, rel=0.05)
    assert errors.luck_without(range(len(errors.cells))) == stats.ASSUMED


def test_the_command_says_what_more_seeds_would_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [16]}
    make_study(tmp_path, "s", Options(axes=axes, seeds=(0, 1)))
    words = ["needs", "s", "--runs", str(tmp_path)]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--this", "lr=0.001", "--that", "lr=0.003"])
    shown = capsys.readouterr().out
    assert "is lr=0.001,batch_size=16 better than lr=0.003,batch_size=16?" in shown
    assert "photos          2 seeds          4 seeds          9 seeds" in shown
    assert "here: 60 photos, 2 seeds a cell" in shown
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--difference", "3"])
    assert "--difference: metres above 0, together with --this" in capsys.readouterr().err


def test_spots_that_err_alike_take_power_away() -> None:
    """Stated powers beside the share of studies that the report's own test tells apart."""

    def study(key: list[int]) -> tuple[Floats, stats.Places]:
        rng = np.random.default_rng(key)
        photos = draw_photos(rng, 60, 41)
        noise = Noise(cell_seed=0.03, alike_m=30.0, cells_alike=True, pull=0.4)
        offset = draw_errors(rng, photos, [70.0, 85.0], 3, noise)
        places = stats.Places(photos.spot, np.stack([photos.east, photos.north], axis=1))
        return np.hypot(offset[..., 0], offset[..., 1]), places

    stated: list[float] = []
    without: list[float] = []
    for seed in range(30):
        error, places = study([1, seed])
        error = stats.with_difference(error, 15.0)
        for known, found in ((places, stated), (places.spot, without)):
            (row,) = stats.simulated_power(
                error, known, stats.first_is_lower, [60], [3], simulations=60, seed=seed
            )
            found.append(row.power)
    shown = [
        stats.first_is_lower(error, places, stats.luck_of(error, places))
        for error, places in (study([2, seed]) for seed in range(200))
    ]
    assert np.mean(stated) == pytest.approx(np.mean(shown), abs=0.09)  # 2 standard errors
    assert np.mean(without) > np.mean(stated) + 0.1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("runs", [1, 3])
def test_runs_without_any_error_have_a_power(runs: int) -> None:
    error, spot = drawn(7, [40.0, 70.0], 60, 3)
    error[0, :runs] = 0.0
    (row,) = stats.simulated_power(
        error, spot, stats.first_is_lower, [60], [3], observed=True, simulations=10
    )
    assert 0.0 <= row.low <= row.power <= row.high <= 1.0
    assert runs < 3 or row.power == 1.0


def test_a_table_of_one_seed_says_why_its_powers_are_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.003]}, seeds=(0,)))
    said = "One seed shows no luck, so that no cell is marked as the best."
    for words, expected in (([], True), (["--this", "lr=0.001", "--that", "lr=0.003"], False)):
        with pytest.raises(SystemExit, match="0"):
            main(["needs", "s", "--runs", str(tmp_path), *words])
        assert (said in capsys.readouterr().out) is expected


def test_a_single_run_that_stands_out_is_named_beside_the_power(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.002, 0.003, 0.004, 0.005]}
    options = Options(axes=axes, seeds=(0,), effect=lambda p: 110.0 if p["lr"] == 0.003 else 70.0)
    make_study(tmp_path, "s", options)
    make_study(tmp_path, "s", options)
    with pytest.raises(SystemExit, match="0"):
        main(["needs", "s", "--runs", str(tmp_path), "--this", "lr=0.001", "--that", "lr=0.003"])
    shown = capsys.readouterr().out
    assert "May have gone astray: the single run of lr=0.003, which errs more than" in shown


def test_of_too_few_spots_no_power_is_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.003]}, seeds=(0, 1), n_spots=1))
    with pytest.raises(SystemExit, match="0"):
        main(["needs", "s", "--runs", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "The 60 photos are of so few spots that no power can be stated" in shown
    assert "%" not in shown


def test_only_photos_that_save_seeds_are_named() -> None:
    rows = [
        stats.Power(photos, seeds, power, 0.0, 1.0)
        for photos, powers in (
            (60, (0.1, 0.5, 0.9)),
            (120, (0.5, 0.9, 0.9)),
            (240, (0.5, 0.9, 1.0)),
        )
        for seeds, power in zip((2, 4, 9), powers, strict=True)
    ]
    found = Needs("?", rows, photos=60, seeds=2, runs=2, seconds=1.0)
    assert [(row.photos, row.seeds) for row in found.enough] == [(60, 9), (120, 4)]
    assert found.by_seeds == rows[2]


def test_one_seed_answers_no_question_that_takes_marks() -> None:
    error, spot = drawn(7, [40.0, 70.0, 72.0], 60, 1)
    one, two = stats.simulated_power(
        error, spot, stats.first_wins_alone, [60], [1, 2], expected=stats.OF_TESTS, simulations=20
    )
    assert one.power == 0.0
    assert two.power > 0.5


def test_heads_that_no_seed_changes_answer_with_one_run() -> None:
    error, spot = drawn(8, [40.0, 70.0], 60, 1)
    (row,) = stats.simulated_power(
        error, spot, stats.first_wins_alone, [60], [1], others=stats.NO_LUCK,
        solved=[True, True], simulations=20,
    )  # fmt: skip
    assert row.power > 0.5


def test_nothing_is_needed_where_no_other_cell_is_in_doubt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    effect = {0.001: 30.0, 0.003: 85.0}
    options = Options(
        axes={"lr": [0.001, 0.003]}, seeds=(0, 1, 2), effect=lambda params: effect[params["lr"]]
    )
    make_study(tmp_path, "s", options)
    with pytest.raises(SystemExit, match="0"):
        main(["needs", "s", "--runs", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "is lr=0.001 alone the best? No other cell is in doubt." in shown
    assert "100% (100-100%)" in shown


def test_a_range_says_what_the_observed_difference_and_few_spots_leave_open() -> None:
    error, spot = drawn(10, [70.0, 78.0], 60, 3)
    error = stats.with_difference(error, 5.0)
    given, observed = (
        stats.simulated_power(
            error, spot, stats.first_is_lower, [60], [3], observed=so, simulations=400
        )[0]
        for so in (False, True)
    )
    assert given.power == observed.power
    assert 0.0 < given.low < given.power < given.high < 1.0
    assert observed.low < given.low - 0.1
    assert observed.high > given.high + 0.1
    (few,) = stats.simulated_power(
        error, np.arange(60) % 7, stats.first_is_lower, [60], [3], simulations=20
    )
    assert (few.low, few.high) == (0.0, 1.0)
