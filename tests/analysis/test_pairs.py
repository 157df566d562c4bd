"""Two cells of one study, and the winners of two, compared photo by photo."""

from __future__ import annotations

from dataclasses import replace

import pytest

from img2gps.analysis import pairs
from img2gps.analysis.collect import load_study
from img2gps.analysis.contrast import contrast
from img2gps.analysis.overview import Analysis, analyse
from img2gps.analysis.ranking import Cell, Ranking
from tests.conftest import ROOT

RESULTS = ROOT / "results"


def side(analysis: Analysis, ranking: Ranking, cell: Cell | None = None) -> pairs.Side:
    """A cell of a ranking as if it had won; by default the one that has."""
    cell = cell or ranking.winner
    runs = ranking.group.runs[ranking.group.runs["rank_cell"] == cell.cell]
    table = analysis.study.predictions
    return pairs.Side(replace(ranking, winner=cell), table[table["run"].isin(runs.index)])


@pytest.mark.parametrize("split", ["kfold", "place_kfold"])
def test_winners_of_two_studies_are_compared_as_two_cells_of_one(split: str) -> None:
    """Photos that were not drawn at random are alike over some distance in both."""
    analysis = analyse(load_study(RESULTS / "seneca_aerial", [RESULTS]))
    two = [r for r in analysis.rankings if r.winner.params["split"] == split]
    found = pairs.of_studies(*(side(analysis, ranking) for ranking in two))
    assert found is not None
    this, that = ({"model": str(ranking.winner.params["model"])} for ranking in two)
    within = contrast(analysis.study, this, that, {"split": split}).interval
    for name in ("estimate", "se_photos", "alike_m", "n_spots"):
        assert getattr(found.interval, name) == pytest.approx(getattr(within, name)), name
    assert found.interval.alike_m > 0
    assert found.interval.low == pytest.approx(within.low, rel=0.1)  # of another luck


def test_studies_at_two_image_sizes_share_their_photos() -> None:
    small, large = (
        analyse(load_study(RESULTS / name, [RESULTS])) for name in ("table1_64", "table1_112")
    )
    found = pairs.of_studies(*(side(a, a.rankings[0]) for a in (small, large)))
    assert found is not None
    assert found.photos == 60


def test_winners_that_no_seed_changes_have_no_luck() -> None:
    analysis = analyse(load_study(RESULTS / "frozen_penn", [RESULTS]))
    ranking = analysis.rankings[0]
    found = pairs.of_studies(*(side(analysis, ranking, cell) for cell in ranking.cells[:2]))
    assert found is not None
    assert found.interval.se_seeds == 0
    assert not any("seed" in note for note in found.interval.notes)


def test_studies_without_a_common_photo_are_not_compared() -> None:
    quad, campus = (
        analyse(load_study(RESULTS / name, [RESULTS])) for name in ("frozen_quad", "frozen_campus")
    )
    pair = (side(a, a.rankings[0]) for a in (quad, campus))
    assert pairs.of_studies(*pair) is None
