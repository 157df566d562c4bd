"""`img2gps train runs.root=URL`: killed on one machine, a run ends alike on another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from img2gps.runs.folder import History
from img2gps.runs.store import StoreAway
from img2gps.train import run
from tests.helpers import object_store
from tests.helpers.studies import wait_for
from tests.helpers.tiny import TINY, tiny_config

pytestmark = pytest.mark.slow


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[object_store.ObjectStore]:
    found = object_store.opened(monkeypatch)
    yield found
    found.stop()


TRAINED = ("max_epochs=3", "trainer.limit_train_batches=4", "batch_size=8", "precision=fp32")


def train(machine: Path, cache: Path, root: str, *more: str) -> subprocess.Popen[str]:
    """Start a run as a user of this machine does."""
    machine.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "img2gps", "train", *TINY, *TRAINED, f"data.cache={cache}",
         f"runs.root={root}", *more],
        env={**os.environ, "IMG2GPS_CACHE": str(machine)}, cwd=machine, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run_below(folder: Path) -> Path:
    """The only run below a folder of runs."""
    (found,) = folder.glob("**/default/*/config.yaml")
    return found.parent


def test_a_run_killed_on_one_machine_ends_alike_on_another(
    workdir: Path, shared_cache: Path, store: object_store.ObjectStore
) -> None:
    expected = run(tiny_config(*TRAINED)).folder
    first = train(workdir / "first", shared_cache, store.url)
    wait_for(lambda: any("progress.tar" in name for name in store.names()))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = train(workdir / "second", shared_cache, store.url)
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert "going on after epoch" in said
    assert f"copied to {store.url}/default/{expected.name}" in said
    assert f"next: img2gps report default --runs {store.url} " in said
    assert object_store.SECRET not in said

    found = run_below(workdir / "second")
    assert found.name == expected.name
    assert (found / "predictions.csv").read_bytes() == (expected / "predictions.csv").read_bytes()
    of_both = [History(run / "history.csv").rows() for run in (found, expected)]
    for row in (row for rows in of_both for row in rows):
        del row["seconds"], row["train_seconds"]
    assert of_both[0] == of_both[1]
    weights = [torch.load(run / "last.ckpt")["state_dict"] for run in (found, expected)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


def test_a_store_that_refuses_is_named_before_anything_trains(
    workdir: Path, store: object_store.ObjectStore
) -> None:
    with pytest.raises(StoreAway, match=r"runs.root=s3://no-such-bucket/runs: .*does not exist"):
        run(tiny_config(*TRAINED, "runs.root=s3://no-such-bucket/runs"))
