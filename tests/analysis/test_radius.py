"""Radii hold the stated share of photos of other spots."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2gps.analysis.radius import Scores, coverage, scores
from img2gps.runs.records import read_study
from tests.conftest import ROOT


def test_one_photo_a_spot_is_the_usual_conformal_quantile() -> None:
    rng = np.random.default_rng(0)
    errors = rng.gamma(2.0, 20.0, 59)
    found = scores(errors, np.arange(59)).quantile(0.9)
    assert found == np.sort(errors)[math.ceil(0.9 * 60) - 1]  # the 54th of 59 and one to come


def test_a_spot_counts_once_whatever_its_number_of_photos() -> None:
    spot = [0] * 1000 + list(range(1, 20))
    errors = [1.0] * 1000 + [float(10 + i) for i in range(19)]
    # 20 spots weigh 1/21 each; the large one alone is at 1 m
    assert scores(errors, spot).quantile(0.5) == 19.0


@given(st.integers(1, 30), st.floats(0.05, 0.95))
def test_too_few_spots_give_no_radius(n_spots: int, level: float) -> None:
    found = scores(np.arange(n_spots, dtype=float), np.arange(n_spots)).quantile(level)
    assert math.isfinite(found) == (n_spots / (n_spots + 1) >= level - 1e-12)


def test_new_spots_are_covered_as_stated() -> None:
    rng = np.random.default_rng(1)

    def photos(n_spots: int) -> tuple[np.ndarray, np.ndarray]:
        size = rng.integers(1, 6, n_spots)
        spot = np.repeat(np.arange(n_spots), size)
        hardness = rng.lognormal(3.5, 0.6, n_spots)  # shared by the photos of a spot
        return hardness[spot] * rng.lognormal(0, 0.3, len(spot)), spot

    shares = []
    for _ in range(400):
        radius_m = scores(*photos(40)).quantile(0.9)
        errors, spot = photos(1)
        shares.append(coverage(errors, radius_m, spot).share)
    standard_error = float(np.std(shares)) / math.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(0.91, abs=0.02 + 2 * standard_error)


@pytest.mark.parametrize("study", ["penn_quad", "seneca_aerial"])
@pytest.mark.parametrize("split", ["kfold", "place_kfold"])
def test_radius_of_real_photos_holds_on_folds_that_did_not_calibrate_it(
    study: str, split: str
) -> None:
    """Figures of docs/use-the-winner.md; the standard error of a share is 3 (penn) or 2 points."""
    shares = []
    for tables in published_folds(study, split):
        for fold, held_out in tables.items():
            others = pd.concat([table for i, table in tables.items() if i != fold])
            radius_m = scores(others["error_m"], others["spot"]).quantile(0.9)
            shares += (held_out["error_m"] <= radius_m).tolist()
    page = (ROOT / "docs" / "use-the-winner.md").read_text()
    told = re.search(rf"\| {study}, {split} \| ([\d.]+) % of (\d+) \|", page)
    assert told is not None
    assert (float(told[1]), int(told[2])) == (round(100 * float(np.mean(shares)), 1), len(shares))
    assert 0.87 <= np.mean(shares) <= 0.95


def published_folds(study: str, split: str) -> list[dict[int, pd.DataFrame]]:
    """The predictions of each cell and seed of a published study, by fold."""
    found: dict[tuple[str, int], dict[int, pd.DataFrame]] = {}
    for run in read_study(ROOT / "results", study).runs:
        if run.params["split"] == split:
            key = str(run.params["model"]), run.seed
            table = pd.read_csv(run.folder(ROOT / "results") / "predictions.csv")
            found.setdefault(key, {})[run.params["split.fold"]] = table
    return list(found.values())


@pytest.mark.parametrize("spots", [9, 19, 49, 99])
def test_weights_in_single_precision_give_the_same_radius(spots: int) -> None:
    errors = np.arange(1.0, spots + 1)
    known = scores(errors, np.arange(spots))
    stored = Scores(known.values, np.asarray(known.weights, dtype=np.float32).tolist())
    for level in (0.5, 0.8, 0.9):
        assert stored.quantile(level, rounding=1e-6) == known.quantile(level)
