"""One run on several devices: two processes on the CPU against one."""

from __future__ import annotations

import csv
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from img2gps import train
from img2gps.core import hardware
from img2gps.core.errors import BadInput, ProcessLost
from img2gps.runs.folder import MEETING, PREDICTIONS, Pruned
from img2gps.runs.plan import check_devices, plan_run
from img2gps.runs.records import RESULT, read_result, read_study
from img2gps.runs.states import RunState
from img2gps.training import devices
from img2gps.training.team import Team
from tests.helpers.tiny import TINY, tiny_config
from tests.runs.test_midway import EVERY_BATCH, train_killed
from tests.runs.test_train import assert_same_run, command, history, weights

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "precision=fp32")
ONE = TWO[1:]
LEAVES_S = 20.0  # a helper, after the end of the first process


def helpers() -> list[psutil.Process]:
    """The processes that help this one, or help one that it has started."""
    below = psutil.Process().children(recursive=True)
    return [child for child in below if "img2gps.runs.helper" in " ".join(child.cmdline())]


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / PREDICTIONS).open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a machine of one core train in two processes."""
    monkeypatch.setattr(devices, "kind_and_count", lambda _="auto": ("cpu", 2))


@pytest.mark.parametrize(("photos", "size"), [(16, 2), (7, 2), (5, 4), (3, 4), (1, 2), (9, 1)])
def test_shares_are_the_whole_batch_and_their_mean_is_its_mean(photos: int, size: int) -> None:
    batch = torch.arange(photos).double()
    shares = [Team(rank, size).share(photos) for rank in range(size)]
    counted = [batch[share.photos][share.counted] for share in shares]
    assert torch.equal(torch.cat(counted), batch)
    means = [batch[share.photos].mean() * share.scale for share in shares]
    torch.testing.assert_close(torch.stack(means).mean(), batch.mean())


def check_step_agrees(two: tuple[str, ...]) -> tuple[Path, Path]:
    """Take a step in one process and in two; return the folders of both runs if they agree."""
    # The first epoch's two batches, of seven photos and of one, are one step.
    knobs = (
        *("batch_size=7", "split.n_train=8", "split.n_val=13", "val_batch_size=6", "max_epochs=1"),
        *("optimizer=sgd", "augmentation=crop", "trainer.accumulate_grad_batches=2", "ema=0.5"),
    )
    expected = train.run(tiny_config(*ONE, *knobs, "study=one"))
    found = train.run(tiny_config(*two, *knobs, "study=two"))
    assert found.run_id == expected.run_id
    for key, weight in weights(expected.folder).items():
        torch.testing.assert_close(weights(found.folder)[key], weight, rtol=1e-4, atol=1e-5)
    for row, usual in zip(predictions(found.folder), predictions(expected.folder), strict=True):
        assert row["photo"] == usual["photo"]
        assert float(row["error_m"]) == pytest.approx(float(usual["error_m"]), abs=0.05)
    for figure, usual_figure in zip(
        history(found.folder)[0], history(expected.folder)[0], strict=True
    ):
        assert float(figure) == pytest.approx(float(usual_figure), rel=1e-3)
    assert not (found.folder / MEETING).exists()
    assert not helpers()
    return expected.folder, found.folder


@pytest.mark.slow
def test_a_step_is_the_same_in_two_processes(workdir: Path) -> None:
    one, two = map(read_result, check_step_agrees(TWO))
    assert one is not None
    assert two is not None
    assert (one.devices, two.devices) == (1, 2)


@pytest.mark.slow
def test_a_run_killed_inside_an_epoch_goes_on_in_two_processes_to_the_same_weights(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knobs = (*TWO, "batch_size=12", "augmentation=crop", "patience=2", "head=mlp")
    whole = train.run(tiny_config(*knobs, "study=whole"))
    config = tiny_config(*knobs, EVERY_BATCH, "study=killed")
    train_killed(config, 2)
    assert not helpers()
    killed = workdir / "runs" / "killed" / whole.run_id
    assert torch.load(killed / "midway.ckpt", weights_only=True)["midway"]["batches"] == 1
    assert train.run(config).run_id == whole.run_id
    assert_same_run(whole.folder, killed)


@pytest.mark.slow
def test_a_killed_helper_ends_the_run_in_one_line_and_one_process_goes_on(
    workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(*_: Any) -> None:
        (helper,) = helpers()
        helper.kill()

    with pytest.raises(ProcessLost) as caught:
        train.run(tiny_config(*TWO), on_epoch=kill)
    assert str(caught.value).startswith("process 2 of the run's 2 was killed by SIGKILL (unless")
    assert str(caught.value).endswith("; the same command goes on from the last checkpoint")
    (folder,) = (workdir / "runs" / "default").glob("*/")
    assert not (folder / RESULT).exists()
    caplog.set_level("INFO")
    outcome = train.run(tiny_config(*ONE))
    assert outcome.state is RunState.finished
    assert outcome.folder.samefile(folder)
    if outcome.resumed_epoch:  # else the helper's end was noticed before the first checkpoint
        assert "going on with trainer.devices=1, and not 2 as before" in caplog.text


@pytest.mark.slow
def test_helpers_end_with_a_run_that_is_pruned_or_fails(workdir: Path) -> None:
    def prune(*_: Any) -> None:
        assert len(helpers()) == 1
        raise Pruned("enough")

    outcome = train.run(tiny_config(*TWO), on_epoch=prune)
    assert outcome.state is RunState.pruned
    assert not helpers()


@pytest.mark.slow
def test_no_process_outlives_the_first_one(workdir: Path) -> None:
    process = subprocess.Popen(
        command(*TWO, "max_epochs=500"), cwd=workdir, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("epoch 1/"))
    (helper,) = helpers()
    process.send_signal(signal.SIGKILL)
    process.wait()
    helper.wait(LEAVES_S)


@pytest.mark.slow
def test_a_study_trains_each_run_in_two_processes_also_after_one_was_killed(workdir: Path) -> None:
    program, own = command()[:3], (*TWO, "max_epochs=6", "study=both", "lr=0.001,0.002")
    process = subprocess.Popen(
        [*program, "-m", *TINY, *own], cwd=workdir, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while process.poll() is None and not list(workdir.glob("runs/both/*/history.csv")):
        time.sleep(0.05)
    for helper in helpers():
        helper.kill()
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    study = read_study(workdir / "runs", "both")
    assert [run.state for run in study.runs] == [RunState.finished] * 2
    found = [read_result(workdir / "runs" / run.path) for run in study.runs]
    assert [result and result.devices for result in found] == [2, 2]
    assert not helpers()


def test_workers_and_devices_are_no_more_than_the_machine_has(workdir: Path) -> None:
    if hardware.cores() < 2:
        pytest.skip("one core alone is refused before")
    words = [*command()[:3], "-m", *TINY, *TWO, "lr=0.1,0.2", "hydra.sweeper.workers=500"]
    done = subprocess.run(words, cwd=workdir, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "workers=500: with trainer.devices=2 they take 1000, and there are" in done.stderr


def test_the_processes_of_a_run_share_the_cores(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    monkeypatch.setattr(devices, "kind_and_count", lambda _: ("cpu", 8))
    given = plan_run(tiny_config(*ONE, "trainer.devices=4", "threads=3"))
    assert given.threads == 3
    asked = tiny_config(*ONE, "trainer.devices=4", "threads=null")
    assert replace(given, config=asked).threads == 2


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        (
            ("model.train=head",),
            "trainer.devices=2: model.train=head computes features once and takes one device; give "
            "trainer.devices=1, or leave model.train=head out",
        ),
        (("trainer.compile=true",), "trainer.devices=2: trainer.compile=true takes one device"),
        (("batch_size=1",), "trainer.devices=2: each takes its share of batch_size=1, so"),
    ],
)
def test_what_one_device_alone_can_do_is_refused(knobs: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        tiny_config(*TWO, *knobs)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("there", "workers", "said"),
    [
        (("cpu", 1), 1, "trainer.devices=2: there is 1 core here; give trainer.devices=1 at most"),
        (("cuda", 1), 1, "trainer.devices=2: there is 1 GPU here; give trainer.devices=1 at most"),
        (("mps", 1), 1, "trainer.devices=2: with mps, a run takes one device; leave it out, or"),
        (
            ("cpu", 4),
            3,
            "hydra.sweeper.workers=3: with trainer.devices=2 they take 6, and there are 4 cores "
            "here; give hydra.sweeper.workers=2 at most",
        ),
    ],
)
def test_more_devices_than_there_are_are_refused(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, int], workers: int, said: str
) -> None:
    monkeypatch.setattr(devices, "kind_and_count", lambda _: there)
    with pytest.raises(BadInput) as caught:
        check_devices(tiny_config("trainer=ddp"), workers)
    assert str(caught.value).startswith(said)
