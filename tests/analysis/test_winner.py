"""The one winner: means over seeds, folds pooled, unfinished cells left out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import analyse
from img2gps.analysis.winner import best_cell
from img2gps.core.errors import BadInput
from img2gps.runs.records import StudyRecord, StudyRun, read_study
from img2gps.runs.states import RunState
from img2gps.study.selection import select
from tests.conftest import ROOT

RESULTS = ROOT / "results"


def run(cell: str, seed: int, value: float, state: RunState = RunState.finished) -> StudyRun:
    return StudyRun(cell, seed, run_id=f"{cell}{seed}", state=state, value=value)


def test_the_best_mean_over_seeds_wins_not_the_luckiest_run() -> None:
    runs = [run("a", 0, 63.0), run("a", 1, 60.0), run("b", 0, 70.0), run("b", 1, 50.0)]
    best = best_cell(StudyRecord("s", runs=[*runs, run("b", 2, 69.0)]))
    assert best is not None
    assert (best.cell, best.value, best.by_seed) == ("a", 61.5, {0: 63.0, 1: 60.0})
    most = best_cell(StudyRecord("s", runs=runs, monitor="skill", direction="maximize"))
    assert most is not None
    assert most.cell == "a"


def test_a_cell_wins_over_all_its_folds_and_never_by_the_easiest() -> None:
    runs = [
        run("lr=0.1,split.fold=0", 0, 20.0), run("lr=0.1,split.fold=1", 0, 90.0),
        run("lr=0.2,split.fold=0", 0, 50.0), run("lr=0.2,split.fold=1", 0, 52.0),
    ]  # fmt: skip
    best = best_cell(StudyRecord("s", runs=runs))
    assert best is not None
    assert best.cell == "lr=0.2"
    assert best.value == pytest.approx(math.sqrt((50**2 + 52**2) / 2))
    runs[3] = run("lr=0.2,split.fold=1", 0, 52.0, RunState.queued)
    best = best_cell(StudyRecord("s", runs=runs, monitor="val/mean_m"))
    assert best is not None
    assert (best.cell, best.value) == ("lr=0.1", 55.0)


def test_folds_of_the_best_cell_count_by_their_photos() -> None:
    folds = [replace(run(f"a,split.fold={i}", 0, rmse), n_val=n)
             for i, (rmse, n) in enumerate([(50.0, 17), (60.0, 16)])]  # fmt: skip
    record = StudyRecord.from_dict(StudyRecord("s", runs=folds).to_dict())
    best = best_cell(record)
    assert best is not None
    assert best.value == pytest.approx(math.sqrt((17 * 50**2 + 16 * 60**2) / 33))


def test_a_study_without_a_complete_cell_has_no_best_one() -> None:
    runs = [run("a", 0, 50.0), run("a", 1, 50.0, RunState.failed), run("", 0, 1.0, RunState.queued)]
    assert best_cell(StudyRecord("s", runs=runs)) is None


@pytest.mark.parametrize("name", ["table1", "table1_64", "splits", "table1_lite0"])
def test_listing_page_and_selection_agree_on_the_published_studies(name: str) -> None:
    study, root = read_study(RESULTS, name), RESULTS
    best = best_cell(study)
    assert best is not None
    page = analyse(load_study(RESULTS / name, [RESULTS])).rankings
    if len(page) > 1:  # several splits: selecting needs to be told which
        with pytest.raises(BadInput, match="validated in"):
            select(study, root)
        return
    selected = select(study, root)
    assert best.cell == page[0].winner.cell == selected.cell
    assert page[0].winner.interval.estimate == pytest.approx(best.value, abs=0.01)
    assert selected.value == best.value
