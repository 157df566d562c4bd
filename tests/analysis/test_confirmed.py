"""What is concluded from a search whose best cells were run again with fresh seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from img2gps.analysis.answer import sentences
from img2gps.analysis.collect import load_study
from img2gps.analysis.needs import one_winner
from img2gps.analysis.overview import analyse
from img2gps.analysis.scene import scene_of
from img2gps.cli.commands.needs import command
from img2gps.cli.main import main
from img2gps.report.methods import methods
from img2gps.report.paper import numbers
from img2gps.runs.winner import write_winner
from img2gps.study.live.cells import cell_rows
from img2gps.study.selection import select
from img2gps.tracking.cells import extras
from tests.helpers.fake_study import Options, make_study
from tests.helpers.searches import BEST, RATES, confirmed


def test_a_cell_that_is_not_confirmed_never_wins_where_a_fresh_seed_has_failed(
    tmp_path: Path,
) -> None:
    states = {(cell, 2): ("failed", "loss is nan") for cell in BEST}
    (ranking,) = analyse(load_study(confirmed(tmp_path, states), [tmp_path])).rankings
    assert ranking.winner.cell in BEST
    assert {ranking.errors.cells[cell] for cell in ranking.may_win} == set(BEST)
    assert any(note.startswith("Provisional: no cell that may win") for note in ranking.notes)


@pytest.mark.parametrize("queued", [(1, 2, 3), (2, 3)])
def test_until_the_fresh_seeds_have_ended_the_search_itself_is_judged(
    tmp_path: Path, queued: tuple[int, ...]
) -> None:
    """Its lowest figure is corrected for all cells that it tried."""
    states = {(cell, seed): ("queued", "") for cell in BEST for seed in queued}
    (ranking,) = analyse(load_study(confirmed(tmp_path, states), [tmp_path])).rankings
    assert ranking.winner.cell == BEST[0]
    assert ranking.errors.seeds == [0]
    assert f"selected among {len(RATES)} cells" in sentences(ranking)[1]
    (note,) = [note for note in ranking.notes if "searched by tpe" in note]
    assert f"the {len(RATES)} cells tried" in note
    assert not any("Provisional" in note for note in ranking.notes)


def test_the_answer_says_that_only_confirmed_cells_were_compared(tmp_path: Path) -> None:
    (ranking,) = analyse(load_study(confirmed(tmp_path), [tmp_path])).rankings
    assert "selected among 2 confirmed cells" in sentences(ranking)[1]
    (note,) = [note for note in ranking.notes if "searched by tpe" in note]
    assert "the 2 confirmed cells" in note
    assert "chose on the same photos" in note


def test_what_the_search_said_before_is_a_number_of_its_own(tmp_path: Path) -> None:
    analysis = analyse(load_study(confirmed(tmp_path), [tmp_path]))
    found = numbers(analysis)
    assert found["SearchRmse"] == "60.0"
    assert found["WinnerRmse"] == f"{analysis.rankings[0].winner.interval.estimate:.1f}"


def test_the_methods_say_how_cells_were_chosen_and_run_again(tmp_path: Path) -> None:
    said = methods(analyse(load_study(confirmed(tmp_path), [tmp_path])))
    assert "The cells were chosen one after another by tpe." in said
    assert "The 2 cells with the best figures ran again with 3 fresh seeds" in said


def test_the_trackers_mean_and_the_curves_are_of_the_fresh_seeds(tmp_path: Path) -> None:
    study = load_study(confirmed(tmp_path), [tmp_path])
    analysis = analyse(study)
    (ranking,) = analysis.rankings
    means = {
        extra.about.name.split(" ")[0]: extra.summary.get("seed_mean/val/rmse_m")
        for extra in extras(study)
        if extra.table_of is None
    }
    for cell in ranking.cells:
        assert means[cell.cell] == pytest.approx(np.mean(cell.run_rmse_m), abs=1e-3)
    curves = scene_of(analysis, ranking).curves
    assert set(curves[curves["rank_cell"] == BEST[0]]["seed"]) == {1, 2, 3}


def test_the_live_page_draws_the_runs_that_its_metric_is_of(tmp_path: Path) -> None:
    rows = {row.cell: row for row in cell_rows(load_study(confirmed(tmp_path), [tmp_path]))}
    for cell in BEST:
        assert rows[cell].metric == pytest.approx(rows[cell].curve[-1], abs=1e-3)


def test_the_test_figure_is_that_of_the_run_that_was_deployed(tmp_path: Path) -> None:
    folder = confirmed(tmp_path, n_test=20)
    study = load_study(folder, [tmp_path])
    runs = {(run.cell, run.seed): run.run_id for run in study.record.runs}
    first = study.runs.set_index("run_id").loc[runs[BEST[0], 0], "folder"]
    scored = pd.read_csv(Path(str(first)) / "predictions_test.csv", dtype={"content": str})
    winner = select(study.record, tmp_path)
    assert winner.run_id == runs[BEST[0], 1]
    worse = scored.assign(error_m=2 * scored["error_m"])
    deployed = study.runs.set_index("run_id").loc[winner.run_id, "folder"]
    worse.to_csv(Path(str(deployed)) / "predictions_test.csv", index=False)
    write_winner(folder, winner)
    (ranking,) = analyse(load_study(folder, [tmp_path])).rankings
    assert ranking.test is not None
    assert ranking.test.estimate == pytest.approx(np.sqrt(np.mean(worse["error_m"] ** 2)))


def test_the_test_figure_of_another_run_is_not_carried_over(tmp_path: Path) -> None:
    study = load_study(confirmed(tmp_path), [tmp_path])
    winner = select(study.record, tmp_path)
    scored = replace(winner, test={"rmse_m": 1.0})
    assert select(study.record, tmp_path, before=scored).test == {"rmse_m": 1.0}
    of_search = replace(scored, run_id="of another seed")
    assert not select(study.record, tmp_path, before=of_search).test


def test_only_cells_that_may_win_are_in_doubt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analysis = analyse(load_study(confirmed(tmp_path), [tmp_path]))
    found = one_winner(analysis.rankings[0])
    assert found.seeds == 3
    assert found.runs == len(BEST)
    assert f"{BEST[0]} alone the best" in found.question
    with pytest.raises(SystemExit, match="0"):
        main(["needs", "s", "--runs", str(tmp_path)])
    said = capsys.readouterr().out
    assert f"here: {found.photos} photos, 3 seeds a cell" in said
    assert "hydra.sweeper.confirm={top:2,seeds:5}" in command(analysis.study.record, 5)


def test_the_command_for_more_seeds_keeps_those_of_the_study(tmp_path: Path) -> None:
    make_study(tmp_path, "g", Options(axes={"lr": RATES}, seeds=(7, 9), epochs=2))
    record = load_study(tmp_path / "g", [tmp_path]).record
    assert command(record, 4).endswith("'hydra.sweeper.seeds=[7,9,10,11]'")
