"""Studies with several aims: the front, the ledger, and what is refused."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from img2gps.analysis.front import points
from img2gps.core.errors import BadInput
from img2gps.runs.records import StudyRecord, StudyRun, read_study
from img2gps.runs.states import RunState
from img2gps.study import selection
from img2gps.study.display import Display
from img2gps.study.engine import run_study
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Spec
from img2gps.study.storage import open_storage
from tests.helpers.studies import executions, fake_spec, read_record, url_of

pytestmark = pytest.mark.usefixtures("fake_runs")

AIMS = {"val/rmse_m": "minimize", "cost/seconds": "minimize"}
AXES: dict[str, list[Any]] = {"lr": [0.5, 0.6, 0.7], "batch_size": [8, 16]}


def run(spec: Spec, workers: int = 0) -> tuple[StudyRecord, str]:
    said = io.StringIO()
    console = Console(file=said, width=300, highlight=False, markup=False)
    run_study(spec, url_of(spec), workers=workers, display=Display(console))
    return read_study(spec.root, spec.name), said.getvalue()


def record(figures: dict[str, list[tuple[float, float]]], **changes: Any) -> StudyRecord:
    """Return a study whose cells have these RMSEs and seconds, one pair for each seed."""
    runs = [
        StudyRun(cell, seed, run_id=f"{cell}{seed}", state=RunState.finished, value=rmse,
                 aims={"val/rmse_m": rmse, "cost/seconds": seconds})
        for cell, seeds in figures.items()
        for seed, (rmse, seconds) in enumerate(seeds)
    ]  # fmt: skip
    return StudyRecord("s", runs=runs, aims=AIMS, **changes)


def test_front_has_the_cells_that_no_other_beats_in_all_aims() -> None:
    study = record(
        {
            "good": [(60, 300), (62, 310)],
            "fast": [(80, 20), (82, 20)],
            "between": [(70, 100), (70, 100)],
            "worse": [(71, 100), (71, 120)],
            "lucky": [(50, 400), (90, 400)],  # one good seed does not bring it onto the front
            "twin": [(70, 100), (70, 100)],
        }
    )
    found = {point.cell: point for point in points(study)}
    assert [c for c, p in found.items() if p.on_front] == ["good", "fast", "between", "twin"]
    assert found["good"].figures == {"val/rmse_m": 61, "cost/seconds": 305}
    assert found["good"].spans == {"val/rmse_m": (60, 62), "cost/seconds": (300, 310)}


def test_front_agrees_with_optuna() -> None:
    draw = optuna.create_study(directions=["minimize", "minimize"])
    figures = {f"c{i}": [((7 * i) % 23 + 50.0, (11 * i) % 29 + 1.0)] for i in range(40)}
    for pairs in figures.values():
        draw.add_trial(optuna.trial.create_trial(values=list(pairs[0])))
    best = {f"c{trial.number}" for trial in draw.best_trials}
    assert {p.cell for p in points(record(figures)) if p.on_front} == best


def test_grid_with_several_aims_says_its_front(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, AXES, aims=AIMS)
    study, said = run(spec)
    assert study.aims == AIMS
    assert study.runs[0].aims == {"val/rmse_m": 50.0, "cost/seconds": 8.0}
    assert "no other cell is better in all of val/rmse_m, cost/seconds" in said
    assert "lr=0.5,batch_size=8: val/rmse_m 50.00 m, cost/seconds 8" in said
    ledger = optuna.load_study(study_name="s", storage=open_storage(url_of(spec)))
    assert [direction.name for direction in ledger.directions] == ["MINIMIZE", "MINIMIZE"]
    assert [trial.values for trial in ledger.best_trials] == [[50.0, 8.0]]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_search_with_several_aims_ends_and_goes_on(tmp_path: Path, sampler: str) -> None:
    space = Space((Axis("lr", low=0.4, high=0.9), Axis("batch_size", (8, 16, 32))))
    spec = fake_spec(tmp_path, {}, space=space, kind=sampler, sampler=sampler, n_trials=12,
                     aims=AIMS)  # fmt: skip
    run(replace(spec, n_trials=11))
    study, _ = run(spec)
    assert [r.state for r in study.runs] == [RunState.finished] * 12
    assert len(executions(spec)) == 12


def test_study_with_one_aim_is_recorded_as_before(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.5], "batch_size": [8]})
    run(spec)
    plain = read_record(spec)
    assert "aims" not in plain
    assert "aims" not in plain["cells"][0]


def test_study_with_other_aims_is_another_study(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, AXES, aims=AIMS)
    run(spec)
    other = replace(spec, aims={"val/rmse_m": "minimize", "model/flops": "minimize"})
    said = r"started with monitor=\[val/rmse_m,cost/seconds\] \(now \[val/rmse_m,model/flops\]\)"
    with pytest.raises(BadInput, match=said):
        run(other)


def test_preferred_aim_chooses_from_the_front(tmp_path: Path) -> None:
    study, _ = run(fake_spec(tmp_path, AXES, aims=AIMS))
    runs = [
        replace(r, aims={"val/rmse_m": r.value, "cost/seconds": 100 - (r.value or 0)})
        for r in study.runs
    ]
    study = replace(study, runs=runs)  # the slower, the better: all but the twins are on the front
    assert selection.select(study, tmp_path).value == 50
    assert selection.select(study, tmp_path, asked=selection.Asked(prefer="val/rmse_m")).value == 50
    fastest = selection.Asked(prefer="cost/seconds")
    fast = selection.select(study, tmp_path, asked=fastest)
    assert (fast.by, fast.value, fast.prefer) == ("cost/seconds", 30, "cost/seconds")
    assert len(fast.front) == 6
    with pytest.raises(BadInput, match="--prefer model/flops: no aim of s; give one of val/rmse_m"):
        selection.select(study, tmp_path, asked=selection.Asked(prefer="model/flops"))
    with pytest.raises(BadInput, match="--prefer cost/seconds: s has one aim, val/rmse_m"):
        selection.select(replace(study, aims={}), tmp_path, asked=fastest)
