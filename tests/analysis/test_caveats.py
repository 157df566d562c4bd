"""The note on runs that went astray names the figures that count on them, and no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from img2gps.analysis.caveats import astray
from img2gps.analysis.collect import load_study
from img2gps.analysis.errors import Errors
from img2gps.analysis.overview import analyse
from img2gps.analysis.study import Study
from tests.conftest import ROOT

RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def study() -> Study:
    """Two cells with five seeds; one run of the first cell got 381 m."""
    return load_study(RESULTS / "last_batch_resnet50", [RESULTS])


@pytest.fixture(scope="module")
def errors(study: Study) -> Errors:
    return study.errors()


def test_without_a_corrected_figure_only_the_intervals_count_on_it(errors: Errors) -> None:
    (note,) = astray(errors, np.zeros(2, dtype=bool))
    assert "corrected" not in note
    share = errors.strays.share[1]  # of the cell without such a run
    assert f"The upper ends of such cells' intervals therefore count on {share:.1%} of" in note


def test_a_corrected_figure_counts_on_the_shares_of_all_cells_that_were_chosen(
    errors: Errors,
) -> None:
    gone, clean = errors.strays.share
    (note,) = astray(errors, np.array([True, True]))
    assert "corrected figure and the upper ends of such cells' intervals therefore count" in note
    assert f"{clean:.1%} to {gone:.1%} of a cell's runs going astray" in note
    (note,) = astray(errors, np.array([False, True]))
    assert f"count on {clean:.1%} of a cell's runs going astray, with errors" in note


def test_where_the_only_cell_went_astray_nothing_counts_on_it(study: Study) -> None:
    runs = study.finished[study.finished["cell"] == "drop_last=false,lr=0.001"]
    (note,) = astray(study.errors(runs), np.zeros(1, dtype=bool))
    assert note.endswith("with seed 1 (381.5 m).")


def test_no_share_is_said_of_cells_that_no_seed_changes(errors: Errors) -> None:
    solved = replace(errors, solved=np.array([False, True]))
    assert solved.strays.share[1] == 0
    (note,) = astray(solved, np.array([False, True]))
    assert note.endswith("with seed 1 (381.5 m).")


def test_a_ranking_says_what_its_corrected_figure_counts_on(study: Study) -> None:
    (ranking,) = analyse(study).rankings
    (note,) = [note for note in ranking.notes if "astray" in note]
    assert ranking.winner.cell == "drop_last=true,lr=0.001"
    assert "The winner's corrected figure and the upper ends" in note
