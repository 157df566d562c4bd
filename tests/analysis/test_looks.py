"""Runs of all studies that were validated on the same photos are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2gps.analysis.collect import load_study
from img2gps.analysis.looks import Looks, looks
from img2gps.analysis.overview import analyse
from img2gps.cli.main import main
from img2gps.runs.records import RESULT
from img2gps.runs.winner import read_winner
from tests.helpers.fake_study import Options, make_study

TWO: dict[str, list[Any]] = {"lr": [0.001, 0.003]}
SIX: dict[str, list[Any]] = {"lr": [0.001, 0.003, 0.005], "batch_size": [8, 16]}


def study(root: Path, name: str, axes: dict[str, list[Any]], **options: Any) -> list[Path]:
    """Write a study of two seeds and return its run folders. Equal `n_val` means equal photos."""
    made = make_study(root, name, Options(axes=axes, seeds=(0, 1), epochs=1, **options))
    record = json.loads((made.folder / "study.json").read_text())
    for run in record["cells"]:
        path = root / run["path"] / RESULT
        result = json.loads(path.read_text())
        result["identity"] = {**run["params"], "seed": run["seed"], "split": {"val": name}}
        path.write_text(json.dumps(result))
    return [root / run["path"] for run in record["cells"]]


def test_runs_and_cells_on_the_same_photos_are_counted_over_studies_and_roots(
    tmp_path: Path,
) -> None:
    own = study(tmp_path / "runs", "mine", TWO)
    study(tmp_path / "runs", "other", SIX)
    study(tmp_path / "results", "published", {"lr": [0.1]})
    study(tmp_path / "runs", "elsewhere", SIX, n_val=33)
    found = looks(own, 2, "mine", [tmp_path / "runs", tmp_path / "results"])
    # Two of the six cells of the other study differ from the own ones in their batch size.
    assert found == Looks(
        runs=4 + 12 + 2, cells=2 + 6 + 1, own_cells=2, tried=2, others=("other", "published")
    )
    assert looks(own, 2, "mine", [tmp_path / "results"]).runs == 2


def test_a_published_copy_of_a_run_is_no_second_look(tmp_path: Path) -> None:
    own = study(tmp_path / "runs", "mine", TWO)
    study(tmp_path / "results", "mine", TWO)
    found = looks(own, 2, "mine", [tmp_path / "runs", tmp_path / "results"])
    assert found == Looks(runs=4, cells=2, own_cells=2, tried=2, others=())
    assert found.lines() == []


def test_a_run_that_has_not_finished_has_chosen_nothing(tmp_path: Path) -> None:
    own = study(tmp_path, "mine", TWO)
    study(tmp_path, "other", TWO, states={("lr=0.001", 0): ("diverged", "the loss is NaN")})
    assert looks(own, 2, "mine", [tmp_path]).runs == 4 + 3


def test_photos_of_any_fold_count(tmp_path: Path) -> None:
    folds: dict[str, list[Any]] = {"lr": [0.001], "split.fold": [0, 1, 2]}
    own = study(tmp_path, "mine", folds)
    study(tmp_path, "other", {"lr": [0.003], "split.fold": [0]})
    assert looks(own, 1, "mine", [tmp_path]).runs == 6 + 2


def test_looks_add_up_once_other_studies_have_more_cells() -> None:
    few = Looks(runs=30, cells=18, own_cells=9, tried=9, others=("a",))
    assert not few.add_up
    (line,) = few.lines()
    assert "30 runs of 18 cells" in line
    assert "1 other study" in line
    assert "this study's 9 cells only" in line
    many = replace(few, cells=154, others=("a", "b"))
    assert many.add_up
    assert "another split.seed" in many.lines()[1]
    assert "split.n_test" in many.lines()[1]
    assert not replace(many, others=()).add_up


def test_a_study_of_one_cell_is_told_of_the_others_in_one_sentence() -> None:
    (line,) = Looks(runs=225, cells=157, own_cells=1, tried=1, others=("a", "b")).lines()
    assert line.startswith("2 other studies validated on these photos, too (225 runs of 157 cells")
    assert "another split.seed" in line


def test_flattery_is_that_of_the_lowest_of_so_many_normal_draws() -> None:
    rng = np.random.default_rng(0)
    lowest = {n: rng.normal(size=(20_000, n)).min(axis=1).mean() for n in (9, 154)}
    found = Looks(runs=300, cells=154, own_cells=9, tried=9, others=("a",))
    assert found.flattery == pytest.approx(lowest[154] / lowest[9], rel=0.02)


def test_report_and_select_say_how_often_the_photos_have_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study(tmp_path / "runs", "mine", TWO)
    study(tmp_path / "results", "published", SIX)
    roots = [tmp_path / "runs", tmp_path / "results"]
    notes = analyse(load_study(tmp_path / "runs/mine", roots)).notes
    assert any("16 runs of 8 cells were validated on these photos" in note for note in notes)
    assert any("Looks add up: the lowest of 8 cells" in note for note in notes)
    with pytest.raises(SystemExit) as end:
        main(["select", "mine", "--runs", "runs"])
    assert not end.value.code
    assert "Looks add up: the lowest of 8 cells" in capsys.readouterr().out
    winner = read_winner(tmp_path / "runs/mine")
    assert winner is not None
    assert (winner.val_runs, winner.val_cells) == (16, 8)


def test_own_trials_that_were_not_confirmed_are_no_looks_of_others() -> None:
    found = Looks(runs=40, cells=31, own_cells=3, tried=30, others=("a",))
    assert not found.add_up
    assert found.flattery == pytest.approx(1.0, abs=0.02)
