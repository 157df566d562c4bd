"""A checkpoint is there whole or not at all, also where the disk is full."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from img2gps.training.checkpoint import save


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_the_checkpoint_before_and_no_part_of_the_new_one(
    small_disk: Path,
) -> None:
    path = small_disk / "last.ckpt"
    save({"weights": torch.ones(10)}, path)
    with pytest.raises(OSError, match="No space left on device") as error:
        save({"weights": torch.zeros(10**6)}, path)
    assert error.value.errno == errno.ENOSPC
    assert [file.name for file in small_disk.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True)["weights"].sum() == 10
