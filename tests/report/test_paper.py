"""The paper pack: every number with its command, and files where they belong."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from img2gps.analysis import collect
from img2gps.analysis.overview import Analysis, analyse
from img2gps.report import paper, tables
from tests.report.conftest import WINNER, analysed


def test_numbers_have_the_test_figures_of_known_and_of_new_spots(tmp_path: Path) -> None:
    study = analysed(tmp_path, n_test=30, seeds=(0, 1)).study
    finished = study.finished
    winner = finished[(finished["cell"] == WINNER) & (finished["seed"] == 0)]
    run = winner["folder"].item()
    test = pd.read_csv(Path(run) / "predictions_test.csv")
    test["known_spot"] = (np.arange(len(test)) % 3 > 0).astype(int)
    test.to_csv(Path(run) / "predictions_test.csv", index=False)
    found = paper.numbers(analyse(collect.load_study(study.folder, [tmp_path])))
    for name, known in (("Known", 1), ("New", 0)):
        errors = test.loc[test["known_spot"] == known, "error_m"]
        assert found[f"Test{name}SpotsRmse"] == f"{np.sqrt(np.mean(errors**2)):.1f}"


def test_the_pack_holds_every_table_and_a_command_for_every_number(table1: Analysis) -> None:
    files = paper.pack(table1)
    for table in tables.study_tables(table1):
        for suffix in ("md", "tex", "csv", "html"):
            assert files[f"tables/{table.key}.{suffix}"]
        assert rf"\input{{tables/{table.key}.tex}}" in files["paper.tex"]
    found = re.findall(r"\\newcommand\{\\([^}]*)\}\{([^}]*)\}", files["numbers.tex"])
    names = dict(found)
    assert len(names) == len(found) == files["numbers.tex"].count("\n")
    assert all(re.fullmatch("[A-Za-z]+", name) for name in names)
    (ranking,) = table1.rankings
    assert names["igpsWinnerRmse"] == f"{ranking.winner.interval.estimate:.1f}"
    assert names["igpsCorrectedRmse"] == f"{ranking.corrected.corrected:.1f}"
    assert names["igpsMeanPredictorRmse"] == f"{ranking.mean_predictor.estimate:.1f}"
    assert names["igpsRuns"] == "54"
    assert names["igpsRunsFailed"] == "3"


def test_every_ranking_has_its_numbers_however_many_there_are(table1: Analysis) -> None:
    found = paper.numbers(replace(table1, rankings=table1.rankings[:1] * 10))
    prefixes = {name.removesuffix("WinnerRmse") for name in found if name.endswith("WinnerRmse")}
    assert len(prefixes) == 10
    assert {"", "RankingTwo", "RankingEight", "RankingNine", "RankingOneZero"} <= prefixes


def test_the_pack_tells_methods_and_exact_commands(table1: Analysis) -> None:
    files = paper.pack(table1)
    text = files["methods.txt"]
    for part in (
        "681 training, 60 validation",
        "started from ImageNet weights",
        "for 2 epochs",
        "54 runs (50 finished, 1 diverged, 3 failed)",
        "Tsamardinos",
        "commit 0123abc",
    ):
        assert part in text
    script = files["commands.sh"]
    assert "\npython -m img2gps.train -m sweeps=table1\n" in script
    assert "sweeps=table1 model=resnet18 lr=0.001 batch_size=16" in script
    assert "img2gps report table1" in script


def test_cells_csv_is_a_tidy_table_of_the_ranking(table1: Analysis) -> None:
    found = pd.read_csv(io.StringIO(paper.pack(table1)["cells.csv"]))
    (ranking,) = table1.rankings
    assert list(found["cell"]) == [cell.cell for cell in ranking.cells]
    assert found["rmse_m"].to_numpy() == pytest.approx(
        [cell.interval.estimate for cell in ranking.cells]
    )
    assert {"low_m", "high_m", "in_best_set", "beats_mean", "win_share"} <= set(found)


def test_writing_puts_every_file_where_it_belongs(tmp_path: Path) -> None:
    written = paper.write(tmp_path / "out", {"a.txt": "ä\n", "tables/b.csv": "1,2\n"})
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == [
        "a.txt",
        "tables/b.csv",
    ]
    assert (tmp_path / "out" / "a.txt").read_text(encoding="utf-8") == "ä\n"


def test_cells_with_a_mark_are_counted_only_where_marks_were_given(
    table1: Analysis, tmp_path: Path
) -> None:
    counts = {"BestSetCells", "CellsNotShownToBeatMean"}
    assert counts <= set(paper.numbers(table1))
    axes = {"lr": [0.001, 0.003]}
    assert not counts & set(paper.numbers(analysed(tmp_path, axes=axes, seeds=(0,))))
