"""With one cell that may win nothing was selected here, so no corrected figure is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2gps.analysis.answer import sentences
from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import Analysis, analyse
from img2gps.analysis.scene import scene_of
from img2gps.report import several, tables
from img2gps.report.figures import studies
from img2gps.report.methods import methods
from img2gps.report.paper import numbers
from img2gps.report.radius_table import radius_tables
from tests.helpers.searches import BEST, RATES, confirmed

SELECTED = ("CorrectedRmse", "CorrectedLow", "CorrectedHigh", "Optimism", "WinnerChosenPercent")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A search of four cells of which one was run again."""
    root = tmp_path_factory.mktemp("runs")
    return analyse(load_study(confirmed(root, best=BEST[:1]), [root]))


def test_no_table_figure_or_number_shows_a_corrected_figure(one: Analysis, tmp_path: Path) -> None:
    (ranking,) = one.rankings
    assert (ranking.candidates, len(ranking.cells)) == (1, len(RATES))
    assert not scene_of(one, ranking).expected
    assert not set(SELECTED) & numbers(one).keys()
    (row,) = tables.comparison([one]).rows
    assert row[4].text == "-"
    chosen = tables.cells(ranking)
    place = chosen.header.index("chosen")
    assert {line[place].text for line in chosen.rows[:-1]} == {"-"}
    page = several.page_of([one], tmp_path)
    assert all(studies.CORRECTED not in str(f.chart.to_dict()) for f in page.figures)
    assert "is corrected for having been selected" not in methods(one)


def test_the_text_says_that_one_cell_was_confirmed_of_those_that_were_tried(one: Analysis) -> None:
    (ranking,) = one.rankings
    answer = sentences(ranking)
    assert "only one cell was confirmed, so nothing was compared" in answer[2]
    assert "corrected" not in answer[1]
    (note,) = [note for note in ranking.notes if "searched by tpe" in note]
    assert "no figure is corrected for the selection" in note
    assert "holds for" not in note
    assert "The cell with the best figure ran again" in methods(one)


@pytest.mark.parametrize("best", [BEST, BEST[:1]])
def test_the_radius_counts_the_cells_that_a_search_has_tried(
    tmp_path: Path, best: tuple[str, ...]
) -> None:
    (ranking,) = analyse(load_study(confirmed(tmp_path, best=best), [tmp_path])).rankings
    (table,) = radius_tables(ranking.radius)
    assert f"also chose among {len(RATES)} cells" in table.warnings[0]


def test_several_candidates_have_the_numbers_of_a_selection(tmp_path: Path) -> None:
    analysis = analyse(load_study(confirmed(tmp_path), [tmp_path]))
    assert set(SELECTED) <= numbers(analysis).keys()
