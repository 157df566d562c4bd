"""Searches whose trials are several runs: a cell with every seed and fold."""

from __future__ import annotations

import io
import statistics
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from img2gps.runs.names import without_fold
from img2gps.runs.records import StudyRecord, StudyRun, read_study
from img2gps.runs.states import RunState
from img2gps.study.budget import Budget
from img2gps.study.display import Display
from img2gps.study.drawing import observed
from img2gps.study.engine import run_study
from img2gps.study.ledger import Ledger
from img2gps.study.selection import Asked, select
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Confirm, Spec
from img2gps.study.storage import open_storage
from tests.helpers.studies import executions, fake_spec, url_of

pytestmark = pytest.mark.usefixtures("fake_runs")

LR, BATCH = Axis("lr", low=0.4, high=0.9), Axis("batch_size", (8, 16, 32))
FOLDS = Axis("split.fold", (0, 1, 2))


def search(root: Path, *more: Axis, **changes: Any) -> Spec:
    settings = {"kind": "tpe", "sampler": "tpe", "n_trials": 14, "seeds": (0, 1, 2), **changes}
    return fake_spec(root, {}, space=Space((LR, BATCH, *more)), **settings)


def run(spec: Spec, workers: int = 0) -> tuple[StudyRecord, str]:
    said = io.StringIO()
    console = Console(file=said, width=300, highlight=False, markup=False)
    run_study(spec, url_of(spec), workers=workers, display=Display(console))
    return read_study(spec.root, spec.name), said.getvalue()


def by_cell(study: StudyRecord) -> dict[str, list[StudyRun]]:
    found: dict[str, list[StudyRun]] = defaultdict(list)
    for one in {(one.cell, one.seed): one for one in study.runs}.values():
        found[without_fold(one.cell)].append(one)  # once, though `gp` may draw a cell twice
    return found


def check(study: StudyRecord, spec: Spec, size: int) -> list[str]:
    """Check that every trial is complete or given up; return the cells that are complete."""
    complete = []
    for cell, runs in by_cell(study).items():
        states = [one.state for one in runs]
        if states == [RunState.finished] * size:
            complete.append(cell)
        else:
            assert states[-1] is RunState.pruned, runs
            assert set(states[:-1]) == {RunState.finished}
            assert runs[-1].reason.startswith("given up: ")
    done = {one.run_id for one in study.runs if one.state is RunState.finished}
    assert Counter(executions(spec)) == dict.fromkeys(done, 1)
    return complete


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_trial_has_its_seeds_or_is_given_up(
    tmp_path: Path, sampler: str, workers: int
) -> None:
    spec = search(tmp_path, sampler=sampler, kind=sampler)
    study, said = run(spec, workers)
    assert "study s: at most 42 runs" in said
    assert sum(one.seed == 0 for one in study.runs) == 14
    complete = check(study, spec, 3)
    assert 5 <= len(complete) < 14


def test_trial_is_given_up_where_it_is_worse_than_the_median(tmp_path: Path) -> None:
    study, said = run(search(tmp_path))
    first = {cell: runs[0].value or 0 for cell, runs in by_cell(study).items()}
    known: list[float] = []
    for cell, runs in by_cell(study).items():  # one worker: in the order in which they ran
        if len(known) >= 5:
            worse = first[cell] > statistics.median(known)
            assert (runs[-1].state is RunState.pruned) == worse
        if len(runs) == 3 and runs[-1].state is RunState.finished:
            known.append(first[cell])
    reason = next(one.reason for one in study.runs if one.state is RunState.pruned)
    assert reason in said
    assert "after 1 run of 3, worse than" in reason
    assert reason.endswith(" complete trials")


def test_seeds_of_a_trial_run_before_the_next_trial(tmp_path: Path) -> None:
    spec = search(tmp_path, n_trials=3)
    study, _ = run(spec)
    ids = {one.run_id: (one.cell, one.seed) for one in study.runs}
    order = [ids[name] for name in executions(spec)]
    assert [seed for _, seed in order] == [0, 1, 2] * 3
    assert len({cell for cell, _ in order[:3]}) == 1


def test_folds_are_the_runs_of_a_trial_and_no_knob(tmp_path: Path) -> None:
    spec = search(tmp_path, FOLDS, seeds=(0,), fixed=("fold_m=10",))
    study, _ = run(spec)
    complete = check(study, spec, 3)
    for cell in complete:
        folds = by_cell(study)[cell]
        assert [one.params["split.fold"] for one in folds] == [0, 1, 2]
        values = [one.value or 0 for one in folds]
        assert values[2] == pytest.approx(values[0] + 20)
    assert select(study, tmp_path).folds == 3


def test_sampler_learns_the_mean_of_a_trial_and_of_all_folds_where_some_are_missing(
    tmp_path: Path,
) -> None:
    spec = search(tmp_path, FOLDS, seeds=(0,), fixed=("fold_m=10",))
    study, _ = run(spec)
    told = observed(Ledger(open_storage(url_of(spec)), "s"), but=-1).trials
    expected = [100 * runs[0].params["lr"] + 10 for runs in by_cell(study).values()]
    # the later folds are 10 and 20 m worse, so that a trial with its first alone looks 10 m better
    assert [trial.value for trial in told] == pytest.approx(expected)
    assert {trial.state for trial in told} == {optuna.trial.TrialState.COMPLETE}
    assert all("split.fold" not in trial.params for trial in told)


def test_trials_with_several_seeds_may_have_several_aims(tmp_path: Path) -> None:
    aims = {"val/rmse_m": "minimize", "cost/seconds": "minimize"}
    spec = search(tmp_path, aims=aims)
    study, said = run(spec)
    complete = check(study, spec, 3)
    told = observed(Ledger(open_storage(url_of(spec)), "s"), but=-1).trials
    expected = [
        [100 * runs[0].params["lr"] + 1, runs[0].params["batch_size"]]  # the mean of seeds 0 to 2
        for runs in by_cell(study).values()
    ]
    assert [trial.values for trial in told] == [pytest.approx(pair) for pair in expected]
    assert "front: no other cell is better in all of val/rmse_m, cost/seconds:" in said
    assert select(study, tmp_path, asked=Asked(prefer="cost/seconds")).cell in complete


def test_search_with_seeds_stops_at_its_budget_and_goes_on(tmp_path: Path) -> None:
    spec = search(tmp_path)
    study, _ = run(replace(spec, budget=Budget(runs=10)))
    assert len(executions(spec)) == 10
    study, _ = run(spec)
    check(study, spec, 3)
    assert len(by_cell(study)) == 14


def test_more_seeds_later_go_to_the_trials_that_there_are(tmp_path: Path) -> None:
    spec = search(tmp_path, n_trials=4)
    run(replace(spec, seeds=(0,)))
    study, _ = run(spec)
    assert sorted(check(study, spec, 3)) == sorted(by_cell(study))


def test_trial_whose_first_run_goes_wrong_has_no_further_runs(tmp_path: Path) -> None:
    study, _ = run(search(tmp_path, n_trials=3, fixed=("behave=diverge",)))
    assert [one.state for one in study.runs] == [RunState.diverged] * 3


def test_confirmation_has_fresh_seeds_and_all_folds(tmp_path: Path) -> None:
    spec = search(tmp_path, FOLDS, seeds=(0, 1), confirm=Confirm(top=2, seeds=2), n_trials=8)
    study, _ = run(spec)
    found = study.confirmation
    assert found is not None
    assert found.seeds == [2, 3]
    means = {
        cell: statistics.fmean(one.value or 0 for one in runs if one.seed < 2)
        for cell, runs in by_cell(study).items()
        if all(one.state is RunState.finished for one in runs)
    }
    assert found.cells == sorted(means, key=means.__getitem__)[:2]
    assert found.values == pytest.approx(sorted(means.values())[:2])
    fresh = Counter((without_fold(one.cell), one.seed) for one in study.runs if one.seed > 1)
    assert fresh == {(cell, seed): 3 for cell in found.cells for seed in (2, 3)}
    winner = select(study, tmp_path)
    assert (winner.cell, winner.seeds, winner.folds) == (found.cells[0], [2, 3], 3)
