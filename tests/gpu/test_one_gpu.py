"""Runs on one GPU: the same numbers twice, after a kill, beside others, and near the CPU's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from img2gps import train
from img2gps.config.schema import Config
from img2gps.core.errors import BadInput, GpuFull
from img2gps.runs.outcome import Outcome
from img2gps.runs.plan import check_devices
from img2gps.runs.records import RunResult, read_result
from img2gps.training import loop
from img2gps.training.augment import augment
from img2gps.training.data import PixelStore
from img2gps.training.team import Team, TeamStrategy, connected
from tests.helpers.tiny import TINY, tiny_config
from tests.runs.test_midway import EVERY_BATCH, train_killed
from tests.runs.test_train import assert_same_run, weights

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU"),
    pytest.mark.usefixtures("workdir"),
]

KINDS = [
    ("precision=fp32",),
    ("precision=bf16",),
    ("model=resnet50", "precision=bf16", "batch_size=8"),
    ("model=efficientnet_lite0", "augmentation=rotate", "ema=0.9"),
    ("model=mobilenet_v2", "augmentation=crop", "optimizer=sgd"),
    ("head=mixture", "loss=nll", "augmentation=blur"),
    ("head=mlp", "min_image_size=48"),
    ("model.train=head", "head=mlp"),
]


def run(*knobs: str) -> Outcome:
    return train.run(tiny_config(*knobs))


def result(outcome: Outcome) -> RunResult:
    found = read_result(outcome.folder)
    assert found is not None
    return found


def test_a_run_takes_the_gpu_and_says_so() -> None:
    on_gpu = result(run())
    assert on_gpu.hardware["gpu"] == torch.cuda.get_device_name()
    assert on_gpu.precision == "bf16"
    assert on_gpu.cost.peak_gpu_memory_mb is not None
    assert 10 < on_gpu.cost.peak_gpu_memory_mb < 2000
    on_cpu = result(run("trainer.accelerator=cpu", "study=cpu"))
    assert on_cpu.hardware["gpu"] == ""
    assert on_cpu.cost.peak_gpu_memory_mb is None


@pytest.mark.parametrize("knobs", KINDS, ids=" ".join)
def test_the_same_run_twice_has_the_same_numbers(knobs: tuple[str, ...]) -> None:
    assert_same_run(run(*knobs, "study=one").folder, run(*knobs, "study=two").folder)


@pytest.mark.parametrize("knobs", [KINDS[1], KINDS[3], KINDS[6]], ids=" ".join)
def test_a_killed_run_goes_on_to_the_same_numbers(knobs: tuple[str, ...]) -> None:
    knobs = (*knobs, "batch_size=4", "max_epochs=3")
    whole = run(*knobs, "study=whole")
    killed = tiny_config(*knobs, EVERY_BATCH, "study=killed")
    train_killed(killed, 6)
    train_killed(killed, 10)
    assert_same_run(whole.folder, train.run(killed).folder)


def test_a_step_on_the_gpu_is_that_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = loop.seed_everything

    def exact(seed: int, threads: int) -> None:  # TF32 has 10 bits, as coarse as bf16
        usual(seed, threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    monkeypatch.setattr("img2gps.runs.assembling.seed_everything", exact, raising=False)
    monkeypatch.setattr(loop, "seed_everything", exact)
    knobs = ("precision=fp32", "max_epochs=1", "trainer.limit_train_batches=1", "optimizer=sgd")
    first = weights(run(*knobs, "study=gpu").folder)
    second = weights(run(*knobs, "study=cpu", "trainer.accelerator=cpu").folder)
    for name, value in first.items():
        assert torch.allclose(value.cpu().float(), second[name].float(), atol=1e-4), name


@pytest.mark.parametrize("name", ["colour", "crop", "erase", "grayscale", "blur", "rotate"])
def test_photos_are_changed_as_on_the_cpu(name: str) -> None:
    config = tiny_config(f"augmentation={name}").augmentation
    images = torch.rand(5, 3, 40, 56, generator=torch.Generator().manual_seed(1)) * 255
    first, second = (
        augment(images.clone().to(device), config, torch.Generator().manual_seed(2)).cpu()
        for device in ("cpu", "cuda")
    )
    assert torch.allclose(first, second, atol=0.05)  # of 255


def test_photos_that_do_not_fit_on_the_gpu_come_from_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = run("study=there")
    monkeypatch.setattr(PixelStore, "move_to", lambda *_: None)
    assert_same_run(first.folder, run("study=here").folder)


def test_workers_that_share_the_gpu_train_as_one_alone() -> None:
    common = [*TINY, "lr=0.001,0.002,0.003", "hydra.sweeper.seeds=[0,1]"]
    for study, workers in (("alone", 1), ("three", 3)):
        command = [
            sys.executable, "-m", "img2gps.train", "-m", *common,
            f"study={study}", f"runs.root={study}", f"hydra.sweeper.workers={workers}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("3 workers share the GPU" in done.stderr + done.stdout) == (workers == 3)
    folders = sorted(path.parent for path in Path("alone").glob("*/*/result.json"))
    assert len(folders) == 6
    for folder in folders:
        assert_same_run(folder, Path("three", "three", folder.name))


@pytest.fixture
def little_memory() -> Iterator[None]:
    torch.cuda.set_per_process_memory_fraction(6e8 / torch.cuda.mem_get_info()[1])
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_too_little_memory_is_one_line_and_the_next_run_goes_on(little_memory: None) -> None:
    with pytest.raises(GpuFull, match=r"batch_size=36: .* has too little memory") as caught:
        run("model=resnet50", "batch_size=36", "image_size=224")
    assert "\n" not in str(caught.value)
    del caught
    run("study=small")


def test_a_compiled_run_ends() -> None:
    assert result(run("trainer.compile=true")).state == "finished"


def test_a_run_from_the_gpu_answers_without_one(quad_photos: Path) -> None:
    folder = run("precision=bf16").folder
    command = [
        sys.executable,
        "-m",
        "img2gps",
        "predict",
        "--json",
        "--run",
        str(folder),
        str(quad_photos),
    ]
    answers = [
        subprocess.run(
            command, env={**os.environ, "CUDA_VISIBLE_DEVICES": gpus}, check=True,
            capture_output=True, text=True,
        ).stdout
        for gpus in ("", "0")
    ]  # fmt: skip
    assert answers[0]
    assert answers[0] == answers[1]


def test_processes_talk_through_nccl_and_gloo(tmp_path: Path) -> None:
    team = Team(0, 1)
    with connected(team, tmp_path / "meeting", "gpu"):
        on_gpu, on_cpu = torch.ones(3, device="cuda"), torch.ones(3)
        dist.all_reduce(on_gpu)
        dist.all_reduce(on_cpu)
        torch.cuda.synchronize()
        assert on_gpu.tolist() == on_cpu.tolist() == [1, 1, 1]


def test_a_process_that_trains_by_nccl_alone_trains_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = run("study=usual")

    def with_nccl(config: Config, team: Team) -> TeamStrategy:
        return TeamStrategy(find_unused_parameters=False)

    monkeypatch.setattr(loop, "_strategy", with_nccl)
    with connected(Team(0, 1), tmp_path / "meeting", "gpu"):
        assert_same_run(usual.folder, run("study=nccl").folder)


def test_more_devices_than_gpus_are_refused() -> None:
    count = torch.cuda.device_count() + 1
    with pytest.raises(BadInput, match=f"trainer.devices={count}: .*GPU"):
        check_devices(tiny_config("trainer=ddp", f"trainer.devices={count}"))
