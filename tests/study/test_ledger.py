"""The ledger: each run claimed once and told once, whoever dies in between."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from img2gps.core.errors import BadInput
from img2gps.core.process import identity, known_dead
from img2gps.runs.states import RunState
from img2gps.study import process, storage
from img2gps.study.bulk import add_trials
from img2gps.study.drawing import Draws
from img2gps.study.ledger import Claim, Ledger, Lost
from img2gps.study.space import Axis, Space, cell_id
from img2gps.study.spec import Done, Limits, RunRef, Spec
from img2gps.study.trials import EXCEPTION, PREEMPTED, NewRun, key_of, trial_of
from tests.helpers.studies import fake_spec


@pytest.fixture(params=["journal", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "journal":
        return str(tmp_path / "s" / "ledger.journal")
    return f"sqlite:///{tmp_path}/ledger.sqlite"


def ledger_of(url: str, spec: Spec, n: int = 1) -> Ledger:
    made = Ledger.create(storage.open_storage(url), spec)
    made.save(spec)
    made.enqueue(cell(i) for i in range(n))
    return made


def another(url: str, pid: int | None = None, machine: str | None = None) -> Ledger:
    """The same ledger as another process, alive or not, sees it."""
    made = Ledger(storage.open_storage(url), "s")
    who = identity(pid)
    made.identity = {**who, "started": f"{who['started']}-{id(made)}"}
    if machine:
        made.identity["machine"] = machine
    return made


def cell(i: int) -> NewRun:
    params = {"lr": i / 10, "model": "resnet18"}
    return NewRun(key_of(params, 0), params, 0, ref=RunRef(f"id{i}", f"s/id{i}"))


def done(claim: Claim, state: RunState = RunState.finished, value: float | None = 60.0) -> Done:
    assert claim.ref is not None
    return Done(claim.ref.run_id, claim.ref.path, state, "", value, 3, 1.0)


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


def states(ledger: Ledger) -> dict[str, int]:
    ledger.refresh()
    return dict(Counter(entry.state for entry in ledger.entries()))


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return fake_spec(tmp_path, {"lr": [0.1]}, limits=Limits(2, 3, 0.1, 0.3))


def test_four_threads_claim_each_run_once(url: str, spec: Spec) -> None:
    ledger_of(url, spec, 12)
    taken: list[str] = []

    def work() -> None:
        mine = Ledger(storage.open_storage(url), "s")
        while (claim := mine.claim()) is not None:
            taken.append(claim.key)
            mine.finish(claim, done(claim))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(cell(i).key for i in range(12))
    assert states(Ledger(storage.open_storage(url), "s")) == {"finished": 12}


def test_trials_written_at_once_are_those_that_optuna_writes_one_by_one(
    tmp_path: Path, spec: Spec
) -> None:
    spec = replace(spec, aims={"val/rmse_m": "minimize", "cost": "minimize"})
    opened = storage.open_storage(f"sqlite:///{tmp_path}/ledger.sqlite")
    ended = Done("id7", "t/id7", RunState.finished, "", 60.0, 3, aims={"val/rmse_m": 6, "cost": 2})
    runs = [cell(1), replace(cell(2), name="named"), NewRun("trial 0", None, 1)]
    runs += [replace(cell(3), done=ended), replace(cell(4), done=replace(ended, value=math.inf))]
    runs += [replace(cell(5), done=replace(ended, state=RunState.diverged))]
    trials = [trial_of(run, spec) for run in runs]
    found = []
    for name in ("one by one", "at once"):
        study = optuna.create_study(
            storage=opened, study_name=name, directions=["minimize", "minimize"]
        )
        study.add_trial(trials[0])
        if name == "at once":
            database = storage.database_of(opened)
            assert database is not None
            add_trials(database, study._study_id, trials[1:])
        else:
            study.add_trials(trials[1:])
        found.append(study.get_trials())
    for one, other in zip(*found, strict=True):
        other._trial_id = one._trial_id
        assert one == other


def test_a_claim_asks_a_database_no_more_where_more_is_queued(tmp_path: Path, spec: Spec) -> None:
    asked: dict[int, int] = {}
    for queued in (5, 500):
        url = f"sqlite:///{tmp_path}/{queued}.sqlite"
        ledger_of(url, spec, queued)
        worker = another(url)
        worker.refresh()
        statements: list[str] = []
        engine = worker.study._storage._backend.engine  # type: ignore[attr-defined]
        event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))  # noqa: B023
        worker.claim()
        asked[queued] = len(statements)
    assert asked[5] == asked[500] > 0


@settings(max_examples=20)
@given(steps=st.lists(st.sampled_from(["claim", "finish", "fail", "more", "look"]), max_size=25))
def test_a_ledger_that_looks_sees_what_a_new_one_sees(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.sqlite"
        acting = ledger_of(url, fake_spec(Path(folder), {"lr": [0.1]}), 3)
        looking, claims, n = another(url), [], 3
        for step in steps:
            if step == "claim" and (claim := acting.claim()) is not None:
                claims.append(claim)
            elif step == "finish" and claims:
                claim = claims.pop(0)
                acting.finish(claim, done(claim))
            elif step == "fail" and claims:
                acting.give_back(claims.pop(), EXCEPTION, "why")
            elif step == "more":
                acting.enqueue([cell(n)])
                n += 1
            elif step == "look":
                looking.refresh()
        looking.refresh()
        new = another(url)
        new.refresh()
        assert looking.entries() == new.entries()


def test_planning_twice_adds_only_what_is_new(url: str, spec: Spec) -> None:
    ledger = ledger_of(url, spec, 3)
    claim = claimed(ledger)
    ledger.finish(claim, done(claim))
    new = another(url).enqueue(cell(i) for i in range(5))
    assert [c.key for c in new] == [cell(3).key, cell(4).key]
    assert states(ledger) == {"finished": 1, "queued": 4}


def test_a_ledger_of_an_older_version_goes_on(url: str, spec: Spec) -> None:
    """Written attribute by attribute, with the names that ledgers on people's disks have."""
    Path(spec.root, "s").mkdir(exist_ok=True)
    opened = storage.open_storage(url)
    study = optuna.create_study(study_name="s", storage=opened)
    limits = {"max_failures": 2, "max_preemptions": 3, "heartbeat_s": 0.1, "grace_s": 0.3}
    axis = {"name": "lr", "values": [0.1], "low": None, "high": None, "log": False,
            "whole": False, "prefix": ""}  # fmt: skip
    study.set_user_attr("spec", {
        "name": "s", "kind": "grid", "space": {"axes": [axis], "cells": [], "when": {}},
        "root": spec.root, "results": None, "seeds": [0], "overrides": ["study=s"],
        "order": ["seed", "cost", "base"], "limits": limits, "searchpath": [],
        "runner": "img2gps.study.runner:TrainRunner", "created_at": "2026-01-01",
    })  # fmt: skip
    dead = {"worker": {**identity(), "started": "1"}, "engine": None, "at": 0.0}
    outcome = {
        "kind": "done", "run_id": "id0", "path": "s/id0", "state": "finished", "reason": "",
        "value": 60.0, "epochs": 3, "seconds": 1.0, "mean_predictor": 89.0, "resumed_epoch": 0,
        "linked": False, "skipped": False,
    }  # fmt: skip
    states_of = [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.RUNNING]
    for i, state in enumerate([*states_of, optuna.trial.TrialState.WAITING]):
        old = {
            "key": cell(i).key, "cell": cell_id(cell(i).params or {}), "params": cell(i).params,
            "seed": 0, "name": "", "alive": dead,
            "planned": {"run_id": f"id{i}", "path": f"s/id{i}", "cost": 1.0, "identity": {}},
            **({"outcome": outcome} if i == 0 else {}),
        }  # fmt: skip
        value = 60.0 if i == 0 else None
        study.add_trial(optuna.trial.create_trial(state=state, value=value, user_attrs=old))

    ledger = Ledger(storage.open_storage(url), "s")
    assert ledger.spec.created_at == "2026-01-01"
    assert ledger.enqueue(cell(i) for i in range(4)) == [cell(3)]
    assert states(ledger) == {"finished": 1, "running": 1, "queued": 2}
    first = ledger.entry(cell(0).key)
    assert first.done is not None
    assert (first.done.value, first.done.state, first.ref) == (60.0, "finished", cell(0).ref)
    assert ledger.reap() == [cell(1).key]
    while (claim := ledger.claim()) is not None:
        ledger.finish(claim, done(claim))
    assert states(ledger) == {"finished": 4}


def test_text_axes_may_grow_and_numbers_are_optunas_parameters(url: str, spec: Spec) -> None:
    ledger = ledger_of(url, spec, 1)
    for name in ("resnet34", "vit"):
        params = {"lr": 0.1, "model": name, "drop_last": True}
        ledger.enqueue([NewRun(key_of(params, 0), params, 0)])
        claim = claimed(ledger)
        ledger.finish(claim, Done("x", "s/x", RunState.finished, value=1.0))
    found = optuna.load_study(study_name="s", storage=ledger._storage).trials[-1]
    assert found.params == {"lr": 0.1}


def test_a_dead_workers_run_is_taken_back_and_its_own_word_no_longer_counts(
    url: str, spec: Spec
) -> None:
    ledger = ledger_of(url, spec)
    dead = another(url)  # a process that never had this start time
    claim = claimed(dead)
    assert ledger.reap() == [cell(0).key]
    assert states(ledger) == {"queued": 1}
    with pytest.raises(Lost):
        dead.check(claim)
    with pytest.raises(Lost):
        dead.beat(claim.trial._trial_id)
    with pytest.raises(Lost):
        dead.finish(claim, done(claim))
    mine = claimed(ledger)
    assert mine.key == claim.key
    ledger.finish(mine, done(mine))
    ledger.refresh()
    entry = ledger.entry(mine.key)
    assert (entry.state, entry.attempts) == ("finished", 2)


@pytest.mark.parametrize("written", range(4))
def test_a_worker_that_dies_while_it_writes_down_a_draw_leaves_a_whole_cell_or_none(
    url: str, tmp_path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell without its name would belong to no trial, and its further seeds would never run."""
    spec = fake_spec(
        tmp_path, {}, space=Space((Axis("lr", low=0.1, high=0.9),)), kind="tpe", sampler="tpe"
    )
    made = Ledger.create(storage.open_storage(url), spec)
    made.save(spec)
    made.enqueue([NewRun("trial 0", None, 0)])
    dead = another(url)
    claim, notes = claimed(dead), itertools.count(1)
    note = dead._note

    def until_killed(trial_id: int, key: str, value: Any) -> None:
        if next(notes) > written:
            raise InterruptedError
        note(trial_id, key, value)

    monkeypatch.setattr(dead, "_note", until_killed)
    with contextlib.suppress(InterruptedError):
        dead.draw(claim, Draws(dead).draw(claim.trial), "the name")
    assert made.reap() == ["trial 0"]
    again = claimed(made)
    entry = made.entry("trial 0")
    if written < 3:
        assert (again.params, entry.cell, entry.name) == (None, "", "")
    else:
        assert again.params == entry.params != {}
        assert (entry.cell, entry.name) == (cell_id(entry.params), "the name")


def test_a_cell_that_an_older_version_had_not_written_down_follows_from_its_values(
    url: str, tmp_path: Path
) -> None:
    spec = fake_spec(
        tmp_path, {}, space=Space((Axis("lr", low=0.1, high=0.9),)), kind="tpe", sampler="tpe"
    )
    made = ledger_of(url, spec, 0)
    made.enqueue([NewRun("trial 0", None, 0)])
    made._note(claimed(made).trial._trial_id, "params", {"lr": 0.5})
    made.refresh()
    assert made.entry("trial 0").cell == cell_id({"lr": 0.5})


def test_a_silent_worker_elsewhere_is_given_up_by_ones_own_clock(
    url: str, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_of(url, spec)
    remote = another(url, machine="elsewhere")
    claim = claimed(remote)
    now = [1000.0]
    monkeypatch.setattr("img2gps.study.ledger.time.monotonic", lambda: now[0])
    assert ledger.reap() == []
    now[0] += 0.25
    remote.beat(claim.trial._trial_id)  # its clock may say what it likes
    assert ledger.reap() == []
    now[0] += 0.25
    assert ledger.reap() == []
    now[0] += 0.31
    assert ledger.reap() == [claim.key]
    assert "nothing heard" in ledger._trials[0].user_attrs["lost"]["reason"]


def test_a_worker_whose_engine_lives_is_left_to_the_engine(url: str, spec: Spec) -> None:
    ledger = ledger_of(url, spec)
    dead = another(url)
    dead.engine = identity()
    claim = claimed(dead)
    assert another(url).reap() == []
    taken = ledger.reap(dead.identity, EXCEPTION, "worker process died of SIGSEGV")
    assert taken == [claim.key]


def test_exceptions_and_preemptions_are_counted_apart(url: str, spec: Spec) -> None:
    ledger = ledger_of(url, spec)
    for kind in (PREEMPTED, EXCEPTION, PREEMPTED, "interrupted", "interrupted"):
        ledger.give_back(claimed(ledger), kind, "why")
        assert states(ledger) == {"queued": 1}
    ledger.give_back(claimed(ledger), EXCEPTION, "ValueError: no")
    assert states(ledger) == {"failed": 1}
    entry = ledger.entry(cell(0).key)
    assert (entry.reason, entry.attempts) == ("ValueError: no", 6)
    assert ledger.claim() is None


def test_a_run_enqueued_twice_is_run_once(url: str, spec: Spec) -> None:
    ledger = ledger_of(url, spec, 2)
    ledger._again(cell(0).key)  # as if two processes had both taken it back
    keys = []
    while (claim := ledger.claim()) is not None:
        keys.append(claim.key)
        ledger.finish(claim, done(claim))
    assert keys == [cell(0).key, cell(1).key]
    assert states(ledger) == {"finished": 2}
    assert ledger.entry(cell(0).key).attempts == 1


NAMES = st.sampled_from(["claim", "finish", "raise", "die", "reap", "again"])
ACTIONS = st.lists(st.tuples(NAMES, st.integers(0, 2)), min_size=12, max_size=30)


@settings(max_examples=30, deadline=None)
@given(ACTIONS)
def test_whoever_dies_when_each_run_is_finished_exactly_once(
    actions: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = str(Path(folder) / "ledger.journal")
        many = Limits(max_failures=100, max_preemptions=100)
        ledger_of(url, fake_spec(Path(folder), {"lr": [0.1]}, limits=many), 3)
        workers = [another(url, machine=f"m{i}") for i in range(3)]
        held: list[Claim | None] = [None, None, None]
        dead: list[dict[str, Any]] = []
        finished: list[str] = []

        def finish(i: int) -> None:
            claim, held[i] = held[i], None
            try:
                if claim is not None:
                    workers[i].finish(claim, done(claim))
                    finished.append(claim.key)
            except Lost:
                pass

        for action, i in actions:
            match action:
                case "claim" if held[i] is None:
                    held[i] = workers[i].claim()
                case "finish":
                    finish(i)
                case "raise" if (claim := held[i]) is not None:
                    held[i] = None
                    with contextlib.suppress(Lost):
                        workers[i].give_back(claim, EXCEPTION, "ValueError")
                case "die":
                    dead.append(workers[i].identity)
                    workers[i], held[i] = another(url, machine=f"m{i}-{len(dead)}"), None
                case "reap":
                    for who in dead:
                        workers[i].reap(who, PREEMPTED, "killed")
                case "again":  # a second, needless, enqueuing, as two reapers at once may do
                    workers[i].refresh()
                    workers[i]._again(cell(i).key)
        for i in range(3):
            finish(i)
        last = workers[0]
        for who in dead:
            last.reap(who, PREEMPTED, "killed")
        last.settle()
        while (claim := last.claim()) is not None:
            held[0] = claim
            finish(0)
        assert sorted(finished) == sorted(cell(i).key for i in range(3))
        assert states(last) == {"finished": 3}
        assert not last.busy()


def test_a_trial_that_its_reaper_did_not_enqueue_again_is_not_lost(url: str, spec: Spec) -> None:
    ledger = ledger_of(url, spec)
    claim = claimed(ledger)
    ledger._note(claim.trial._trial_id, "lost", {"kind": PREEMPTED, "reason": "killed"})
    ledger._tell(claim.trial._trial_id, optuna.trial.TrialState.FAIL)  # ... and then it died
    assert ledger.settle() == 1
    assert states(ledger) == {"queued": 1}


def test_diverged_runs_are_not_tried_again_until_forgotten(url: str, spec: Spec) -> None:
    ledger = ledger_of(url, spec)
    claim = claimed(ledger)
    ledger.finish(claim, done(claim, RunState.diverged, None))
    assert ledger.settle() == 0
    assert states(ledger) == {"diverged": 1}
    ledger.forget([claim.key], again=True)
    assert states(ledger) == {"queued": 1}
    assert ledger.entry(claim.key).attempts == 0
    ledger.forget([claim.key], again=False)
    assert states(ledger) == {}
    assert [c.key for c in ledger.enqueue([cell(0)])] == [claim.key]


def test_a_journal_survives_a_line_cut_short(tmp_path: Path, spec: Spec) -> None:
    url = str(tmp_path / "s" / "ledger.journal")
    ledger_of(url, spec, 2)
    with Path(url).open("ab") as file:  # as a writer killed half-way leaves it
        file.write(b'{"op_code":6,"worker_id":"x","trial_')
    ledger = Ledger(storage.open_storage(url), "s")
    claim = claimed(ledger)
    ledger.finish(claim, done(claim))
    assert states(Ledger(storage.open_storage(url), "s")) == {"finished": 1, "queued": 1}
    for line in Path(url).read_text().splitlines():
        json.loads(line)


def test_a_damaged_journal_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "ledger.journal"
    path.write_bytes(b"\x80 no journal\n")
    with pytest.raises(
        BadInput, match=r"ledger.journal: the ledger is damaged .*; put back a copy"
    ):
        storage.open_storage(str(path))


def test_the_journals_lock_dies_with_its_holder(tmp_path: Path, spec: Spec) -> None:
    url = str(tmp_path / "s" / "ledger.journal")
    ledger = ledger_of(url, spec, 1)
    holder = (
        "import sys, os; from img2gps.study.storage import _KernelLock;"
        "_KernelLock(sys.argv[1] + '.lock').acquire(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", holder, url], check=False)
    assert ledger.claim() is not None  # at once, not after Optuna's 30 s


def test_a_database_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(BadInput) as error:
        storage.open_storage("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)
    assert "hydra.sweeper.storage=postgresql" in str(error.value)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (1, "exception", "ended with exit status 1"),
        (-11, "exception", "died of SIGSEGV (segmentation fault)"),
        (-6, "exception", "died of SIGABRT (aborted by a library)"),
        (-9, "preempted", "was killed by SIGKILL (unless somebody did that, the memory ran out)"),
        (-15, "preempted", "was killed by SIGTERM"),
    ],
)
def test_how_a_worker_died_is_said_by_name(code: int, kind: str, reason: str) -> None:
    assert process.how_it_died(code) == (kind, f"worker process {reason}")


def test_a_process_number_used_again_is_not_the_same_process() -> None:
    me: dict[str, Any] = identity()
    assert not known_dead(me)
    assert known_dead({**me, "started": "1"})
    assert not known_dead({**me, "started": "1", "machine": "elsewhere"})
    assert not known_dead(None)


def test_process_that_had_ended_before_it_was_named_counts_as_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    named_late = identity(child.pid)

    assert named_late["started"] == ""
    assert known_dead(named_late)
