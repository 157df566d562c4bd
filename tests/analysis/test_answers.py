"""Runs whose answers cannot be read or compared are left out as a whole, and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import FakeStudy
from tests.helpers.small_study import A, load, run_folder, small

DAMAGES = {
    "infinite": ("error_m", "inf"),
    "no number": ("error_m", "far"),
    "missing": ("error_m", ""),
    "farther than any place on Earth": ("error_m", "1e200"),
    "negative": ("error_m", "-5.0"),
    "endless answer": ("pred_lat_deg", "inf"),
    "no position": ("lat_deg", ""),
    "no spot": ("spot", "here"),
    "no content": ("content", ""),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_with_a_damaged_answer_is_left_out_and_named(tmp_path: Path, damage: str) -> None:
    made = small(tmp_path)
    folder = run_folder(load(made), A, 0)
    table = pd.read_csv(folder / "predictions.csv", dtype=str, keep_default_na=False)
    column, value = DAMAGES[damage]
    table.loc[3, column] = value
    table.to_csv(folder / "predictions.csv", index=False)
    check_left_out(made, folder)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00" * 99,
        b"",
        b'"\n1,2\n',
        b"photo,content\na,b,c,d\n",
        b"photo,content\na,b\n",
        b"a,a\n1,2\n",
    ],
)
def test_a_run_whose_answers_are_no_table_is_left_out_and_named(
    tmp_path: Path, content: bytes
) -> None:
    made = small(tmp_path)
    folder = run_folder(load(made), A, 0)
    (folder / "predictions.csv").write_bytes(content)
    check_left_out(made, folder)


def test_a_row_with_too_many_fields_costs_its_own_run_only(tmp_path: Path) -> None:
    made = small(tmp_path)
    folder = run_folder(load(made), A, 0)
    whole = (folder / "predictions.csv").read_text()
    header, first, rest = whole.split("\n", 2)
    for row in (f"{first},", f"{first},x", f"1,2,3,{first}", f'"{first}"', first + first):
        (folder / "predictions.csv").write_text(f"{header}\n{row}\n{rest}")
        check_left_out(made, folder)


def test_a_run_that_lacks_photos_is_left_out_and_named(tmp_path: Path) -> None:
    made = small(tmp_path)
    folder = run_folder(load(made), A, 0)
    whole = (folder / "predictions.csv").read_text()
    rows = whole.splitlines(keepends=True)
    for text in ("".join(rows[:7]), whole[:-1], whole[:-70], whole + rows[1]):
        (folder / "predictions.csv").write_text(text)
        check_left_out(made, folder)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("column", ["heading_deg", "gps_error_m", "true_lat_deg", "known_spot"])
def test_an_infinite_value_that_no_comparison_needs_is_unknown(tmp_path: Path, column: str) -> None:
    made = small(tmp_path)
    path = run_folder(load(made), A, 0) / "predictions.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[3, column] = "inf"
    table.to_csv(path, index=False, encoding="utf-8-sig")
    study = load(made)
    own = study.predictions.query("cell == @A and seed == 0")
    assert own[column].isna().tolist()[3]
    assert study.notes == []
    assert not np.isnan(study.errors().error_m).any()


def check_left_out(made: FakeStudy, folder: Path) -> None:
    study = load(made)
    assert study.notes == [
        f"1 finished run without a readable predictions.csv, left out: {folder.name}; copy them "
        "from where the runs were made, or run them again with force=true"
    ]
    assert np.isnan(study.errors().error_m).any(axis=2).tolist() == [
        [True, False], [False, False], [False, False], [False, False],
    ]  # fmt: skip
