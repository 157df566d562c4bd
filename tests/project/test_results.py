"""The published studies: complete, readable, small, and each run what its id says."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2gps.analysis import collect
from img2gps.config.compose import read_config
from img2gps.runs.folder import CONFIG, read_config_plain, run_id
from img2gps.runs.records import RESULT, read_result, read_study
from img2gps.study.hiding import Hider
from tests.conftest import ROOT

RESULTS = ROOT / "results"
STUDIES = sorted(path.parent for path in RESULTS.glob("*/study.json"))


def test_they_are_small_and_hold_no_weights() -> None:
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40e6  # what a clone may take for them
    assert {path.suffix for path in files} == {".json", ".csv", ".yaml"}


@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)
def test_no_file_names_a_path(folder: Path) -> None:
    study = read_study(RESULTS, folder.name)
    hider = Hider.of(study, moved=False)
    assert hider.study(study) == study
    for path in folder.glob(f"*/{RESULT}"):
        result = read_result(path.parent)
        assert result is not None
        assert hider.result(result) == result
        config = read_config_plain(path.parent)
        assert hider.config(config) == config


@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)
def test_every_run_is_readable_and_is_what_its_id_says(folder: Path) -> None:
    study = collect.load_study(folder, [RESULTS])
    assert study.counts().get("missing") is None
    for path in folder.glob(f"*/{RESULT}"):
        result = read_result(path.parent)
        assert result is not None
        assert run_id(result.identity) == result.run_id == path.parent.name
        saved = read_config(path.parent / CONFIG)
        assert (saved.data.root, saved.data.cache, saved.runs.root) == (None, None, "runs")
        assert saved.lr == result.swept["lr"]
