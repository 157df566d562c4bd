"""Searches whose best cells are run again with fresh seeds."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from img2gps.core.errors import BadInput
from img2gps.runs.records import StudyRecord, read_study
from img2gps.runs.states import RunState
from img2gps.study.budget import Budget
from img2gps.study.display import Display
from img2gps.study.engine import run_study
from img2gps.study.options import read_confirm
from img2gps.study.selection import select
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Confirm, Spec
from tests.helpers.studies import executions, fake_spec, url_of

pytestmark = pytest.mark.usefixtures("fake_runs")


def search_spec(root: Path, **changes: Any) -> Spec:
    settings = {"kind": "tpe", "sampler": "tpe", "n_trials": 12, **changes}
    space = Space((Axis("lr", low=0.4, high=0.9), Axis("batch_size", (8, 16, 32))))
    return fake_spec(root, {}, space=space, confirm=Confirm(top=2, seeds=3), **settings)


def run(spec: Spec, workers: int = 0) -> tuple[StudyRecord, str]:
    said = io.StringIO()
    console = Console(file=said, width=300, highlight=False, markup=False)
    run_study(spec, url_of(spec), workers=workers, display=Display(console))
    return read_study(spec.root, spec.name), said.getvalue()


@pytest.mark.parametrize("workers", [0, 2])
def test_best_cells_are_run_again_and_decide_the_winner(tmp_path: Path, workers: int) -> None:
    spec = search_spec(tmp_path)
    study, said = run(spec, workers)

    found = study.confirmation
    assert found is not None
    searched = {r.cell: r.value for r in study.runs if r.seed == 0 and r.value is not None}
    assert found.cells == sorted(searched, key=lambda cell: searched[cell])[:2]
    fresh = Counter(run.cell for run in study.runs if run.seed in (1, 2, 3))
    assert fresh == dict.fromkeys(found.cells, 3)
    assert all(run.state is RunState.finished for run in study.runs)
    assert "confirming the best 2 cells with seeds 1, 2, 3" in said
    winner = select(study, tmp_path)
    assert winner.cell == found.cells[0]
    assert winner.seeds == [1, 2, 3]
    # the fake runner's value is 100 x lr, plus the seed: 2 on average with the fresh ones
    assert winner.value == pytest.approx(found.values[0] + 2)


def test_runs_that_confirm_are_never_pruned(tmp_path: Path) -> None:
    """Their seeds are unlucky here: the fake runner adds the seed to the value."""
    study, _ = run(search_spec(tmp_path, pruner="successive_halving", first_rung=1))
    states = {seed: {r.state for r in study.runs if r.seed == seed} for seed in (0, 1, 2, 3)}
    assert RunState.pruned in states[0]
    assert states[1] == states[2] == states[3] == {RunState.finished}


def test_confirmed_search_is_not_confirmed_again(tmp_path: Path) -> None:
    spec = search_spec(tmp_path)
    before, _ = run(spec)
    after, said = run(spec)
    assert after.confirmation == before.confirmation
    assert "confirming" not in said
    assert Counter(executions(spec)) == {run.run_id: 1 for run in after.runs}


def test_more_trials_are_drawn_after_a_confirmation_and_confirmed(tmp_path: Path) -> None:
    spec = search_spec(tmp_path)
    run(spec)
    study, _ = run(replace(spec, n_trials=16))
    assert sum(run.seed == 0 for run in study.runs) == 16
    assert study.confirmation is not None
    assert study.confirmation.trials == 16
    assert all(
        (cell, seed) in {(run.cell, run.seed) for run in study.runs}
        for cell in study.confirmation.cells
        for seed in study.confirmation.seeds
    )


@pytest.mark.parametrize(("top", "seeds"), [(2, 5), (4, 3), (4, 1)])
def test_more_seeds_or_cells_may_be_confirmed_later(tmp_path: Path, top: int, seeds: int) -> None:
    """`img2gps needs` advises more seeds in this way."""
    spec = search_spec(tmp_path)
    before, _ = run(spec)
    after, said = run(replace(spec, confirm=Confirm(top=top, seeds=seeds)))
    assert before.confirmation is not None
    assert after.confirmation is not None
    assert after.confirmation.cells[:2] == before.confirmation.cells
    assert f"confirming the best {top} cells" in said
    fresh = Counter(run.cell for run in after.runs if run.seed > 0)
    assert fresh == dict.fromkeys(after.confirmation.cells, max(seeds, 3))
    assert Counter(executions(spec)) == {run.run_id: 1 for run in after.runs}


def test_a_seed_that_the_search_has_used_since_confirms_nothing(tmp_path: Path) -> None:
    spec = search_spec(tmp_path)
    run(replace(spec, confirm=Confirm(top=1, seeds=1)))
    study, _ = run(replace(spec, seeds=(0, 1), confirm=Confirm(top=2, seeds=1)))
    assert study.confirmation is not None
    assert study.confirmation.seeds == [2]
    fresh = {run.cell for run in study.runs if run.seed == 2}
    assert fresh == set(study.confirmation.cells)


def test_a_budget_that_ends_a_wider_confirmation_is_said(tmp_path: Path) -> None:
    spec = search_spec(tmp_path)
    before, _ = run(spec)
    wider = replace(spec, confirm=Confirm(top=4, seeds=3), budget=Budget(runs=len(before.runs)))
    after, said = run(wider)
    assert after.runs == before.runs
    assert f"stopped: budget.runs={len(before.runs)} is spent" in said


def test_search_without_a_finished_trial_confirms_nothing(tmp_path: Path) -> None:
    study, _ = run(search_spec(tmp_path, n_trials=2, fixed=("behave=diverge",)))
    assert study.confirmation is None
    assert len(study.runs) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"best": 2}, "confirm.best: no such key; one of top, seeds"),
        ({"top": 0}, "confirm.top=0: give a whole number, above 0"),
        ({"seeds": 1.5}, "confirm.seeds=1.5: give a whole number, above 0"),
    ],
)
def test_what_is_no_confirmation_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as found:
        read_confirm(given)
    assert said in str(found.value)
