"""The published studies: complete, readable, small, and each run what its id says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import fisher_exact

from img2gps.analysis import collect
from img2gps.config.compose import read_config
from img2gps.core.files import read_csv
from img2gps.runs.folder import CONFIG, HISTORY, read_config_plain
from img2gps.runs.names import run_id
from img2gps.runs.records import RESULT, read_result, read_study
from img2gps.study.hiding import Hider
from tests.conftest import ROOT

RESULTS = ROOT / "results"
STUDIES = sorted(path.parent for path in RESULTS.glob("*/study.json"))


def test_they_are_small_and_hold_no_weights() -> None:
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40e6  # what a clone may take for them
    assert {path.suffix for path in files} == {".json", ".csv", ".yaml"}


def test_their_tables_hold_no_digits_below_a_tenth_of_a_millimetre() -> None:
    tables = [path for path in RESULTS.glob("*/*/*.csv") if path.name != HISTORY]
    for path in tables:
        for row in read_csv(path)[1]:
            for column, value in row.items():
                if column.endswith(("_m", "_deg")):
                    assert len(value.partition(".")[2]) <= (4 if column.endswith("_m") else 9), path


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


def test_as_many_seeds_went_astray_with_a_one_photo_batch_as_the_study_says() -> None:
    counted = {}
    for name in ("last_batch_resnet50", "last_batch_224"):
        by_knob: dict[bool, list[float]] = {True: [], False: []}
        for run in read_study(RESULTS, name).runs:
            assert run.value is not None
            by_knob[run.params["drop_last"]].append(run.value)
        without, with_it = by_knob[True], by_knob[False]
        assert len(without) == len(with_it)
        assert max(without) <= min(with_it) + 15
        counted[name] = sum(value > max(without) + 15 for value in with_it), len(with_it)
    astray, seeds = map(sum, zip(*counted.values(), strict=True))
    chance = fisher_exact(np.array([[astray, seeds - astray], [0, seeds]])).pvalue
    assert counted["last_batch_resnet50"] == (3, 5)
    assert (astray, seeds) == (4, 8)
    text = (ROOT / "docs" / "study.md").read_text()
    assert text.count(f"Fisher's exact test, p = {chance:.2f}") == 2
    assert "Three of the five seeds with the step end more than 15 m above" in text
    assert text.count("four of eight") == 2
