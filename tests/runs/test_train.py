"""One run: same numbers twice, safe against kills, honest about how it ended."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import haversine_distances

from img2gps import train
from img2gps.analysis import collect
from img2gps.config.schema import Config
from img2gps.core.errors import BadInput, GpuFull
from img2gps.runs import outcome
from img2gps.runs.folder import CHECKPOINT, HISTORY, PREDICTIONS, PREDICTIONS_BEST, History, Pruned
from img2gps.runs.outcome import Outcome
from img2gps.runs.predictions import PredictionTable
from img2gps.runs.records import RESULT
from img2gps.runs.states import RunState
from img2gps.training import data, loop, model
from img2gps.training.data import derived_seed
from tests.helpers.tiny import TINY, tiny_config

FIGURES = ("epoch", "lr", "train/mse", "train/rmse_m", "val/mse", "val/rmse_m", "val/within_25m")


def history(folder: Path) -> list[list[str]]:
    """history.csv without its seconds, every digit."""
    with (folder / HISTORY).open() as file:
        return [[row[name] for name in FIGURES] for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / CHECKPOINT, weights_only=True)[
        "state_dict"
    ]
    return state


def assert_same_run(one: Path, other: Path) -> None:
    assert history(one) == history(other)
    for name in (PREDICTIONS, PREDICTIONS_BEST):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def result(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / RESULT).read_text())
    return loaded


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Outcome:
    """A run of nine epochs with augmentation, never interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        patch.chdir(tmp_path_factory.mktemp("reference"))
        outcome = train.run(tiny_config("max_epochs=9", "augmentation=crop", "seed=0"))
        return Outcome(**{**vars(outcome), "folder": outcome.folder.resolve()})


def same_as_reference(*overrides: str) -> Config:
    return tiny_config("max_epochs=9", "augmentation=crop", "seed=0", *overrides)


def test_result_agrees_with_the_predictions_beside_it(reference: Outcome) -> None:
    with (reference.folder / PREDICTIONS).open() as file:
        rows = list(csv.DictReader(file))
    label = np.radians([[float(r["lat_deg"]), float(r["lon_deg"])] for r in rows])
    answer = np.radians([[float(r["pred_lat_deg"]), float(r["pred_lon_deg"])] for r in rows])
    errors = np.diag(haversine_distances(label, answer)) * 6_371_008.8
    found = result(reference.folder)
    assert len(rows) == 12
    assert [float(r["error_m"]) for r in rows] == pytest.approx(errors, abs=1e-3)
    assert found["metrics"]["val/rmse_m"] == pytest.approx(np.sqrt(np.mean(errors**2)), abs=1e-3)
    assert found["metrics"]["val/within_50m"] == np.mean(errors <= 50)
    mean_errors = np.array([float(r["mean_error_m"]) for r in rows])
    assert found["mean_predictor/rmse_m"] == pytest.approx(np.sqrt(np.mean(mean_errors**2)))
    assert found["skill"] == pytest.approx(1 - np.mean(errors**2) / np.mean(mean_errors**2))
    assert found["cost"]["predict_ms"] > 0
    assert (found["state"], found["cost"]["epochs"], found["data"]["n_train"]) == (
        "finished",
        9,
        36,
    )
    assert found["best"]["val/rmse_m"] == min(float(row[5]) for row in history(reference.folder))
    assert reference.value == found["metrics"]["val/rmse_m"]


def test_two_runs_of_one_config_agree_to_the_last_digit(reference: Outcome, workdir: Path) -> None:
    again = train.run(same_as_reference())
    assert again.run_id == reference.run_id
    assert_same_run(reference.folder, again.folder)


def test_another_seed_is_another_run(reference: Outcome, workdir: Path) -> None:
    other = train.run(same_as_reference("seed=1"))
    assert other.run_id != reference.run_id
    assert history(other.folder) != history(reference.folder)


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("threads=2", True),
        ("logger=none", True),
        ("study=other", True),
        ("runs.root=elsewhere", True),
        ("trainer.progress_bar=true", True),
        ("batch_size=8", False),
        ("split.seed=1", False),
        ("weights_required=true", True),
        ("precision=fp32", None),
        ("scheduler=cosine", False),
        ("drop_last=true", False),
        ("data.n=40", False),
        ("split.n_train=30", False),
    ],
)
def test_run_id_covers_what_changes_the_result_and_nothing_else(
    workdir: Path, override: str, same: bool | None
) -> None:
    from img2gps.runs.plan import plan_run

    one = plan_run(tiny_config("precision=bf16"))
    other = plan_run(tiny_config("precision=bf16", override))
    assert (one.run_id == other.run_id) is bool(same)


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "img2gps.train", *TINY, *overrides]


def run_command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*overrides), cwd=folder, capture_output=True, text=True, timeout=300
    )


REFERENCE = ("max_epochs=9", "augmentation=crop", "seed=0")


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(2))
def test_run_killed_at_a_random_moment_ends_with_the_same_weights(
    reference: Outcome, workdir: Path, round_: int
) -> None:
    pause = random.Random(time.time_ns() + round_)
    folder = workdir / "runs" / "default" / reference.run_id
    epochs_seen = 0
    for _ in range(2):
        process = subprocess.Popen(
            command(*REFERENCE), cwd=workdir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted = epochs_seen + pause.randint(1, 2)
        while process.poll() is None and len(History(folder / HISTORY).rows()) < wanted:
            time.sleep(0.005)
        time.sleep(pause.uniform(0, 0.2))  # into the checkpoint, the next epoch or the result
        process.send_signal(signal.SIGKILL)
        process.wait()
        epochs_seen = len(History(folder / HISTORY).rows())
    finished = run_command(workdir, *REFERENCE)
    assert finished.returncode == 0, finished.stderr
    assert_same_run(reference.folder, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_run_says_so_and_goes_on(
    reference: Outcome, workdir: Path, signum: signal.Signals, status: int
) -> None:
    folder = workdir / "runs" / "default" / reference.run_id
    process = subprocess.Popen(
        command(*REFERENCE), cwd=workdir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (folder / CHECKPOINT).exists():
        time.sleep(0.005)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert "interrupted; the same command goes on from here" in errors
    assert not (folder / RESULT).exists()
    finished = run_command(workdir, *REFERENCE, "threads=2")
    assert finished.returncode == 0, finished.stderr
    assert "going on with 1 thread, as the run began" in finished.stdout
    assert_same_run(reference.folder, folder)


def test_finished_run_is_not_run_again_unless_forced(workdir: Path) -> None:
    first = train.run(tiny_config())
    written = (first.folder / CHECKPOINT).stat().st_mtime_ns
    again = train.run(tiny_config())
    assert again.skipped
    assert again.value == first.value
    assert (first.folder / CHECKPOINT).stat().st_mtime_ns == written
    forced = train.run(tiny_config("force=true"))
    assert not forced.skipped
    assert (first.folder / CHECKPOINT).stat().st_mtime_ns != written
    assert forced.value == first.value


def test_published_run_is_made_here_to_have_its_weights(
    workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train.run(tiny_config())
    published = workdir / "results" / "some_study" / first.run_id
    published.parent.mkdir(parents=True)
    first.folder.rename(published)
    (published / CHECKPOINT).unlink()
    caplog.set_level("INFO")
    again = train.run(tiny_config())
    assert f"published in results/some_study/{first.run_id} without weights" in caplog.text
    assert (again.folder / CHECKPOINT).is_file()
    assert (again.folder / PREDICTIONS).read_text() == (published / PREDICTIONS).read_text()


def test_damaged_checkpoint_starts_anew_and_ends_the_same(
    reference: Outcome, workdir: Path
) -> None:
    def stop(epoch: int, _: object) -> None:
        if epoch == 2:
            raise KeyError("stop")

    with pytest.raises(KeyError):
        train.run(same_as_reference(), on_epoch=stop)
    folder = workdir / "runs" / "default" / reference.run_id
    checkpoint = folder / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert result(folder)["state"] == "failed"
    outcome = train.run(same_as_reference())
    assert outcome.resumed_epoch == 0
    assert_same_run(reference.folder, outcome.folder)


def test_failed_run_goes_on_after_its_last_whole_epoch(reference: Outcome, workdir: Path) -> None:
    def stop(epoch: int, _: object) -> None:
        if epoch == 3:
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        train.run(same_as_reference(), on_epoch=stop)
    folder = workdir / "runs" / "default" / reference.run_id
    assert result(folder)["reason"] == "RuntimeError: disk full"
    outcome = train.run(same_as_reference())
    assert outcome.resumed_epoch == 2
    assert_same_run(reference.folder, outcome.folder)


def test_diverged_run_is_kept_as_such_and_never_retried(workdir: Path) -> None:
    config = tiny_config("lr=99", "optimizer=sgd", "precision=fp32", "max_epochs=8")
    outcome = train.run(config)
    assert outcome.state == "diverged"
    assert "loss became" in outcome.reason
    assert result(outcome.folder)["state"] == "diverged"
    again = train.run(config)
    assert again.skipped
    assert again.state == "diverged"


def test_hook_may_prune_a_run(workdir: Path) -> None:
    def prune(epoch: int, row: object) -> None:
        raise Pruned(f"worse than the median at epoch {epoch}")

    outcome = train.run(tiny_config(), on_epoch=prune)
    assert (outcome.state, outcome.reason) == ("pruned", "worse than the median at epoch 1")
    assert result(outcome.folder)["cost"]["epochs"] == 1


def test_what_only_describes_a_run_is_no_reason_to_lose_it(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(model, "count_flops", broken)
    monkeypatch.setattr(outcome, "baselines", broken)
    monkeypatch.setattr(PredictionTable, "mean_predictor_rmse_m", lambda *_: 0.0)
    done = train.run(tiny_config("max_epochs=1", "baselines=true"))
    found = result(done.folder)
    assert (found["state"], found["skill"], found["model"]["flops"]) == ("finished", None, None)
    assert found["baselines"] == {"mean": {"val/rmse_m": 0.0}}
    why = "ZeroDivisionError: no such thing"
    assert found["absent"] == {"baselines": why, "flops": why}
    assert f"baselines: not available ({why})" in caplog.text
    (group,) = collect.load_study(done.folder.parent, []).groups()
    assert f"1 run without baselines ({why})" in group.warnings


def test_every_batch_is_augmented_anew_also_where_several_make_one_step(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def augment(images: torch.Tensor, _: object, draws: torch.Generator) -> torch.Tensor:
        seeds.append(draws.initial_seed())
        return images

    monkeypatch.setattr(data, "augment", augment)
    words = ("augmentation=crop", "batch_size=8", "seed=3")
    train.run(tiny_config(*words, "trainer.accumulate_grad_batches=2"))
    assert seeds == [derived_seed(3, batch) for batch in range(10)]  # 2 epochs of 5 batches
    one_by_one, seeds = seeds, []
    train.run(tiny_config(*words))
    assert seeds == one_by_one


def test_finished_checkpoint_keeps_the_optimizer_only_when_asked(workdir: Path) -> None:
    small = train.run(tiny_config()).folder / CHECKPOINT
    large = train.run(tiny_config("runs.keep_optimizer=true", "seed=5")).folder / CHECKPOINT
    assert large.stat().st_size > 2.5 * small.stat().st_size


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["split.n_val=48"], "split.n_val"),
        (["image_size=32", "batch_size=5"], "a batch of one photo"),
        (["batch_size=64", "drop_last=true"], "larger than the training part (36 photos)"),
        (["trainer.limit_train_batches=0.001"], "limit_train_batches=0.001: of 3 batches that is"),
        (["trainer.limit_val_batches=0.5"], "limit_val_batches=0.5: of 1 batches that is none"),
    ],
)
def test_impossible_run_is_refused_before_it_trains(
    workdir: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        train.run(tiny_config(*overrides))
    assert said in str(caught.value)
    assert not (workdir / "runs").exists()


def test_last_batch_of_one_photo_is_warned_of(
    workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train.run(tiny_config("batch_size=5", "max_epochs=1"))
    assert "one photo" in caplog.text
    assert "drop_last=true" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "status", "said"),
    [
        (["lr=x"], 2, "img2gps: error: lr=x: not a number\n"),
        (["modle=resnet18"], 2, "img2gps: error: modle: no such key; did you mean model?"),
        (["weights=gone.pth"], 2, "img2gps: error: weights=gone.pth: no such file"),
        (["sweeps=table1"], 2, "img2gps: error: sweeps=...: names a study of many runs; add -m\n"),
        (["model=nope", "--cfg", "job"], 2, "img2gps: error: model=nope: no such choice"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    workdir: Path, overrides: list[str], status: int, said: str
) -> None:
    done = run_command(workdir, *overrides)
    assert done.returncode == status
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert list(workdir.iterdir()) == []


def test_run_leaves_nothing_but_its_folder(workdir: Path) -> None:
    done = run_command(workdir, "max_epochs=1")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in workdir.iterdir()] == ["runs"]
    last = done.stdout.strip().splitlines()[-1]
    assert "validation RMSE" in last
    assert "mean predictor" in last


def test_help_and_cfg_answer_without_importing_torch() -> None:
    code = "import sys, img2gps.train as t; t.main()\n"
    check = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))\n"
    for arguments in (["--help"], ["--cfg", "job"]):
        done = subprocess.run(
            [sys.executable, "-c", check + code, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "HYDRA_FULL_ERROR": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith("False")


@pytest.mark.filterwarnings("error")
def test_run_without_validation_photos_trains_on_all_and_claims_no_error(
    workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = ("split.n_val=0", "image_size=32", "max_epochs=1", "baselines=true")
    with caplog.at_level(logging.INFO):
        made = train.run(tiny_config(*given))
    result = json.loads((made.folder / RESULT).read_text())
    assert made.state is RunState.finished
    assert math.isnan(made.value or 0.0)
    assert (result["data"]["n_train"], result["data"]["n_val"]) == (48, 0)
    assert result["metrics"]["train/rmse_m"] > 0
    assert (result["metrics"]["val/rmse_m"], result["skill"], result["best"]) == (None, None, {})
    assert len((made.folder / PREDICTIONS).read_text().splitlines()) == 1  # the header
    assert "no photo was held out, so no error is known" in caplog.text
    again = train.run(tiny_config(*given))
    assert again.skipped


class NoMemory:
    """A trainer whose GPU has too little memory."""

    max_epochs = 1

    def fit(self, *_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 98.00 MiB. GPU 0 has a total capacity of "
            "190.73 MiB of which 37.00 MiB is free. Of the allocated memory\n80 MiB is reserved."
        )


def test_a_gpu_with_too_little_memory_is_one_line_with_a_remedy(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "make_trainer", lambda *_: NoMemory())
    with pytest.raises(GpuFull) as caught:
        train.run(tiny_config("batch_size=9"))
    line = str(caught.value)
    assert line.startswith("batch_size=9: ")
    assert "Tried to allocate 98.00 MiB" in line
    assert "37.00 MiB is free" in line
    assert "hydra.sweeper.workers=1" in line
    assert "\n" not in line
