"""A run with checkpoints inside its epochs goes on with the next batch, to the same numbers."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from img2gps import train
from img2gps.config.schema import Config
from img2gps.runs.folder import CHECKPOINT
from img2gps.runs.plan import plan_run
from img2gps.runs.recorder import Recorder
from img2gps.training.checkpoint import MIDWAY
from img2gps.training.data import EpochBatches
from tests.helpers.tiny import tiny_config
from tests.runs.test_train import assert_same_run, command, history, run_command

BATCHES = 9  # of an epoch: 36 photos
TRAINED = ("batch_size=4", "max_epochs=3", "augmentation=crop", "precision=fp32")
EVERY_BATCH = "checkpoint_minutes=1e-9"
FILE = f"{MIDWAY}.ckpt"


class Killed(Exception):
    """Stands for a kill."""


def train_killed(config: Config, batch: int) -> None:
    """Train until so many batches are done, and end before the last of them is saved."""
    usual = Recorder.on_train_batch_end
    left = batch

    def counting(self: Recorder, *args: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        usual(self, *args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr(Recorder, "on_train_batch_end", counting)
        train.run(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    "knobs",
    [
        ("head=mlp", "min_image_size=48"),  # dropout; sizes drawn for each batch
        ("ema=0.9", "patience=2", "optimizer=sgd"),
        ("trainer.accumulate_grad_batches=2", "scheduler=cosine", "drop_last=true"),
        ("model.train=head", "head=mixture"),
    ],
)
def test_a_run_killed_in_each_of_its_epochs_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knobs: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = train.run(tiny_config(*TRAINED, *knobs, "study=whole"))
    config = tiny_config(*TRAINED, *knobs, EVERY_BATCH, "study=killed")
    folder = tmp_path / "runs" / "killed" / whole.run_id
    for batch in (6, 1 + BATCHES, 1 + BATCHES):  # in the middle of each epoch
        train_killed(config, batch)
        assert (folder / FILE).is_file()
    assert train.run(config).run_id == whole.run_id
    assert_same_run(tmp_path / whole.folder, folder)
    assert not (folder / FILE).exists()


@pytest.mark.slow
def test_a_resumed_run_trains_on_no_batch_twice(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[list[int]] = []
    usual = EpochBatches.__iter__

    def noting(self: EpochBatches) -> Any:
        for batch in usual(self):
            if self.seed is not None:
                seen.append(batch)
            yield batch

    monkeypatch.setattr(EpochBatches, "__iter__", noting)
    config = tiny_config("batch_size=4", "max_epochs=1", EVERY_BATCH)
    train_killed(config, 6)
    del seen[5:]  # the sixth was not saved
    caplog.set_level("INFO")
    outcome = train.run(config)
    assert "going on in epoch 1 of 1, after batch 5, in " in caplog.text
    assert sorted(row for batch in seen for row in batch) == list(range(36))
    assert [row[1] for row in history(outcome.folder)] == [str(config.lr)]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(workdir: Path) -> None:
    knobs = (*TRAINED, "head=mlp", "ema=0.9")
    whole = train.run(tiny_config(*knobs, "study=whole"))
    folder = workdir / "runs" / "killed" / whole.run_id
    pause = random.Random(time.time_ns())
    for _ in range(2):
        process = subprocess.Popen(
            command(*knobs, EVERY_BATCH, "study=killed"), cwd=workdir,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and not (folder / FILE).exists():
            time.sleep(0.005)
        time.sleep(pause.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = run_command(workdir, *knobs, "study=killed")  # without the knob
    assert finished.returncode == 0, finished.stderr
    assert_same_run(whole.folder, folder)
    assert not (folder / FILE).exists()


@pytest.mark.slow
def test_a_damaged_or_outdated_checkpoint_is_left_out(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config("batch_size=4", "max_epochs=2", EVERY_BATCH)
    train_killed(config, 5)
    (folder,) = (workdir / "runs" / "default").glob("*/")
    outdated = (folder / FILE).read_bytes()  # of the first epoch
    train_killed(config, BATCHES)  # in the second one
    (folder / FILE).write_bytes(outdated)
    caplog.set_level("INFO")
    train_killed(config, 3)
    assert "going on after epoch 1 of 2" in caplog.text
    (folder / FILE).write_bytes(outdated[:1000])
    outcome = train.run(config)
    assert f"{FILE} is damaged" in caplog.text
    assert outcome.resumed_epoch == 1
    whole = train.run(tiny_config("batch_size=4", "max_epochs=2", "study=whole"))
    assert_same_run(whole.folder, outcome.folder)


def test_without_the_knob_there_is_no_such_checkpoint(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_killed(tiny_config("batch_size=4"), 14)
    (folder,) = (workdir / "runs" / "default").glob("*/")
    assert (folder / CHECKPOINT).is_file()
    assert not (folder / FILE).exists()


def test_the_last_epochs_checkpoint_keeps_the_optimiser(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_killed(tiny_config("batch_size=4", "max_epochs=1", EVERY_BATCH), 5)
    (path,) = (workdir / "runs").rglob(FILE)
    saved = torch.load(path, weights_only=True)
    assert saved["optimizer_states"][0]["state"]
    assert saved[MIDWAY]["batches"] == 4


def test_the_knob_is_no_part_of_the_run_id() -> None:
    one, other = (plan_run(tiny_config("precision=fp32", k)) for k in ("threads=1", EVERY_BATCH))
    assert one.run_id == other.run_id


@pytest.mark.slow
def test_an_average_of_weights_goes_on_with_all_that_it_has_averaged(workdir: Path) -> None:
    knobs = ("batch_size=36", "max_epochs=5", "precision=fp32", "ema=0.9")
    whole = train.run(tiny_config(*knobs, "study=whole"))
    config = tiny_config(*knobs, "study=killed")
    train_killed(config, 2)
    train_killed(config, 3)
    assert_same_run(whole.folder, train.run(config).folder)
