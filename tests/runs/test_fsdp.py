"""One run whose weights are divided over two processes on the CPU, against one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from img2gps import train
from img2gps.training import devices
from tests.helpers.tiny import tiny_config
from tests.runs.test_devices import ONE, helpers, predictions
from tests.runs.test_midway import EVERY_BATCH, train_killed
from tests.runs.test_train import assert_same_run, history, weights

TWO = ("trainer=fsdp", *ONE)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a machine of one core train in two processes."""
    monkeypatch.setattr(devices, "kind_and_count", lambda _="auto": ("cpu", 2))


@pytest.mark.slow
def test_a_step_is_the_same_in_two_processes(workdir: Path) -> None:
    # The first epoch's two batches, of seven photos and of one, are one step.
    knobs = (
        *("batch_size=7", "split.n_train=8", "split.n_val=13", "val_batch_size=6", "max_epochs=1"),
        *("optimizer=sgd", "augmentation=crop", "trainer.accumulate_grad_batches=2", "ema=0.5"),
    )
    one = train.run(tiny_config(*ONE, *knobs, "study=one"))
    two = train.run(tiny_config(*TWO, *knobs, "study=two"))
    assert two.run_id == one.run_id
    for key, weight in weights(one.folder).items():
        torch.testing.assert_close(weights(two.folder)[key], weight, rtol=1e-4, atol=1e-5)
    for row, usual in zip(predictions(two.folder), predictions(one.folder), strict=True):
        assert row["photo"] == usual["photo"]
        assert float(row["error_m"]) == pytest.approx(float(usual["error_m"]), abs=0.05)
    for figure, expected in zip(history(two.folder)[0], history(one.folder)[0], strict=True):
        assert float(figure) == pytest.approx(float(expected), rel=1e-3)
    assert not helpers()


@pytest.mark.slow
def test_a_run_killed_inside_an_epoch_goes_on_in_two_processes_to_the_same_weights(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knobs = (*TWO, "batch_size=12", "augmentation=crop", "patience=2", "head=mlp", "ema=0.9")
    whole = train.run(tiny_config(*knobs, "study=whole"))
    config = tiny_config(*knobs, EVERY_BATCH, "study=killed")
    train_killed(config, 2)
    assert not helpers()
    killed = workdir / "runs" / "killed" / whole.run_id
    assert torch.load(killed / "midway.ckpt", weights_only=True)["midway"]["batches"] == 1
    assert train.run(config).run_id == whole.run_id
    assert_same_run(whole.folder, killed)
