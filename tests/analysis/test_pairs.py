"""Two cells of one study, and the winners of two, compared photo by photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from img2gps.analysis import pairs, stats
from img2gps.analysis.collect import load_study
from img2gps.analysis.contrast import contrast
from img2gps.analysis.overview import analyse
from img2gps.analysis.ranking import Ranking
from img2gps.runs.confirm import Confirmation
from tests.conftest import ROOT
from tests.helpers.fake_study import Options, make_study

RESULTS = ROOT / "results"


def first_ranking(study: str) -> Ranking:
    """The first ranking of a published study."""
    return analyse(load_study(RESULTS / study, [RESULTS])).rankings[0]


@pytest.mark.parametrize("split", ["kfold", "place_kfold"])
def test_winners_of_two_studies_are_compared_as_two_cells_of_one(split: str) -> None:
    """Photos that were not drawn at random are alike over some distance in both."""
    analysis = analyse(load_study(RESULTS / "seneca_aerial", [RESULTS]))
    two = [r for r in analysis.rankings if r.winner.params["split"] == split]
    found = pairs.of_studies(*two)
    assert found is not None
    this, that = ({"model": str(ranking.winner.params["model"])} for ranking in two)
    within = contrast(analysis.study, this, that, {"split": split}).interval
    for name in ("estimate", "se_photos", "alike_m", "n_spots"):
        assert getattr(found.interval, name) == pytest.approx(getattr(within, name)), name
    assert found.interval.alike_m > 0
    assert found.interval.low == pytest.approx(within.low, rel=0.1)  # of another luck


def test_studies_at_two_image_sizes_share_their_photos() -> None:
    found = pairs.of_studies(*(first_ranking(name) for name in ("table1_64", "table1_112")))
    assert found is not None
    assert found.photos == 60


def test_winners_that_no_seed_changes_have_no_luck() -> None:
    ranking = first_ranking("frozen_penn")
    found = pairs.of_studies(*(replace(ranking, winner=cell) for cell in ranking.cells[:2]))
    assert found is not None
    assert found.interval.se_seeds == 0
    assert not any("seed" in note for note in found.interval.notes)


def test_the_luck_that_makes_the_interval_wider_counts_even_if_it_is_smaller() -> None:
    """A smaller luck that is less certain reaches further between single runs."""
    two = [first_ranking(name) for name in ("table1_64_one_seed", "quad_112")]
    sure, unsure = stats.Luck(0.034, 40.0, 0.04, 9), stats.Luck(0.032, 2.0)

    def width(*lucks: stats.Luck) -> float:
        for ranking, luck in zip(two, lucks, strict=True):
            ranking.errors.__dict__["luck"] = luck  # in place of the cached one
        found = pairs.of_studies(*two)
        assert found is not None
        return found.interval.high - found.interval.low

    assert width(sure, unsure) == width(unsure, sure) == width(unsure, unsure)
    assert width(unsure, unsure) > 1.02 * width(sure, sure)


def test_studies_without_a_common_photo_are_not_compared() -> None:
    pair = (first_ranking(name) for name in ("frozen_quad", "frozen_campus"))
    assert pairs.of_studies(*pair) is None


def test_a_confirmed_cell_is_compared_by_its_fresh_seeds_alone(tmp_path: Path) -> None:
    make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.002]}, seeds=(0, 1, 2), epochs=2))
    study = load_study(tmp_path / "s", [tmp_path])
    confirmed = Confirmation(study.cells, [1, 2])
    study = replace(study, record=replace(study.record, confirmation=confirmed))
    (ranking,) = analyse(study).rankings
    found = pairs.of_cells(ranking.errors, study.cells)
    fresh = study.finished.query("seed > 0").groupby("rank_cell", sort=False)["value"].mean()
    assert found.n_seeds == 2
    assert found.estimate == pytest.approx(fresh.iloc[0] - fresh.iloc[1], abs=1e-3)
