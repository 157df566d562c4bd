"""A difference by which cells lose their mark is stated where cells have marks, not elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2gps.analysis.answer import sentences
from img2gps.report import build, tables
from img2gps.report.paper import numbers
from tests.conftest import ROOT
from tests.report.conftest import analysed

NAME = "smallest detectable difference"


@pytest.mark.parametrize(("seeds", "stated"), [((0,), False), ((0, 1), True)])
def test_with_one_seed_no_difference_is_said_to_cost_a_mark(
    tmp_path: Path, seeds: tuple[int, ...], stated: bool
) -> None:
    analysis = analysed(tmp_path, seeds=seeds)
    (ranking,) = analysis.rankings
    assert any(cell.in_best_set is not None for cell in ranking.cells) == stated
    assert (NAME in [row[0].text for row in tables.summary(ranking).rows]) == stated
    assert ("SmallestDifference" in numbers(analysis)) == stated
    assert ("show differences of about" in sentences(ranking)[2]) == stated


def test_photos_for_a_published_difference_need_no_marks() -> None:
    """They are counted for seeds that make no difference, so one seed is enough."""
    analysis = build.load("table1_64_one_seed", [ROOT / "results"])
    assert "PhotosNeeded" in numbers(analysis)
    assert "SmallestDifference" not in numbers(analysis)
