"""A run is decided before it trains: what it cannot have is refused, and its id says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from img2gps.core.errors import BadInput
from img2gps.runs.plan import check_machine, plan
from tests.helpers.tiny import config as composed
from tests.helpers.tiny import tiny_config


def test_accelerator_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("gpu", "cuda", "mps"):
        with pytest.raises(BadInput, match=f"accelerator={name}: torch finds none here; leave it"):
            check_machine(tiny_config(f"trainer.accelerator={name}"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_machine(tiny_config("trainer.accelerator=gpu"))


def test_runs_root_that_is_a_file_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadInput, match=rf"^runs.root={file}/runs: {file} is no folder that you"):
        plan(tiny_config(f"runs.root={file}/runs"))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    missing = composed("data=photos", f"data.root={tmp_path / 'nowhere'}", "weights=none")
    with pytest.raises(BadInput, match=r"nowhere: no such file or folder; give data.root=PATH"):
        plan(missing)
