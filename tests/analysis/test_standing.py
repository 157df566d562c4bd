"""Which runs of a search rank its cells while, and after, its best cells run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2gps.analysis.collect import load_study
from img2gps.analysis.contrast import contrast
from img2gps.analysis.overview import analyse
from img2gps.analysis.winner import best_cell
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.report.methods import methods
from img2gps.runs.confirm import Confirmation
from img2gps.runs.states import RunState
from img2gps.study.live.cells import cell_rows
from img2gps.study.selection import select
from tests.helpers.searches import BEST, FRESH, RATES, States, confirmed, ended


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_fresh_runs_that_all_went_wrong_confirm_nothing(tmp_path: Path, state: str) -> None:
    analysis = analyse(load_study(confirmed(tmp_path, ended(BEST, state)), [tmp_path]))
    (ranking,) = analysis.rankings
    assert not analysis.study.confirmed
    assert len(ranking.cells) == ranking.candidates == len(RATES)
    assert ranking.winner.cell == BEST[0]
    assert ranking.errors.seeds == [0]
    assert any(note.startswith("The search is not confirmed: none of") for note in ranking.notes)
    assert any(f"the {len(RATES)} cells tried" in note for note in ranking.notes)
    said = methods(analysis)
    assert "2 cells with the best figures ran again with 3 fresh seeds, but no such run" in said
    best = best_cell(analysis.study.record)
    assert best is not None
    assert select(analysis.study.record, tmp_path).cell == best.cell == BEST[0]


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_a_cell_whose_fresh_runs_all_went_wrong_stays_in_the_table_and_cannot_win(
    tmp_path: Path, state: str
) -> None:
    analysis = analyse(load_study(confirmed(tmp_path, ended(BEST[:1], state)), [tmp_path]))
    (ranking,) = analysis.rankings
    lost = next(cell for cell in ranking.cells if cell.cell == BEST[0])
    assert (len(lost.run_rmse_m), lost.planned) == (1, 1)
    assert ranking.winner.cell == BEST[1]
    assert ranking.winner.interval.estimate > lost.interval.estimate
    (note,) = [note for note in ranking.notes if note.startswith("Not confirmed")]
    assert BEST[0] in note
    assert "cannot win" in note
    assert "which alone rank the one cell that has finished runs with such a seed" in methods(
        analysis
    )
    best, winner = best_cell(analysis.study.record), select(analysis.study.record, tmp_path)
    assert best is not None
    assert winner.cell == best.cell == BEST[1]
    assert winner.seeds == list(FRESH)
    assert (winner.candidates, winner.left_out) == (1, 1)


def test_while_fresh_runs_are_left_every_reader_of_a_study_names_the_same_cell(
    tmp_path: Path,
) -> None:
    """The second cell has all its fresh runs; the first one, which is better, is still running."""
    study = load_study(confirmed(tmp_path, ended(BEST[:1], "running")), [tmp_path])
    (ranking,) = analyse(study).rankings
    best, rows = best_cell(study.record), {row.cell: row for row in cell_rows(study)}
    assert best is not None
    assert ranking.winner.cell == best.cell == BEST[0]
    assert best.value == pytest.approx(ranking.winner.interval.estimate, abs=1e-3)
    for cell in ranking.cells:
        assert rows[cell.cell].metric == pytest.approx(cell.interval.estimate, abs=1e-3)
    assert any("not confirmed yet: 3 fresh runs have not ended" in n for n in ranking.notes)


@pytest.mark.parametrize("left", [1, 3])
def test_no_winner_is_frozen_while_fresh_runs_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: int
) -> None:
    folder = confirmed(tmp_path, {(BEST[0], seed): ("queued", "") for seed in FRESH[:left]})
    with pytest.raises(SystemExit, match="2"):
        main(["select", "s", "--runs", str(tmp_path)])
    said = capsys.readouterr().err
    why = f"the confirmation of its best cells has not ended (fresh runs left: {left})"
    assert f"study=s: {why}" in said
    assert "go on with: python -m img2gps.train" in said
    assert not (folder / "winner.json").exists()


def test_no_winner_is_frozen_before_the_fresh_runs_are_queued(tmp_path: Path) -> None:
    study = load_study(confirmed(tmp_path), [tmp_path]).record
    study.runs[:] = [run for run in study.runs if run.seed == 0]
    with pytest.raises(BadInput, match="fresh runs left: all"):
        select(study, tmp_path)


def test_a_search_without_a_finished_run_has_nothing_to_compare(tmp_path: Path) -> None:
    cells = tuple(f"lr={rate}" for rate in RATES)
    states = {(cell, 0): ("failed", "boom") for cell in cells} | dict(ended(BEST, "failed"))
    study = load_study(confirmed(tmp_path, states), [tmp_path])
    assert study.finished.empty
    with pytest.raises(BadInput, match="no finished"):
        contrast(study, {"lr": "0.001"}, {"lr": "0.003"})


def test_select_says_that_its_winner_is_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    confirmed(tmp_path, ended(BEST, "failed"))
    with pytest.raises(SystemExit, match="0"):
        main(["select", "s", "--runs", str(tmp_path)])
    assert "note: The search is not confirmed: none of the fresh runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "states",
    [
        {},
        ended(BEST, "failed"),
        ended(BEST[:1], "failed"),
        ended(BEST[1:], "running"),
        {(BEST[0], 1): ("failed", "boom")},
    ],
)
def test_the_record_and_the_report_agree_on_the_runs_that_decide(
    tmp_path: Path, states: States
) -> None:
    study = load_study(confirmed(tmp_path, states), [tmp_path])
    rows = study.deciding(study.runs)
    assert list(rows["run_id"]) == [run.run_id for run in study.record.deciding]
    for cell in study.cells:
        assert study.may_win(cell) == study.record.may_win(cell)


def test_a_seed_confirms_a_cell_only_with_all_its_folds() -> None:
    found = Confirmation(["lr=1", "lr=2"], [7, 8], [1.0, 2.0], 9)
    failed, finished = RunState.failed, RunState.finished
    standing = found.standing(
        [
            ("lr=1,split.fold=0", 0, finished),
            ("lr=1,split.fold=0", 7, finished),
            ("lr=1,split.fold=1", 7, failed),
            ("lr=1,split.fold=0", 8, failed),
            ("lr=1,split.fold=1", 8, finished),
            ("lr=2,split.fold=0", 7, finished),
            ("lr=2,split.fold=1", 7, finished),
            ("lr=2,split.fold=0", 8, failed),
        ]
    )
    assert standing.confirmed == {"lr=2"}
    assert standing.lost == ["lr=1"]
    assert standing.decides("lr=1", 0)
    assert not standing.decides("lr=1", 7)
    assert standing.decides("lr=2", 7)
    assert not standing.decides("lr=2", 0)
