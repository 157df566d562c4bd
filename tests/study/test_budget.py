"""Studies that end in time, and what they say of the rest."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from img2gps.core.errors import BadInput
from img2gps.runs.race import Rules
from img2gps.runs.records import StudyRecord, read_study
from img2gps.runs.states import RunState
from img2gps.study.budget import Budget
from img2gps.study.display import Display
from img2gps.study.engine import run_study
from img2gps.study.options import read_budget
from img2gps.study.rest import rest_lines
from img2gps.study.spec import Spec
from tests.helpers.fake_study import Options, make_study
from tests.helpers.studies import fake_spec, url_of

pytestmark = pytest.mark.usefixtures("fake_runs")

AXES: dict[str, list[Any]] = {"lr": [0.5, 0.52, 0.54, 0.56]}


def run(spec: Spec, workers: int = 0) -> tuple[StudyRecord, str]:
    said = io.StringIO()
    console = Console(file=said, width=300, highlight=False, markup=False)
    assert run_study(spec, url_of(spec), workers=workers, display=Display(console)) == 0
    return read_study(spec.root, spec.name), said.getvalue()


def finished(study: StudyRecord) -> int:
    return study.counts()[RunState.finished]


@pytest.mark.parametrize("workers", [0, 3])
def test_no_more_runs_than_the_budget_and_the_rest_later(tmp_path: Path, workers: int) -> None:
    spec = fake_spec(tmp_path, AXES, seeds=(0, 1), budget=Budget(runs=5))
    study, said = run(spec, workers)
    assert finished(study) == 5
    assert "stopped: budget.runs=5 is spent" in said
    assert "left: 3 runs" in said
    study, said = run(replace(spec, budget=Budget()))
    assert finished(study) == 8
    assert "stopped" not in said


def test_run_that_would_break_the_budget_of_epochs_is_not_begun(tmp_path: Path) -> None:
    study, said = run(fake_spec(tmp_path, AXES, budget=Budget(epochs=8)))  # 3 epochs a run
    assert finished(study) == 2
    assert "stopped: budget.epochs=8 is spent" in said


def test_linked_runs_cost_nothing(tmp_path: Path) -> None:
    run(fake_spec(tmp_path, {"lr": [0.5, 0.52]}, name="before"))
    study, _ = run(fake_spec(tmp_path, AXES, budget=Budget(runs=1)))
    assert finished(study) <= 3


@pytest.mark.parametrize("workers", [0, 1])
def test_minutes_end_a_study_and_its_run_goes_on_later(tmp_path: Path, workers: int) -> None:
    spec = fake_spec(tmp_path, AXES, fixed=("pause=0.4",), budget=Budget(minutes=0.05))
    started = time.monotonic()
    study, said = run(spec, workers)
    assert finished(study) < 4
    assert time.monotonic() - started < 30
    assert "stopped: budget.minutes=0.05 is spent" in said
    assert {run.state for run in study.runs} <= {RunState.finished, RunState.queued}
    study, _ = run(replace(spec, budget=Budget()))
    assert finished(study) == 4


def test_rest_is_told_as_power(tmp_path: Path) -> None:
    spec = fake_spec(
        tmp_path, AXES, seeds=(0, 1, 2), fixed=("photos=60",), budget=Budget(runs=8)
    )  # two seeds of four cells
    _, said = run(spec)
    line = next(line for line in said.splitlines() if line.startswith("power to notice"))
    now, then = map(int, re.findall(r"(\d+)%", line))
    assert 0 < now < then <= 100
    assert line.endswith("with the 4 runs that are left")


def test_cells_that_never_ran_are_counted(tmp_path: Path) -> None:
    _, said = run(fake_spec(tmp_path, AXES, fixed=("photos=60",), budget=Budget(runs=3)))
    assert "cells without any finished run: 1" in said


def test_race_says_which_cells_are_left_when_its_budget_is_spent(tmp_path: Path) -> None:
    spec = fake_spec(
        tmp_path, {"lr": [0.5, 0.51, 0.95]}, kind="race", sampler="race", seeds=(0, 1, 2, 3),
        fixed=("photos=60",), race=Rules(give_up_below=0.0), budget=Budget(runs=4),
    )  # fmt: skip
    study, said = run(spec)
    assert finished(study) == 4
    assert "stopped: budget.runs=4 is spent" in said
    assert "race: still open after look 1; left: lr=0.5; lr=0.51" in said
    more, _ = run(replace(spec, budget=Budget()))
    assert more.race is not None
    assert study.race is not None
    assert more.race.looks[0] == study.race.looks[0]
    assert more.race.looks[-1].end


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hours": 2}, "budget.hours: no such limit; one of minutes, epochs, runs"),
        ({"runs": 0}, "budget.runs=0: must be above 0"),
        ({"runs": 2.5}, "budget.runs=2.5: give a whole number, above 0"),
        ({"minutes": "ten"}, "budget.minutes=ten: give minutes, above 0"),
        ({"minutes": float("nan")}, "budget.minutes=nan: must be above 0"),
        ({"epochs": True}, "budget.epochs=True: give a whole number, above 0"),
    ],
)
def test_what_is_no_budget_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as found:
        read_budget(given)
    assert said in str(found.value)


def test_folds_that_are_left_are_no_further_seeds(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003, 0.005], "split.fold": [0, 1, 2]}
    states = {(f"lr=0.005,split.fold={fold}", 0): ("queued", "") for fold in range(3)}
    options = Options(axes=axes, seeds=(0,), epochs=2, split_kind="kfold", states=states)
    make_study(tmp_path, "s", options)
    said = rest_lines(read_study(tmp_path, "s"), str(tmp_path), None)
    (line,) = [one for one in said if "power" in one]
    now, then = map(int, re.findall(r"(\d+)%", line))
    assert now == then
