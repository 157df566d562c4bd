"""Verdicts of a race: the same figures as the report's intervals, and errors that stay rare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import analyse
from img2gps.analysis.racing import Course, End, judge, replay
from img2gps.analysis.stats import race
from img2gps.runs.race import Drop, Look, RaceRecord, Rules
from tests.helpers.fake_study import Noise, Options, draw_errors, draw_photos, make_study

Floats = NDArray[np.float64]


def drawn(rmse: list[float], seeds: int, number: int = 0, **noise: Any) -> tuple[Floats, Any]:
    rng = np.random.default_rng([7, number])
    photos = draw_photos(rng, 60, 45)
    offset = draw_errors(rng, photos, rmse, seeds, Noise(**noise))
    return np.hypot(offset[..., 0], offset[..., 1]), photos.spot


def course(look: int = 1, started: int = 3, seeds: int = 5, **changes: int) -> Course:
    return Course(look, started, seeds, **changes)


def test_differences_and_errors_are_those_of_the_report() -> None:
    error, spot = drawn([60.0, 66.0, 75.0], 3)
    error[2, 1:] = np.nan
    luck = stats.luck_of(error, spot)
    found = race.pairs(error, spot, luck)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        signs = np.eye(3)[a] - np.eye(3)[b]
        expected = stats.contrast_interval(error, signs, spot, luck=luck, wider=True)
        assert found.difference[a, b] == pytest.approx(expected.estimate)
        assert found.se_spots[a, b] == pytest.approx(expected.se_photos)
        assert found.se[a, b] == pytest.approx(np.hypot(expected.se_photos, expected.se_seeds))


def test_spots_that_are_alike_make_differences_less_certain() -> None:
    """Errors that fall from one end of the ground to the other, for one of the two cells."""
    east = np.linspace(0, 200, 60)
    along = np.sin(east / 40) * 10
    error = np.stack([60 + along, 60 - along])[:, None]
    spot = np.arange(60)
    positions = np.stack([east, np.zeros(60)], axis=1)
    independent = race.pairs(error, spot)
    correlated = race.pairs(error, stats.Places(spot, positions))
    assert correlated.se_spots[0, 1] > 1.5 * independent.se_spots[0, 1]
    assert correlated.freedom[0, 1] < independent.freedom[0, 1]


def test_looks_spend_no_more_than_the_whole_however_many_follow() -> None:
    parts = [race.level(look) for look in range(1, 10_000)]
    assert parts[0] == pytest.approx(0.025)
    assert sum(parts) < race.ALPHA
    assert sum(parts) == pytest.approx(race.ALPHA, rel=1e-3)


def test_much_worse_cell_is_dropped_for_the_best_and_the_race_goes_on_with_the_leader() -> None:
    error, spot = drawn([55.0, 58.0, 110.0], 5)
    error[:, 1:] = np.nan
    found = judge(error, spot, course(), Rules())
    assert [(drop.cell, drop.rival) for drop in found.dropped] == [(2, found.kept[0])]
    assert found.dropped[0].difference_m == pytest.approx(
        found.rmse_m[2] - found.rmse_m[found.kept[0]]
    )
    assert found.end is None
    assert found.following[0] == found.kept[0]


def test_one_cell_that_is_left_needs_a_second_run_before_it_has_won() -> None:
    error, spot = drawn([50.0, 120.0], 2)
    first = error.copy()
    first[:, 1:] = np.nan
    before = judge(first, spot, course(started=2), Rules())
    assert (before.kept, before.end, before.following) == ([0], None, [0])
    after = judge(error[:1], spot, course(2, 2), Rules())
    assert (after.end, after.following) == (End.one, [])


def test_margin_larger_than_all_differences_drops_nothing_and_shows_equivalence() -> None:
    error, spot = drawn([60.0, 61.0, 62.0], 3)
    found = judge(error, spot, course(2), Rules(margin_m=40.0))
    assert found.dropped == []
    assert found.end is End.equivalent


def test_equal_cells_are_not_called_equivalent_without_a_margin() -> None:
    error, spot = drawn([60.0], 1)
    same = np.repeat(error, 3, axis=0).repeat(2, axis=1)
    found = judge(same, spot, course(2, seeds=2), Rules())
    assert (found.dropped, found.end) == ([], End.spent)


def test_race_ends_undecided_when_only_the_photos_are_in_doubt() -> None:
    error, spot = drawn([60.0, 60.2, 60.4], 4)
    found = judge(error, spot, course(3), Rules())
    assert found.end is End.undecided
    assert found.chance < Rules().give_up_below
    assert judge(error, spot, course(3), Rules(give_up_below=0.0)).end is None


def test_all_seeds_used_ends_the_race() -> None:
    error, spot = drawn([60.0, 63.0], 2)
    found = judge(error, spot, course(4, 2, 2), Rules(give_up_below=0.0))
    assert found.end in (End.spent, End.one)


def test_folds_come_before_seeds_and_for_every_cell() -> None:
    error, spot = drawn([60.0, 62.0, 64.0, 65.0, 66.0, 67.0, 68.0], 1)
    found = judge(error, spot, course(1, 7, 2, fold=1, folds=5), Rules())
    assert sorted(found.following) == sorted(found.kept)


def test_single_spot_never_shows_anything() -> None:
    error, spot = drawn([50.0, 150.0], 2)
    found = judge(error, np.zeros_like(spot), course(2, 2, 2), Rules())
    assert found.dropped == []


def test_one_astray_run_does_not_drop_a_cell_that_has_other_seeds() -> None:
    error, spot = drawn([60.0, 61.0, 62.0], 3)
    error[0, 2] *= 1.5
    assert judge(error, spot, course(3), Rules()).dropped == []


def test_report_says_what_was_dropped_and_ranks_only_the_cells_left_as_winners(
    tmp_path: Path,
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [16]}
    make_study(tmp_path, "s", Options(axes=axes, kind="race", n_val=40))
    path = tmp_path / "s" / "study.json"
    plain = json.loads(path.read_text())
    low, high = "lr=0.001,batch_size=16", "lr=0.003,batch_size=16"
    drop = Drop(low, f"shown to be worse than {high}: 70.00 m and 60.00 m", high, 10.0)
    look = Look(1, {low: ["a"], high: ["b"]}, {}, [drop], [high], [], 3, end=End.one)
    path.write_text(json.dumps({**plain, "race": RaceRecord(looks=[look]).to_dict()}))
    found = analyse(load_study(path.parent, [tmp_path]))
    assert found.rankings[0].winner.cell == high
    assert f"Dropped from the race: {drop.cell}: {drop.reason}." in found.notes
    assert f"race: ended after look 1: {End.one}; left: {high}" in found.notes


@pytest.mark.slow
def test_errors_of_either_kind_are_rare_in_simulated_races() -> None:
    """The hardest truths: equal cells, and pairs that differ by just the margin."""
    lost = said = 0
    for number in range(150):
        error, spot = drawn([66.0] + [66.5] * 8, 5, number, cell_seed=0.043)
        lost += 0 in replay(error, spot, Rules()).dropped
        error, spot = drawn([66.0, 76.0], 5, number, cell_seed=0.043)
        found = replay(error, spot, Rules(margin_m=10.0, give_up_below=0.0))
        said += found.end is End.equivalent and len(found.kept) == 2
    assert lost / 150 <= 0.05
    assert said / 150 <= 0.05
