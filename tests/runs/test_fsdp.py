"""One run whose weights are divided over two processes on the CPU, against one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from img2gps import train
from img2gps.core.errors import ProcessLost
from img2gps.inference.predict import Predictor
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CHECKPOINT, Pruned
from img2gps.runs.records import RESULT, read_result
from img2gps.runs.states import RunState
from img2gps.training import devices
from tests.helpers.tiny import tiny_config
from tests.runs.test_devices import ONE, check_step_agrees, helpers, predictions
from tests.runs.test_midway import EVERY_BATCH, train_killed
from tests.runs.test_train import assert_same_run, weights

TWO = ("trainer=fsdp", *ONE)


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a machine of one core train in two processes."""
    monkeypatch.setattr(devices, "kind_and_count", lambda _="auto": ("cpu", 2))


@pytest.mark.slow
def test_a_step_is_the_same_in_two_processes(workdir: Path) -> None:
    one, two = check_step_agrees(TWO)
    found, alone = read_result(two), read_result(one)
    assert found is not None
    assert alone is not None
    assert (found.strategy, found.devices) == ("fsdp", 2)
    assert (alone.strategy, alone.devices) == (None, 1)
    assert found.model == alone.model
    assert found.cost.predict_ms is not None
    assert found.absent == {}
    dataset = dataset_of(two)  # one process can predict from the checkpoint
    assert dataset is not None
    rows = [dataset.manifest["photo"].tolist().index(r["photo"]) for r in predictions(two)]
    again = Predictor.load(two).positions(dataset.pixels()[rows])
    positions = [[float(r["pred_lat_deg"]), float(r["pred_lon_deg"])] for r in predictions(two)]
    assert again == pytest.approx(np.array(positions), abs=1e-8)


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


class Watching(pl.Callback):
    """Writes down how many numbers a process keeps of the weights and of what belongs to them."""

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        (optimizer,) = trainer.optimizers
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        moments = [optimizer.state[p]["momentum_buffer"] for p in parameters]
        kept = [sum(_local(t).numel() for t in tensors) for tensors in (parameters, moments)]
        Path(f"kept-{module.team.rank}").write_text(" ".join(map(str, kept)))


def _local(tensor: Any) -> torch.Tensor:
    found: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return found


@pytest.mark.slow
def test_each_process_keeps_half_and_any_number_can_go_on_from_the_checkpoint(
    workdir: Path,
) -> None:
    knobs = (
        *("split.n_train=12", "batch_size=12", "optimizer=sgd", "optimizer.momentum=0.9"),
        "trainer.gradient_clip_val=0.5",
    )
    watching = "+callbacks.own={_target_: tests.runs.test_fsdp.Watching}"

    def lose(epoch: int, _: Any) -> None:
        if epoch == 2:
            raise ProcessLost("as if one had been killed")

    saved, groups, ends = [], [], []
    for name, first, then in (("both", TWO, TWO), ("alone", TWO, ONE), ("joined", ONE, TWO)):
        study = f"study={name}"
        with pytest.raises(ProcessLost):
            train.run(tiny_config(*first, *knobs, watching, study), on_epoch=lose)
        state = torch.load(next(Path("runs", name).glob("*")) / CHECKPOINT, weights_only=True)
        (optimizer,) = state["optimizer_states"]
        saved.append([state["state_dict"], *optimizer["state"].values()])
        groups.append(optimizer["param_groups"])
        outcome = train.run(tiny_config(*then, *knobs, watching, study))
        assert outcome.resumed_epoch == 1
        ends.append(weights(outcome.folder))
    _, divided, whole = saved
    assert groups[1] == groups[2]
    for own, expected in zip(divided, whole, strict=True):
        assert own.keys() == expected.keys()
        for key, tensor in expected.items():
            assert own[key].stride() == tensor.stride()
            # trainer=ddp differs by as much: rounding, in the gradients of the first layer.
            torch.testing.assert_close(own[key], tensor, rtol=1e-3, atol=5e-4)
    for end in ends[1:]:
        for key, weight in ends[0].items():
            torch.testing.assert_close(end[key], weight, rtol=1e-3, atol=1e-4)
    parameters = 11_177_538  # of a ResNet-18 with two outputs
    for rank in (0, 1):
        kept = [int(word) for word in Path(f"kept-{rank}").read_text().split()]
        assert kept == [parameters // 2, parameters // 2]


@pytest.mark.slow
def test_a_killed_helper_ends_the_run_in_one_line_and_one_process_goes_on(workdir: Path) -> None:
    def kill(*_: Any) -> None:
        (helper,) = helpers()
        helper.kill()

    with pytest.raises(ProcessLost, match=r"^process 2 of the run's 2 was killed by SIGKILL"):
        train.run(tiny_config(*TWO), on_epoch=kill)
    (folder,) = (workdir / "runs" / "default").glob("*/")
    assert not (folder / RESULT).exists()
    assert not helpers()
    assert train.run(tiny_config(*ONE)).state is RunState.finished


@pytest.mark.slow
@pytest.mark.parametrize("head", ["mlp", "cells", "mixture"])
def test_a_pruned_run_of_each_head_is_described_like_any_other(head: str, workdir: Path) -> None:
    def prune(*_: Any) -> None:
        raise Pruned("enough")

    knobs = (*TWO, f"head={head}", "model.train=last_blocks", "optimizer=adamw")
    outcome = train.run(tiny_config(*knobs), on_epoch=prune)
    assert outcome.state is RunState.pruned
    assert not helpers()
    found = read_result(outcome.folder)
    assert found is not None
    assert found.absent == {}
    assert found.model["flops"] > 0
