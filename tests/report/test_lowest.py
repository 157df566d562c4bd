"""The lowest cell is called the lowest only of those that may win, where a lower one is shown."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from img2gps.analysis.answer import sentences
from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import Analysis, analyse
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.scene import scene_of
from img2gps.report import several, tables
from img2gps.report.figures.choose import ranking_of_cells
from img2gps.runs.race import Drop, Look, RaceRecord
from tests.helpers.fake_study import Options, make_study
from tests.helpers.searches import BEST, confirmed

RATES = (0.001, 0.003, 0.005)
FAR = {0.001: 45.0, 0.003: 60.0, 0.005: 75.0}  # RMSE in metres


def grid(root: Path, lost: str = "", kept: tuple[str, ...] = ()) -> Ranking:
    """A grid in which one cell lacks a seed, or a race that has kept some cells."""
    options = Options(
        axes={"lr": RATES},
        epochs=2,
        effect=lambda params: FAR[params["lr"]],
        states={(lost, 2): ("failed", "boom")} if lost else {},
    )
    made = make_study(root, "s", options)
    if kept:
        path = made.folder / "study.json"
        facts = json.loads(path.read_text())
        out = [Drop(cell, "worse") for cell in made.true_rmse_m if cell not in kept]
        look = Look(1, {}, {}, out, list(kept), [], 3, end="no more seeds")
        facts |= {"kind": "race", "race": asdict(RaceRecord(looks=[look]))}
        path.write_text(json.dumps(facts))
    (ranking,) = analyse(load_study(made.folder, [root])).rankings
    return ranking


def search(root: Path, lowest_m: float) -> Ranking:
    """A search with an unconfirmed cell of this RMSE."""
    folder = confirmed(root, rmse_m={0.003: 55.0, 0.001: 78.0, 0.004: lowest_m})
    (ranking,) = analyse(load_study(folder, [root])).rankings
    return ranking


def said(ranking: Ranking) -> str:
    """All that the answer, the tables and the figure say of a ranking, in one text."""
    analysis = Analysis(ranking.study, [ranking], [], [])
    shown = [table.markdown() for table in tables.study_tables(analysis)]
    figure = ranking_of_cells(scene_of(analysis, ranking))
    assert figure is not None
    return "\n".join([*sentences(ranking), *shown, figure.title, str(figure.chart.to_dict())])


def beside_others(ranking: Ranking) -> str:
    """What the comparison of several studies says of this one's winner."""
    scene = scene_of(Analysis(ranking.study, [ranking], [], []), ranking)
    return several.answer([several.Winner("s", ranking, scene)], [])[0]


CONFIRMED, WHOLE, RACED = (
    "the confirmed cells",
    "the cells with all their seeds",
    "the cells left in the race",
)


@pytest.mark.parametrize("which", [CONFIRMED, WHOLE, RACED])
def test_where_a_cell_that_may_not_win_is_lower_the_text_says_of_which_cells_the_winner_is_lowest(
    tmp_path: Path, which: str
) -> None:
    ranking = {
        CONFIRMED: lambda: search(tmp_path, 30.0),
        WHOLE: lambda: grid(tmp_path, lost="lr=0.001"),
        RACED: lambda: grid(tmp_path, kept=("lr=0.003", "lr=0.005")),
    }[which]()
    lower = min(cell.interval.estimate for cell in ranking.cells)
    assert lower < ranking.winner.interval.estimate
    first, second, *_ = sentences(ranking)
    assert f"the lowest of {which} gets" in first
    assert second.startswith(f"Lowest validation RMSE of {which}: ")
    text = said(ranking)
    assert f"| lowest validation RMSE of {which} |" in text
    assert f"bold: the lowest of {which}; its expected error" in text
    assert f"in which the cell has the lowest RMSE of {which}." in text
    assert f"Lowest of {which}: " in text
    assert beside_others(ranking).endswith(f"; the lowest of {which}).")
    for false in ("Lowest validation RMSE:", "lowest validation RMSE |", "lowest of this ranking"):
        assert false not in text


def test_a_mark_says_from_which_lowest_cell_another_is_indistinguishable(tmp_path: Path) -> None:
    folder = confirmed(tmp_path, rmse_m={0.003: 60.0, 0.001: 60.0, 0.004: 30.0})
    (ranking,) = analyse(load_study(folder, [tmp_path])).rankings
    assert sum(bool(cell.in_best_set) for cell in ranking.cells) == len(BEST)
    text = said(ranking)
    assert "not distinguishable from the lowest of the confirmed cells (model" in text
    assert "'not distinguishable from the lowest of the confirmed cells'" in text  # the figure


@pytest.mark.parametrize("kind", ["search", "grid"])
def test_where_no_lower_cell_is_shown_the_winner_is_the_lowest(tmp_path: Path, kind: str) -> None:
    ranking = search(tmp_path, 80.0) if kind == "search" else grid(tmp_path, lost="lr=0.005")
    assert ranking.candidates < len(ranking.cells)
    assert ranking.among == ""
    assert sentences(ranking)[1].startswith("Lowest validation RMSE: ")
    assert "bold: the lowest of this ranking; its expected error" in said(ranking)


def test_confirmed_cells_that_lack_a_fresh_seed_are_told_from_those_that_have_all(
    tmp_path: Path,
) -> None:
    folder = confirmed(tmp_path, {(BEST[0], 2): ("failed", "boom")})
    (ranking,) = analyse(load_study(folder, [tmp_path])).rankings
    assert ranking.winner.cell == BEST[1]
    assert ranking.among == " of the confirmed cells with all their seeds"
    assert "only one cell has all its seeds" in sentences(ranking)[2]


def test_the_last_cell_of_a_race_is_not_said_to_be_the_only_one_with_all_its_seeds(
    tmp_path: Path,
) -> None:
    ranking = grid(tmp_path, kept=("lr=0.003",))
    assert "How sure: only one cell is left in the race" in sentences(ranking)[2]
    assert ranking.tried == len(RATES)


@pytest.mark.parametrize(
    ("best_m", "title"),
    [
        ({0.003: 78.0, 0.001: 78.2}, "The 2 cells that may win cannot be told apart"),
        ({0.003: 55.0, 0.001: 95.0}, ", told apart from all others"),
    ],
)
def test_the_ranking_s_title_counts_cells_that_may_win(
    tmp_path: Path, best_m: dict[float, float], title: str
) -> None:
    folder = confirmed(tmp_path, rmse_m={**best_m, 0.004: 50.0})
    analysis = analyse(load_study(folder, [tmp_path]))
    figure = ranking_of_cells(scene_of(analysis, analysis.rankings[0]))
    assert figure is not None
    assert figure.title.endswith(title)


def test_the_lowest_of_some_confirmed_cells_is_not_called_the_lowest(tmp_path: Path) -> None:
    best = ("lr=0.001", "lr=0.002", "lr=0.003")
    rmse_m = {0.001: 70.0, 0.002: 70.5, 0.003: 110.0, 0.004: 50.0}
    analysis = analyse(load_study(confirmed(tmp_path, best=best, rmse_m=rmse_m), [tmp_path]))
    figure = ranking_of_cells(scene_of(analysis, analysis.rankings[0]))
    assert figure is not None
    told = "2 of 3 cells that may win, the lowest of the confirmed cells included, cannot be told"
    assert figure.title.startswith(told)
