"""Workers on a machine with GPUs: each gets one, and what CUDA_VISIBLE_DEVICES says is kept."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from img2gps.study import pool as pools
from img2gps.study.pool import Pool
from tests.helpers.studies import fake_spec


class Child:
    """A process that never ends."""

    pid = 1

    def __init__(self, _: list[str], env: dict[str, str], **__: Any) -> None:
        self.env = env


def gpus_of_workers(
    workers: int, count: int, given: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str | None], str]:
    """CUDA_VISIBLE_DEVICES of each worker on a machine with `count` GPUs, and the pool's note."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(subprocess, "Popen", Child)
    monkeypatch.setattr(pools, "identity", lambda pid: {"pid": pid})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    spec = fake_spec(folder, {"lr": [0.1]})
    (folder / spec.name).mkdir(exist_ok=True)
    pool = Pool(spec, "unused", workers)
    pool.fill(waiting=workers, running=0)
    found = [child.env.get("CUDA_VISIBLE_DEVICES") for child, _ in pool._children.values()]  # type: ignore[attr-defined]
    return found, pool.note


@pytest.mark.parametrize(
    ("workers", "count", "given", "expected"),
    [
        (2, 0, None, [None, None]),
        (2, 0, "", ["", ""]),  # the user hides all GPUs
        (2, 0, "-1", ["-1", "-1"]),
        (1, 4, None, ["0"]),
        (3, 4, None, ["0", "1", "2"]),
        (2, 2, "3,1", ["3", "1"]),
        (2, 2, "GPU-8932f937, MIG-a1", ["GPU-8932f937", "MIG-a1"]),
        (2, 1, "0,7", ["0", "0"]),  # CUDA finds one of the two
        (5, 2, None, ["0", "1", "0", "1", "0"]),
    ],
)
def test_each_worker_gets_a_gpu_of_those_that_may_be_used(
    workers: int,
    count: int,
    given: str | None,
    expected: list[str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gpus_of_workers(workers, count, given, tmp_path, monkeypatch)[0] == expected


@pytest.mark.parametrize(
    ("workers", "count", "note"),
    [
        (2, 2, ""),
        (3, 0, ""),
        (3, 1, "note: 3 workers share the GPU"),
        (5, 2, "note: 5 workers share 2 GPUs, up to 3 workers each"),
    ],
)
def test_workers_that_share_a_gpu_are_told(
    workers: int, count: int, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = gpus_of_workers(workers, count, None, tmp_path, monkeypatch)[1]
    assert said.startswith(note)
    assert bool(said) == bool(note)
    assert not said or f"hydra.sweeper.workers={count}" in said


def test_a_worker_that_replaces_another_gets_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpus_of_workers(2, 2, None, tmp_path, monkeypatch)
    pool = Pool(fake_spec(tmp_path, {"lr": [0.1]}), "unused", 2)
    pool.fill(waiting=2, running=0)
    del pool._children[1]
    pool.fill(waiting=2, running=1)
    assert pool._children[1][0].env["CUDA_VISIBLE_DEVICES"] == "1"  # type: ignore[attr-defined]
