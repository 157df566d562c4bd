"""Races by the engine: what is run, what is dropped, and that no decision is made twice."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from img2gps.analysis.racing import End
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.runs.race import Look, Rules
from img2gps.runs.records import StudyRecord, read_study
from img2gps.runs.states import RunState
from img2gps.study import race as racing
from img2gps.study.display import Display
from img2gps.study.engine import run_study
from img2gps.study.ledger import Ledger
from img2gps.study.selection import select
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Spec
from img2gps.study.storage import open_storage
from tests.helpers.studies import QUICK, executions, fake_spec, url_of

pytestmark = pytest.mark.usefixtures("fake_runs")

# The fake runner's RMSE is 100 x lr, plus the seed: 50, 52, 90 and 95 m.
AXES: dict[str, list[Any]] = {"lr": [0.5, 0.52, 0.9, 0.95]}


def race_spec(root: Path, axes: dict[str, list[Any]] | None = None, **changes: Any) -> Spec:
    settings = {"seeds": (0, 1, 2, 3, 4), "fixed": ("photos=60",), **changes}
    return fake_spec(root, axes or AXES, kind="race", sampler="race", **settings)


def run(spec: Spec, workers: int = 0) -> tuple[StudyRecord, str]:
    said = io.StringIO()
    console = Console(file=said, width=300, highlight=False, markup=False)
    run_study(spec, url_of(spec), workers=workers, display=Display(console))
    return read_study(spec.root, spec.name), said.getvalue()


def looks_of(study: StudyRecord) -> list[Look]:
    assert study.race is not None
    return study.race.looks


def runs_of(study: StudyRecord) -> dict[str, int]:
    return dict(Counter(run.cell for run in study.runs))


def test_lost_cells_get_one_look_and_the_doubtful_more(tmp_path: Path) -> None:
    study, said = run(race_spec(tmp_path))

    first, last = looks_of(study)[0], looks_of(study)[-1]
    assert {drop.cell for drop in first.dropped} == {"lr=0.9", "lr=0.95"}
    assert all(drop.rival == "lr=0.5" for drop in first.dropped)
    assert runs_of(study)["lr=0.9"] == runs_of(study)["lr=0.95"] == 1
    assert runs_of(study)["lr=0.5"] >= 2
    assert last.kept[0] == "lr=0.5"
    assert last.end in set(End)
    assert all(run.state is RunState.finished for run in study.runs)
    assert "dropped lr=0.9: shown to be worse than lr=0.5: 90.00 m and 50.00 m" in said
    assert f"race: ended after look {last.number}: {last.end}" in said


def test_winner_is_one_of_the_cells_that_are_left(tmp_path: Path) -> None:
    spec = race_spec(tmp_path)
    study, _ = run(spec)
    found = select(study, tmp_path)
    assert found.cell == looks_of(study)[-1].kept[0] == "lr=0.5"
    assert (found.candidates, found.left_out) == (4, 0)


def test_one_run_of_one_cell_is_said_in_the_singular() -> None:
    look = Look(2, {"lr=0.1": ["a"]}, {"lr=0.1": 50.0}, [], ["lr=0.1"], ["b"], seeds=3)
    assert look.lines() == ["look 2, 1 run of 1 cell:", "  1 cell left; 1 run follows"]
    assert replace(look, end=End.one).lines() == ["look 2, 1 run of 1 cell"]


def test_decision_is_recorded_with_the_runs_it_was_made_on(tmp_path: Path) -> None:
    study, _ = run(race_spec(tmp_path))
    ids = {(run.cell, run.seed): run.run_id for run in study.runs}
    first = looks_of(study)[0]
    assert first.runs == {cell: [ids[cell, 0]] for cell in runs_of(study)}
    assert first.rmse_m == pytest.approx(
        {"lr=0.5": 50.0, "lr=0.52": 52.0, "lr=0.9": 90.0, "lr=0.95": 95.0}
    )
    assert set(first.following) <= {f"{run.cell} seed={run.seed}" for run in study.runs}


def test_race_that_has_ended_is_not_raced_again(tmp_path: Path) -> None:
    spec = race_spec(tmp_path)
    before, _ = run(spec)
    after, said = run(spec)
    assert looks_of(after) == looks_of(before)
    assert Counter(executions(spec)) == {run.run_id: 1 for run in after.runs}
    assert "look 1" not in said


def test_decision_without_its_runs_is_acted_upon_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the writing of a decision and the queueing of its runs."""
    spec = race_spec(tmp_path)

    class Killed(BaseException):
        pass

    def queue(self: racing.Race, keys: list[str]) -> bool:
        if self.ledger.looks and keys:
            raise Killed
        return real(self, keys)

    real = racing.Race._queue
    monkeypatch.setattr(racing.Race, "_queue", queue)
    with pytest.raises(Killed):
        run(spec)
    monkeypatch.setattr(racing.Race, "_queue", real)
    decided = Ledger(open_storage(url_of(spec)), spec.name).looks
    assert len(decided) == 1

    study, _ = run(spec)

    assert looks_of(study)[0] == decided[0]
    assert {f"{run.cell} seed={run.seed}" for run in study.runs} >= set(decided[0].following)


def test_workers_wait_for_decisions(tmp_path: Path) -> None:
    study, _ = run(race_spec(tmp_path), workers=2)
    assert looks_of(study)[-1].end
    assert Counter(executions(race_spec(tmp_path))) == {run.run_id: 1 for run in study.runs}


def test_more_seeds_open_an_undecided_race_again(tmp_path: Path) -> None:
    spec = race_spec(tmp_path, {"lr": [0.5, 0.501, 0.502]}, seeds=(0, 1))
    few, _ = run(spec)
    assert looks_of(few)[-1].end
    more, _ = run(replace(spec, seeds=(0, 1, 2, 3)))
    assert looks_of(more)[: len(looks_of(few))] == looks_of(few)
    assert len(looks_of(more)) > len(looks_of(few))


def test_new_cells_join_a_race_that_has_ended(tmp_path: Path) -> None:
    run(race_spec(tmp_path))
    study, _ = run(race_spec(tmp_path, {"lr": [*AXES["lr"], 0.3]}))
    assert looks_of(study)[-1].kept == ["lr=0.3"]


def test_cell_whose_run_diverges_is_out_and_the_others_race_on(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"behave": ["well", "diverge", "fine"]}
    study, _ = run(race_spec(tmp_path, axes))
    assert [drop.cell for drop in looks_of(study)[0].dropped] == ["behave=diverge"]
    assert "diverged: loss is nan in epoch 3" in looks_of(study)[0].dropped[0].reason
    assert runs_of(study)["behave=diverge"] == 1
    assert "behave=diverge" not in looks_of(study)[-1].kept


def test_race_without_any_finished_run_ends(tmp_path: Path) -> None:
    study, _ = run(race_spec(tmp_path, {"lr": [0.1, 0.2]}, fixed=("behave=diverge", "photos=60")))
    assert [look.end for look in looks_of(study)] == [End.none]


def test_margin_larger_than_all_differences_ends_with_equivalent_cells(tmp_path: Path) -> None:
    study, said = run(race_spec(tmp_path, race=Rules(margin_m=200.0)))
    assert looks_of(study)[-1].end == End.equivalent
    assert len(looks_of(study)[-1].kept) == 4
    assert f"ended after look {len(looks_of(study))}: {End.equivalent}" in said


def test_equal_cells_end_with_all_of_them(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"twin": ["a", "b", "c"]}
    study, _ = run(race_spec(tmp_path, axes, seeds=(0, 1)))
    last = looks_of(study)[-1]
    assert last.kept == ["twin=a", "twin=b", "twin=c"]
    assert last.end in (End.spent, End.undecided)


def test_folds_of_the_first_seed_come_before_other_seeds(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.5, 0.505, 0.95], "split.fold": [0, 1, 2]}
    study, _ = run(race_spec(tmp_path, axes, seeds=(0, 1), race=Rules(give_up_below=0.0)))
    own = [(run.params["split.fold"], run.seed) for run in study.runs if run.params["lr"] == 0.5]
    assert own[:3] == [(0, 0), (1, 0), (2, 0)]
    assert [run.seed for run in study.runs if run.params["lr"] == 0.95] == [0]


def test_race_over_an_interval_draws_the_same_cells_again(tmp_path: Path) -> None:
    space = Space((Axis("lr", low=0.4, high=0.9),))
    spec = race_spec(tmp_path, space=space, n_trials=6)
    study, _ = run(spec)
    assert len(runs_of(study)) == 6
    again, _ = run(spec)
    assert runs_of(again) == runs_of(study)


def test_another_margin_is_another_race(tmp_path: Path) -> None:
    run(race_spec(tmp_path))
    with pytest.raises(BadInput, match=r"started with margin_m=0 \(now 2\)"):
        run(race_spec(tmp_path, race=Rules(margin_m=2.0)))


def test_run_without_predictions_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no readable predictions.csv, by which a race"):
        run(race_spec(tmp_path, fixed=()))


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    study, _ = run(race_spec(tmp_path))
    plain = json.loads(json.dumps(study.to_dict()))
    assert StudyRecord.from_dict(plain) == study


def test_failed_run_that_is_retried_brings_its_cell_back(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"behave": ["well", "raise_once", "fine"]}
    limits = replace(QUICK, max_failures=1)
    spec = race_spec(tmp_path, axes, limits=limits, seeds=(0, 1))
    study, _ = run(spec)
    assert "behave=raise_once" not in looks_of(study)[-1].kept
    assert "its run with seed 0 failed" in looks_of(study)[0].dropped[0].reason

    with pytest.raises(SystemExit):
        main(["studies", "--runs", str(tmp_path), "retry", "s"])
    again, _ = run(spec)

    assert looks_of(again)[: len(looks_of(study))] == looks_of(study)
    new = looks_of(again)[len(looks_of(study)) :]
    assert "behave=raise_once" in new[0].runs
    assert new[-1].end


def test_pruned_run_takes_its_cell_out_of_the_race(tmp_path: Path) -> None:
    spec = race_spec(tmp_path, pruner="successive_halving", first_rung=1)
    study, _ = run(spec)
    pruned = {run.cell for run in study.runs if run.state is RunState.pruned}
    assert pruned
    assert not pruned & set(looks_of(study)[-1].kept)
    assert looks_of(study)[-1].end


def test_race_of_cells_that_were_removed_goes_on_without_them(tmp_path: Path) -> None:
    run(race_spec(tmp_path, {"lr": [0.5, 0.52, 0.54]}, seeds=(0, 1)))
    study, _ = run(race_spec(tmp_path, {"lr": [0.5, 0.52]}, seeds=(0, 1, 2)))
    assert set(looks_of(study)[-1].kept) <= {"lr=0.5", "lr=0.52"}


def test_fewer_seeds_than_before_end_the_race(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.5, 0.501]}
    run(race_spec(tmp_path, axes, seeds=(0, 1, 2), race=Rules(give_up_below=0.0)))
    study, _ = run(race_spec(tmp_path, axes, seeds=(0, 1), race=Rules(give_up_below=0.0)))
    assert looks_of(study)[-1].end == End.spent


def test_cells_on_different_photos_are_refused(tmp_path: Path) -> None:
    spec = race_spec(tmp_path, {"photos": [60, 50]}, fixed=())
    with pytest.raises(BadInput, match="validated on different photos, so they cannot race"):
        run(spec)
