"""The engine: what is run, what is not, what is refused, and what study.json says of it."""

from __future__ import annotations

import io
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from img2gps.core.errors import BadInput
from img2gps.core.process import identity
from img2gps.core.signals import Interrupted
from img2gps.runs.folder import open_folder
from img2gps.runs.states import RunState
from img2gps.study import search
from img2gps.study.differences import differences
from img2gps.study.display import Display, duration
from img2gps.study.drawing import Draws
from img2gps.study.engine import Engine, plan_alone, run_study
from img2gps.study.ledger import Ledger
from img2gps.study.planning import plan_study
from img2gps.study.pool import Pool
from img2gps.study.process import HUNG, Stop
from img2gps.study.repeats import Repeats
from img2gps.study.space import Axis, space
from img2gps.study.spec import Done, EpochHook, Limits, Spec
from img2gps.study.storage import open_storage
from img2gps.study.trials import PREEMPTED
from img2gps.study.worker import Watchdog, Worker
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.studies import (
    QUICK,
    cells_of,
    executions,
    fake_spec,
    read_record,
    url_of,
    wait_for,
)

MEMORY = " (unless somebody did that, the memory ran out)"
pytestmark = pytest.mark.usefixtures("fake_runs")


def run(spec: Spec, workers: int = 0, url: str | None = None) -> tuple[int, str]:
    """Run the study in this process (or in workers); its exit status and what it said."""
    said = io.StringIO()
    console = Console(file=said, width=200, highlight=False, markup=False)
    status = run_study(spec, url or url_of(spec), workers=workers, display=Display(console))
    return status, said.getvalue()


def state_of(spec: Spec) -> dict[str, tuple[str, str, int]]:
    return {c["params"]["behave"]: (c["state"], c["reason"], c["attempts"]) for c in cells_of(spec)}


@pytest.mark.slow
def test_runs_that_end_badly_are_named_and_the_rest_is_finished(tmp_path: Path) -> None:
    behaviours = [
        "well",
        "raise",
        "raise_once",
        "diverge",
        "bad_input",
        "gpu_full_once",
        "exit",
        "segfault",
        "killed",
    ]
    limits = replace(QUICK, max_preemptions=2)
    spec = fake_spec(tmp_path, {"behave": behaviours}, limits=limits)

    status, said = run(spec, workers=3)

    assert status == 1
    assert state_of(spec) == {
        "well": ("finished", "", 1),
        "raise": ("failed", "ValueError: the photo has two moons", 2),
        "raise_once": ("finished", "", 2),
        "diverge": ("diverged", "loss is nan in epoch 3", 1),
        "bad_input": ("failed", "lr=0: must be above 0", 1),
        "gpu_full_once": ("finished", "", 2),
        "exit": ("failed", "the run ended its process: 0", 2),
        "segfault": ("failed", "worker process died of SIGSEGV (segmentation fault)", 2),
        "killed": ("failed", f"worker process was killed by SIGKILL{MEMORY}", 2),
    }
    for reason in ("two moons", "loss is nan", "must be above 0", "SIGSEGV", "SIGKILL"):
        assert reason in said
    log = "".join(path.read_text() for path in Path(tmp_path, "s").glob("worker-*.log"))
    assert "ValueError: the photo has" in log  # the traceback, for whoever wants it


def test_a_dead_worker_is_reported_with_its_own_log(tmp_path: Path) -> None:
    pool = Pool(fake_spec(tmp_path, {"lr": [0.1]}), "unused", 3)
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    child.wait()
    pool._children[2] = child, identity(child.pid)
    (death,) = pool.deaths()
    assert death.log == pool.log(2) != pool.log(0)
    assert socket.gethostname() in death.log.name  # machines that share the folder
    assert death.reason == "worker process ended with exit status 7"


def test_the_record_says_what_the_contract_promises(tmp_path: Path) -> None:
    named = {"baseline": {"lr": 0.1}}
    spec = fake_spec(
        tmp_path, {"lr": [0.1, 0.2], "batch_size": [8]}, seeds=(0, 1), named_cells=named,
        question="Which?", base={"max_epochs": 3}, command="python -m img2gps.train -m ...",
    )  # fmt: skip
    assert run(spec)[0] == 0
    record = read_record(spec)
    wanted = {
        "schema": 1, "study": "s", "question": "Which?", "kind": "grid", "monitor": "val/rmse_m",
        "direction": "minimize", "axes": {"lr": [0.1, 0.2], "batch_size": [8]}, "seeds": [0, 1],
        "pruner": "none", "base_config": {"max_epochs": 3}, "named_cells": named,
        "select": {"by": "val/rmse_m", "aggregate": "mean"},
        "command": "python -m img2gps.train -m ...",
    }  # fmt: skip
    assert {key: record[key] for key in wanted} == wanted
    ref = FakeRunner(spec).identify(["lr=0.1", "batch_size=8", "seed=0"])
    assert record["cells"][0] == {
        "cell": "lr=0.1,batch_size=8", "name": "baseline", "params": {"lr": 0.1, "batch_size": 8},
        "seed": 0, "run_id": ref.run_id, "path": f"s/{ref.run_id}", "state": "finished",
        "reason": "", "value": 10.0, "epochs": 3, "seconds": 0.5, "mean_predictor": 89.0,
        "attempts": 1, "linked": False,
    }  # fmt: skip
    assert [(c["cell"], c["seed"], c["name"]) for c in record["cells"][1:]] == [
        ("lr=0.2,batch_size=8", 0, ""),
        ("lr=0.1,batch_size=8", 1, "baseline"),
        ("lr=0.2,batch_size=8", 1, ""),
    ]


def test_same_command_runs_nothing_again_and_more_values_run_only_the_new(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2]}, seeds=(0, 1))
    run(spec)
    status, said = run(spec)
    assert (status, len(executions(spec))) == (0, 4)
    assert "4 skipped as done before" in said
    assert "since this command began: 0 ended" in said

    _, said = run(fake_spec(tmp_path, {"lr": [0.2, 0.3]}, seeds=(0, 1)))
    assert len(executions(spec)) == 6
    assert "since this command began: 2 ended" in said
    assert read_record(spec)["axes"] == {"lr": [0.2, 0.3, 0.1]}  # all that the study holds

    run(fake_spec(tmp_path, {"lr": [0.1]}, seeds=(2,)))
    assert len(executions(spec)) == 7
    assert read_record(spec)["seeds"] == [2, 0, 1]


def test_runs_finished_in_another_study_are_linked(tmp_path: Path) -> None:
    run(fake_spec(tmp_path, {"lr": [0.1, 0.2]}, name="first"))
    second = fake_spec(tmp_path, {"lr": [0.2, 0.3]}, name="second")
    _, said = run(second)
    assert len(executions(second)) == 3
    assert "1 found finished in other studies and linked" in said
    by_lr = {cell["params"]["lr"]: cell for cell in cells_of(second)}
    assert by_lr[0.2]["linked"]
    assert by_lr[0.2]["path"].startswith("first/")
    assert (by_lr[0.2]["attempts"], by_lr[0.2]["value"]) == (0, 20.0)
    assert not by_lr[0.3]["linked"]


def test_another_base_configuration_is_refused_with_keys_and_remedy(tmp_path: Path) -> None:
    before = {"max_epochs": 15, "scheduler": {"name": "step", "gamma": 0.1}}
    after = {"max_epochs": 10, "scheduler": {"name": "step", "gamma": 0.5}}
    run(fake_spec(tmp_path, {"lr": [0.1]}, base=before))
    with pytest.raises(BadInput) as error:
        run(fake_spec(tmp_path, {"lr": [0.1, 0.2]}, base=after))
    for part in ("max_epochs=15 (now 10)", "scheduler.gamma=0.1 (now 0.5)", "study=NAME"):
        assert part in str(error.value)
    assert "name=step" not in str(error.value)
    with pytest.raises(BadInput, match="started varying lr, now lr,batch_size"):
        run(fake_spec(tmp_path, {"lr": [0.1], "batch_size": [8]}, base=before))


@pytest.mark.parametrize("change", [{"monitor": "val/median_m"}, {"direction": "maximize"}])
def test_another_measure_of_what_is_best_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2]})
    run(spec)
    ((key, value),) = change.items()
    with pytest.raises(BadInput, match=rf"started with {key}=.* \(now {value}\); give study=NAME"):
        run(replace(spec, **change))  # type: ignore[arg-type]  # of several types


def test_another_rule_of_selection_is_refused_once_the_study_has_begun(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2]})
    run(spec)
    with pytest.raises(BadInput, match=r"select.by=val/rmse_m \(now val/p90_m\): the rule"):
        run(replace(spec, select={"by": "val/p90_m", "aggregate": "mean"}))
    with pytest.raises(BadInput, match=r"select.top=1 \(now 3\)"):
        run(replace(spec, select={**spec.select, "top": 3}))
    run(replace(spec, select={**spec.select, "direction": "minimize"}))  # what a rule once left out


def test_a_run_whose_worker_died_as_it_took_it_is_not_waited_for_in_vain(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]})
    (tmp_path / spec.name).mkdir()
    ledger = Ledger.create(open_storage(url_of(spec)), spec)
    plan_study(ledger, spec)
    ledger.study.ask()  # running, and no word of a worker
    status, _ = run(spec, workers=1)
    assert status == 0
    assert [cell["state"] for cell in cells_of(spec)] == ["finished"]


def test_a_worker_that_died_is_replaced_while_another_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    pool = Pool(fake_spec(tmp_path, {"lr": [0.1]}), "unused", 3)

    def start(index: int) -> None:
        started.append(index)
        pool._children[index] = None  # type: ignore[assignment]  # busy

    monkeypatch.setattr(pool, "_start", start)
    pool.fill(2, 0)
    pool.fill(2, 0)  # both are on their way
    assert started == [0, 1]
    del pool._children[1]
    pool.fill(1, 1)
    assert started == [0, 1, 1]
    pool.fill(5, 2)
    assert started == [0, 1, 1, 2]
    pool.fill(5, 3)
    assert len(started) == 4


def test_a_run_whose_folder_is_in_use_waits_and_counts_no_attempt(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2]}, limits=replace(QUICK, max_preemptions=1))
    folder = tmp_path / FakeRunner(spec).identify(["lr=0.1", "seed=0"]).path

    def use(ready: threading.Event) -> None:
        with open_folder(folder):
            ready.set()
            time.sleep(4)

    ready = threading.Event()
    user = threading.Thread(target=use, args=(ready,))
    user.start()
    ready.wait()
    status, _ = run(spec, workers=1)
    user.join()
    assert status == 0
    assert [(c["state"], c["attempts"]) for c in cells_of(spec)] == [("finished", 1)] * 2
    ledger = Ledger(open_storage(url_of(spec)), spec.name)
    ledger.refresh()
    assert len(ledger.study.trials) < 6  # it was not tried again and again


def test_a_worker_that_was_given_up_hands_its_run_over(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=("pause=1.5",))
    (tmp_path / spec.name).mkdir()
    ledger = Ledger.create(open_storage(url_of(spec)), spec)
    plan_study(ledger, spec)
    pool = Pool(spec, url_of(spec), 2)
    try:
        pool.fill(1, 0)
        wait_for(lambda: list(tmp_path.glob("*/*/progress.txt")))
        ledger.reap(pool._children[0][1], PREEMPTED, "nothing heard of it")  # wrongly
        pool.fill(2, 0)
        wait_for(lambda: pool.deaths() or pool.empty)
    finally:
        pool.close()
    ledger.refresh()
    (entry,) = ledger.entries()
    assert (entry.state, entry.attempts) == ("finished", 2)
    progress = (tmp_path / (entry.done.path if entry.done else "") / "progress.txt").read_text()
    assert progress.split() == ["1", "2", "3"]


def test_other_photos_behind_the_same_configuration_are_refused(tmp_path: Path) -> None:
    run(fake_spec(tmp_path, {"lr": [0.1]}, fixed=("data=first",)))
    with pytest.raises(BadInput, match=r"data=first \(now second\).*study=NAME"):
        run(fake_spec(tmp_path, {"lr": [0.1]}, fixed=("data=second",)))


def test_differences_name_nested_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "e": None}) == [
        "a.c=2 (now 3)",
        "d=[1] (now absent)",
        "e=absent (now None)",
    ]


def test_order_completes_a_seed_then_goes_from_cheap_to_dear(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.1, 0.2], "cost": [3, 1]}
    spec = fake_spec(tmp_path, axes, seeds=(0, 1), usual={"lr": 0.2, "cost": 3})
    run(spec)
    order = [(c["seed"], c["params"]["cost"], c["params"]["lr"]) for c in cells_of(spec)]
    assert order == [(seed, cost, lr) for seed in (0, 1) for cost in (1, 3) for lr in (0.2, 0.1)]


AXES = (
    Axis("lr", (), 0.01, 1.0, log=True),
    Axis("optimizer", ("adam", "adamw")),
    Axis("decay", (), 0.1, 0.2),
)
SPACE = space(AXES, when={"decay": {"optimizer": "adamw"}})


@pytest.mark.parametrize("sampler", ["random", "tpe", {"_target_": "optuna.samplers.QMCSampler"}])
def test_a_search_runs_as_many_trials_as_asked_and_goes_on(tmp_path: Path, sampler: Any) -> None:
    kind = sampler if isinstance(sampler, str) else "QMCSampler"
    spec = fake_spec(tmp_path, {}, space=SPACE, sampler=sampler, kind=kind, n_trials=12)
    run(spec)
    run(replace(spec, n_trials=15))
    cells = cells_of(spec)
    assert len(cells) == len(executions(spec)) == 15
    assert len({cell["cell"] for cell in cells}) == 15
    for cell in cells:
        assert 0.01 <= cell["params"]["lr"] <= 1
        assert ("decay" in cell["params"]) == (cell["params"]["optimizer"] == "adamw")
    assert {cell["params"]["optimizer"] for cell in cells} == {"adam", "adamw"}
    assert read_record(spec)["kind"] == kind
    assert read_record(spec)["intervals"]["lr"] == {"low": 0.01, "high": 1.0, "log": True}


def test_one_worker_repeats_its_search(tmp_path: Path) -> None:
    drawn = []
    for folder in ("a", "b"):
        spec = fake_spec(tmp_path / folder, {}, space=SPACE, sampler="tpe", kind="tpe", n_trials=14)
        run(spec)
        drawn.append([cell["params"] for cell in cells_of(spec)])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("sampler", ["random", "tpe", {"_target_": "optuna.samplers.TPESampler"}])
def test_engines_that_share_a_search_draw_other_cells(tmp_path: Path, sampler: Any) -> None:
    spec = fake_spec(tmp_path, {}, space=SPACE, sampler=sampler, kind="search", n_trials=12)
    (tmp_path / spec.name).mkdir()
    ledger = Ledger.create(open_storage(url_of(spec)), spec)
    plan_study(ledger, spec)
    engines = [Ledger(open_storage(url_of(spec)), spec.name) for _ in range(3)]
    draws = [Draws(engine) for engine in engines]
    drawn = []
    for i in range(12):  # in turn, as if each had been started at the same moment
        claim = engines[i % 3].claim()
        assert claim is not None
        drawn.append(draws[i % 3].draw(claim.trial)["lr"])
        engines[i % 3].finish(claim, Done(f"id{i}", f"s/id{i}", RunState.finished, value=1.0))
    assert len(set(drawn)) == 12


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_was_interrupted_draws_anew(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = fake_spec(tmp_path, {}, space=SPACE, sampler=sampler, kind=sampler, n_trials=9)
    whole, calls = FakeRunner.run, itertools.count(1)

    def interrupted(self: FakeRunner, overrides: list[str], on_epoch: EpochHook) -> Done:
        if next(calls) in (1, 5):  # before anything is done, and in the middle
            raise Interrupted(signal.SIGTERM)
        return whole(self, overrides, on_epoch)

    monkeypatch.setattr(FakeRunner, "run", interrupted)
    for _ in range(2):
        with pytest.raises(Interrupted):
            run(spec)
    run(spec)
    rates = [cell["params"]["lr"] for cell in cells_of(spec)]
    assert len(set(rates)) == len(executions(spec)) == 9


def test_tpe_finds_a_better_rate_than_chance(tmp_path: Path) -> None:
    lr = space([Axis("lr", (), 0.001, 1.0)])
    spec = fake_spec(tmp_path, {}, space=lr, sampler="tpe", kind="tpe", n_trials=40)
    run(spec)
    late = [cell["params"]["lr"] for cell in cells_of(spec)[20:]]
    assert sorted(late)[len(late) // 2] < 0.25  # chance alone: 0.5


def test_successive_halving_prunes_the_worse_and_never_before_the_first_rung(
    tmp_path: Path,
) -> None:
    spec = fake_spec(
        tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}, fixed=("epochs=15",),
        pruner="successive_halving", first_rung=6, max_epochs=15,
    )  # fmt: skip
    run(spec)
    cells = {cell["params"]["lr"]: cell for cell in cells_of(spec)}
    assert cells[0.1]["state"] == "finished"
    assert cells[0.6]["state"] == "pruned"
    pruned = [cell for cell in cells.values() if cell["state"] == "pruned"]
    for cell in pruned:
        epochs = Path(tmp_path, cell["path"], "progress.txt").read_text().split()
        assert len(epochs) in (6, 12)
        assert cell["reason"] == f"by SuccessiveHalvingPruner after epoch {len(epochs)}"
    assert run(spec)[0] == 0  # pruned is an outcome, not a failure, and is not run again
    assert len(executions(spec)) == 6 - len(pruned)


def test_a_run_is_not_pruned_after_its_last_epoch(tmp_path: Path) -> None:
    # Rungs at epochs 3 and 6; epoch 6 is the last one.
    spec = fake_spec(
        tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}, fixed=("epochs=6",),
        pruner="successive_halving", first_rung=3, max_epochs=6,
    )  # fmt: skip
    run(spec)
    for cell in cells_of(spec):
        assert cell["state"] == ("finished" if cell["epochs"] == 6 else "pruned")
    assert {cell["epochs"] for cell in cells_of(spec)} == {3, 6}


def test_a_pruner_that_comes_too_late_is_said_to(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, pruner="hyperband", first_rung=6, max_epochs=3)
    assert (
        "hyperband first judges after epoch 6, so it cuts no run of 3 epochs short" in run(spec)[1]
    )


def test_another_set_of_axes_is_named_as_such(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, base={"batch_size": 16})
    run(spec)
    more = fake_spec(tmp_path, {"lr": [0.1], "batch_size": [8]}, base={})
    with pytest.raises(BadInput, match="started varying lr, now lr,batch_size; give study=NAME"):
        run(more)


def test_hyperband_preset_and_own_pruners_are_made(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, first_rung=6, max_epochs=15)
    assert type(search.pruner(replace(spec, pruner="hyperband"))).__name__ == "HyperbandPruner"
    own = {"_target_": "optuna.pruners.PercentilePruner", "percentile": 25.0}
    assert type(search.pruner(replace(spec, pruner=own))).__name__ == "PercentilePruner"
    with pytest.raises(BadInput, match=r"pruner=median: no such pruner; one of none, hyperband"):
        search.pruner(replace(spec, pruner="median"))
    with pytest.raises(BadInput, match="not a BasePruner"):
        search.pruner(replace(spec, pruner={"_target_": "builtins.dict"}))


def test_an_exhausted_value_is_a_failure_not_a_result(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": ["nan"]})
    assert run(spec)[0] == 1
    (cell,) = cells_of(spec)
    assert (cell["state"], cell["value"]) == ("failed", None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (59.4, "59 s"), (61, "1 min"), (3660, "1 h 1 min")]
)
def test_durations_are_rounded_to_what_matters(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_the_record_is_valid_json_also_with_odd_values(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1], "note": ["a 'quoted' text", None, True]})
    run(spec)
    text = (tmp_path / "s" / "study.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [c["params"]["note"] for c in cells_of(spec)] == ["a 'quoted' text", None, True]


def test_a_run_that_hangs_is_ended_and_tried_again(tmp_path: Path) -> None:
    limits = replace(QUICK, max_silence_s=4.0)
    spec = fake_spec(tmp_path, {"behave": ["hang", "well"]}, limits=limits)
    status, _ = run(spec, workers=2)
    assert status == 1
    why = "made no progress for hydra.sweeper.max_silence_s; the worker's log shows where"
    assert state_of(spec) == {"hang": ("failed", why, 2), "well": ("finished", "", 1)}
    logs = "".join(path.read_text() for path in tmp_path.glob("s/worker-*.log"))
    assert "_misbehave" in logs


def test_a_run_that_takes_too_long_fails_at_once(tmp_path: Path) -> None:
    limits = replace(QUICK, max_run_minutes=0.1)
    spec = fake_spec(tmp_path, {"behave": ["hang", "well"]}, limits=limits)
    status, _ = run(spec, workers=1)
    assert status == 1
    why = "took longer than hydra.sweeper.max_run_minutes"
    assert state_of(spec) == {"hang": ("failed", why, 1), "well": ("finished", "", 1)}


def test_a_process_that_was_stopped_for_long_does_not_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watchdog = Watchdog(Limits(grace_s=60.0, max_silence_s=200.0))
    # 150 to 1000: stopped by SIGSTOP in between
    for clock[0] in (150.0, 1000.0, *range(1010, 1200, 10)):
        assert watchdog.look() == 0
    clock[0] = 1210.0
    assert watchdog.look() == HUNG


def test_a_run_that_a_worker_has_just_queued_keeps_the_engine_going(tmp_path: Path) -> None:
    """Before, an engine that looked at the wrong moment ended, and its workers with it."""
    drawn = space([Axis("lr", low=0.1, high=0.9)])
    spec = fake_spec(
        tmp_path, {}, space=drawn, kind="random", sampler="random", n_trials=1, seeds=(0, 1)
    )
    assert plan_alone(spec, url_of(spec), Display()) == 1
    ledger, other = (Ledger(open_storage(url_of(spec)), spec.name) for _ in range(2))
    runner = FakeRunner(spec)
    engine = Engine(ledger, planners=[Repeats(ledger, runner)])
    claim = other.claim()
    assert claim is not None
    Worker(other, runner, Stop()).attempt(claim)
    ledger.refresh()
    assert not ledger.busy()
    assert Repeats(other, runner).advance()
    assert engine._more()
