"""The model that a user means, and what to do where there is none."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from img2gps.core.errors import BadInput
from img2gps.inference.find import FINAL, MADE_BY, MODEL, find, newest, selected
from img2gps.runs.folder import CHECKPOINT, CONFIG
from img2gps.runs.records import RESULT, RunResult, StudyRecord, write_result, write_study
from img2gps.runs.states import RunState
from img2gps.runs.winner import Winner, write_winner
from tests.conftest import ROOT

PUBLISHED = ROOT / "results"


def study(
    root: Path, name: str, *, winner: bool = True, weights: bool = True, age: int = 0
) -> Path:
    """A study whose winner is run `<name>run`, as far as finding it goes."""
    folder = root / name / f"{name}run"
    folder.mkdir(parents=True)
    (folder / CONFIG).touch()
    if weights:
        (folder / CHECKPOINT).touch()
    write_study(root, StudyRecord(name))
    os.utime(root / name / "study.json", (1_000_000 - age, 1_000_000 - age))
    if winner:
        write_winner(root / name, Winner(name, path=f"{name}/{name}run", candidates=9))
    return folder


def test_study_means_its_winner_and_remembers_how_many_cells_it_beat(tmp_path: Path) -> None:
    folder = study(tmp_path, "mine")
    found = find("mine", [tmp_path])
    assert (found.folder, found.ranked_cells, found.exported) == (folder, 9, False)


def test_final_model_wins_over_the_winner(tmp_path: Path) -> None:
    study(tmp_path, "mine")
    final = tmp_path / "mine" / FINAL
    final.mkdir()
    (final / MODEL).touch()
    found = find("mine", [tmp_path])
    assert (found.folder, found.exported) == (final, True)


def test_final_model_of_an_earlier_selection_leaves_the_answer_to_the_winner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = study(tmp_path, "mine")
    final = tmp_path / "mine" / FINAL
    final.mkdir()
    (final / MODEL).touch()
    before = Winner("mine", path="mine/minerun", frozen_at="2020-01-01T00:00:00+00:00")
    write_winner(tmp_path / "mine", before)
    assert find("mine", [tmp_path]).folder == final
    write_winner(tmp_path / "mine", replace(before, frozen_at="2999-01-01T00:00:00+00:00"))
    assert find("mine", [tmp_path]).folder == folder
    assert (
        "final was made of an earlier selection, so the winner answers; img2gps fi" in caplog.text
    )
    assert selected([tmp_path]) == ["mine"]


def test_newest_study_that_can_answer_is_the_default(tmp_path: Path) -> None:
    study(tmp_path, "old", age=30)
    study(tmp_path, "new", age=10)
    study(tmp_path, "newer_unselected", winner=False)
    study(tmp_path, "newer_published", weights=False)
    assert selected([tmp_path]) == ["new", "old"]
    assert newest([tmp_path]) == "new"


def test_unselected_study_is_told_the_command(tmp_path: Path) -> None:
    study(tmp_path, "mine", winner=False)
    with pytest.raises(BadInput, match=r"mine: no winner .* run: img2gps select mine"):
        find("mine", [tmp_path])
    with pytest.raises(BadInput, match="such as: img2gps select mine"):
        newest([tmp_path])


def test_published_study_without_weights_is_told_how_to_train_its_winner() -> None:
    with pytest.raises(BadInput) as end:
        find("table1", [PUBLISHED])
    assert str(end.value).endswith(
        "has no weights; it was published without them, or last.ckpt was deleted "
        "(then add force=true); train it here with: "
        "python -m img2gps.train split.group_near_copies=false split.rule=1 study=table1 "
        "batch_size=32 weights=none"
    )


def test_weights_that_were_trained_here_serve_the_published_winner(tmp_path: Path) -> None:
    run = tmp_path / "table1" / "3dbc9540b1"
    shutil.copytree(PUBLISHED / "table1" / "3dbc9540b1", run)
    (run / CHECKPOINT).touch()
    assert find("table1", [tmp_path, PUBLISHED]).folder == run


def test_run_by_its_id(tmp_path: Path) -> None:
    folder = study(tmp_path, "mine", winner=False)
    assert find("minerun", [tmp_path]).folder == folder
    with pytest.raises(BadInput, match="nowhere: no such run"):
        find("nowhere", [tmp_path])


def test_run_by_its_study_and_id_or_as_the_only_one_of_a_name_that_is_no_study(
    tmp_path: Path,
) -> None:
    one = study(tmp_path, "mine")
    assert find("mine/minerun", [tmp_path]).folder == one
    alone = study(tmp_path, "alone", winner=False)
    (tmp_path / "alone" / "study.json").unlink()
    assert find("alone", [tmp_path]).folder == alone
    shutil.copytree(alone, tmp_path / "alone" / "second")
    with pytest.raises(BadInput, match=r"alone: several runs are called so .*alone/second.*; give"):
        find("alone", [tmp_path])


def test_newest_finished_run_is_the_default_where_there_is_no_study(tmp_path: Path) -> None:
    for age, (name, state) in enumerate(
        (("diverged", RunState.diverged), ("new", RunState.finished), ("old", RunState.finished))
    ):
        folder = study(tmp_path, name, winner=False)
        (folder.parent / "study.json").unlink()
        write_result(folder, RunResult(f"{name}run", name, state=state))
        os.utime(folder / RESULT, (1_000_000 - age, 1_000_000 - age))
    assert newest([tmp_path]) == str(tmp_path / "new" / "newrun")


def test_an_export_that_is_not_read_back_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "README.md").write_text(f"Run abc, {MADE_BY} 0.1.")
    with pytest.raises(BadInput, match="does not read back; export the model again with --format"):
        find(str(tmp_path / "onnx"), [tmp_path])
