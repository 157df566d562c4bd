"""A study of real, tiny training runs through the command line."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from img2gps.analysis.winner import best_cell
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.core.paths import package_folder
from img2gps.runs.records import read_study
from img2gps.runs.states import RunState
from img2gps.study.runner import TrainRunner
from img2gps.study.space import Space
from img2gps.study.spec import Spec
from img2gps.training.module import GeoRegression
from tests.helpers.tiny import TINY

GRID = ("-m", "study=quick", "lr=0.001,0.003", "batch_size=8,16", "max_epochs=3")


def train(*words: str, **settings: Any) -> subprocess.Popen[str]:
    options = [word for word in words if word.startswith("-")]  # argparse wants them first
    overrides = [word for word in words if not word.startswith("-")]
    command = [sys.executable, "-m", "img2gps.train", *options, *TINY, *overrides]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2", **settings},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def epochs_on_disk(root: Path) -> int:
    found = root.glob("runs/quick/*/history.csv")
    return sum(len(path.read_text().splitlines()) - 1 for path in found)


def test_a_worker_lets_go_of_each_run(workdir: Path) -> None:
    gc.collect()
    before = sum(isinstance(thing, GeoRegression) for thing in gc.get_objects())
    conf = str(package_folder("conf"))
    runner = TrainRunner(Spec("s", "grid", Space(()), "runs", config_dir=conf, config_name="train"))
    done = runner.run([*TINY, "study=s", "max_epochs=1", "seed=0"], lambda *_: None)
    GlobalHydra.instance().clear()
    assert done.state == "finished"
    assert sum(isinstance(thing, GeoRegression) for thing in gc.get_objects()) == before


def test_weights_that_changed_since_the_study_began_are_refused(workdir: Path) -> None:
    conf = str(package_folder("conf"))
    spec = Spec("s", "grid", Space(()), "runs", config_dir=conf, config_name="train")
    (workdir / "w.pth").write_bytes(b"one")
    begun = TrainRunner(spec)
    chosen = begun.composer.load([*TINY, "weights=w.pth"])
    sha256 = begun.resolve_weights(chosen).sha256
    spec = replace(spec, weights=begun.weights)
    assert TrainRunner(spec).resolve_weights(chosen).sha256 == sha256
    said = "weights=w.pth: the file that study=s started with is missing or has changed"
    (workdir / "w.pth").write_bytes(b"two")
    with pytest.raises(BadInput, match=said):
        TrainRunner(spec).resolve_weights(chosen)
    (workdir / "w.pth").unlink()
    with pytest.raises(BadInput, match=said):
        TrainRunner(spec).resolve_weights(chosen)
    GlobalHydra.instance().clear()


def test_a_fallback_to_random_weights_stays_one_for_the_whole_study(workdir: Path) -> None:
    conf = str(package_folder("conf"))
    spec = Spec("s", "grid", Space(()), "runs", config_dir=conf, config_name="train")
    chosen = TrainRunner(spec).composer.load(
        [*TINY, "weights=imagenet", "model=efficientnet_lite0"]
    )
    fallback = {"requested": "imagenet", "resolved": "random", "reason": "no network"}
    key = "efficientnet_lite0 imagenet"
    runner = TrainRunner(replace(spec, weights={key: fallback}))
    assert runner.resolve_weights(chosen).resolved == "random"
    GlobalHydra.instance().clear()


def test_a_study_takes_a_published_run_as_done(workdir: Path) -> None:
    conf = str(package_folder("conf"))
    spec = Spec(
        "s", "grid", Space(()), "runs", "results", config_dir=conf, config_name="train",
        monitor="val/rmse_m",
    )  # fmt: skip
    runner = TrainRunner(spec)
    overrides = [*TINY, "study=s", "max_epochs=1", "seed=0"]
    ref = runner.identify(overrides)
    assert runner.find([ref]) == {}
    first = runner.run(overrides, lambda *_: None)
    published = workdir / "results" / "elsewhere" / first.run_id
    published.parent.mkdir(parents=True)
    (workdir / "runs" / first.path).rename(published)
    found = runner.find([ref]).get(ref.run_id)
    GlobalHydra.instance().clear()
    assert found is not None
    assert (found.value, found.linked) == (first.value, True)
    assert (workdir / "runs" / found.path).resolve() == published


@pytest.mark.slow
def test_a_grid_killed_half_way_goes_on_and_counts_what_it_skips(workdir: Path) -> None:
    process = train(*GRID, "hydra.sweeper.workers=2")
    end = time.monotonic() + 240
    while epochs_on_disk(workdir) < 4 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children()
    assert children, process.communicate()[0]
    process.kill()
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)
    results = {path: path.stat().st_mtime_ns for path in workdir.glob("runs/quick/*/result.json")}

    status, output = finish(train(*GRID, "hydra.sweeper.workers=2"))

    assert status == 0, output
    study = read_study("runs", "quick")
    assert study.counts()[RunState.finished] == 4
    counted = re.search(
        r"since this command began: (\d+) ended, (\d+) of them resumed; (\d+) skipped", output
    )
    assert counted, output
    ended, resumed, skipped = map(int, counted.groups())
    # A run whose result was written and not yet told is found finished: not trained again.
    assert skipped <= len(results)
    assert ended + skipped == 4
    resumed_epochs = [
        (read_json(run.folder("runs") / "result.json") or {})["resumed_epoch"] for run in study.runs
    ]
    assert resumed <= sum(epoch > 0 for epoch in resumed_epochs)
    assert all(path.stat().st_mtime_ns == before for path, before in results.items())
    for run in study.runs:
        history = (run.folder("runs") / "history.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in history] == ["epoch", "1", "2", "3"]
        saved = yaml.safe_load((run.folder("runs") / "config.yaml").read_text())
        assert (saved["lr"], saved["batch_size"]) == (
            run.params["lr"], run.params["batch_size"],
        )  # fmt: skip
        assert saved["threads"] == 1  # TINY's own; the share of the cores otherwise
    best = best_cell(study)
    assert best is not None
    assert f"best: {best.cell}: val/rmse_m {best.value:.2f} m (the mean predictor gets" in output

    with pytest.raises(SystemExit) as ended_with:
        main(["select", "quick"])
    assert ended_with.value.code == 0
    winner = read_json(workdir / "runs/quick/winner.json")
    assert winner is not None
    assert (winner["cell"], winner["value"]) == (best.cell, best.value)


OWN_STUDY = """
# @package _global_
study: search
hydra:
  sweeper:
    question: Which rate?
    sampler: {_target_: optuna.samplers.TPESampler, n_startup_trials: 2, seed: 1}
    pruner: successive_halving
    first_rung: 1
    n_trials: 4
    params:
      lr: tag(log, interval(0.0005, 0.05))
      optimizer: adam,adamw
      optimizer.weight_decay: interval(0.01, 0.1)
    when:
      optimizer.weight_decay: {optimizer: adamw}
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_search_of_ones_own_prunes_real_runs(workdir: Path, workers: int) -> None:
    folder = workdir / "mine" / "sweeps"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(OWN_STUDY.lstrip())
    where = f"--config-dir={folder.parent}"
    status, output = finish(train("-m", where, "sweeps=own", f"hydra.sweeper.workers={workers}"))
    assert status == 0, output
    study = read_study("runs", "search")
    found = study.counts()
    assert found[RunState.finished] + found[RunState.pruned] == 4
    assert found[RunState.finished] >= 1
    assert study.kind == "TPESampler"
    for run in study.runs:
        assert ("optimizer.weight_decay" in run.params) == (run.params["optimizer"] == "adamw")
        result = read_json(run.folder("runs") / "result.json")
        assert result is not None
        assert result["state"] == run.state
        assert result["cost"]["epochs"] == run.epochs
        if run.state == "pruned":
            said = f"by SuccessiveHalvingPruner after epoch {run.epochs}"
            assert run.reason == result["reason"] == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweeps=table1"], "add -m"),
        (["-m", "lr=0.001,-1"], "lr=-1.0: must be above 0"),
        (["-m", "lr=0.001,0.002", "model=resnet19,resnet18"], "model=resnet19: no such choice"),
        (["-m", "lr=interval(0.1, 0.2)"], "sampler=tpe"),
        (["-m", "lr=0.1,0.2", "hydra.sweeper.sampler=tpe"], "n_trials"),
        (["-m", "lr=0.1,0.2", "hydra.sweeper.sampler=races"], "no such sampler; one of grid, race"),
        (["-m", "lr=0.1,0.2", "hydra.sweeper.order=[size]"], "no such order size"),
        (["-m", "lr=0.1,0.2", "hydra.sweeper.pruner=median"], "no such pruner"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_status_2(
    workdir: Path, words: list[str], said: str
) -> None:
    status, output = finish(train(*words))
    assert status == 2, output
    assert said in output
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if "error" in line]) == 1


@pytest.mark.slow
def test_a_dry_run_says_what_it_costs_and_runs_nothing(workdir: Path) -> None:
    status, output = finish(train(*GRID, "hydra.sweeper.dry_run=true"))
    assert status == 0, output
    assert "dry run: plans all runs and times some training steps, but trains nothing" in output
    assert "4 cells x 1 seed = 4 runs" in output
    assert "epochs: 12" in output
    assert "12 validation photos can show" in output
    assert not (workdir / "runs").exists()
