"""The report says how far off an answer may be, and whether that held on the test part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from img2gps.analysis.radius import Promise, promise
from img2gps.report import build
from img2gps.report.radius_table import radius_tables
from tests.conftest import ROOT

RESULTS = ROOT / "results"


def test_radius_and_coverage_of_a_published_study() -> None:
    study = build.load("table1", [RESULTS])
    (table,) = radius_tables(study.rankings[0].radius)
    run = RESULTS / "table1" / "3dbc9540b1"
    validation = pd.read_csv(run / "predictions.csv")
    tested = pd.read_csv(run / "predictions_test.csv")
    # By hand: each of the 41 spots weighs 1/42, divided among its photos.
    size = validation.groupby("spot")["error_m"].transform("size")
    ordered = validation.assign(weight=1 / 42 / size).sort_values("error_m")
    expected = ordered["error_m"][ordered["weight"].cumsum() >= 0.9].iloc[0]
    numbers = [row[1].number for row in table.rows]
    assert numbers[0] == pytest.approx(expected)
    mean = validation.assign(weight=1 / 42 / size).sort_values("mean_error_m")
    constant = mean["mean_error_m"][mean["weight"].cumsum() >= 0.9].iloc[0]
    assert numbers.pop(1) == pytest.approx(constant)
    inside = tested["error_m"] <= expected
    known = tested["known_spot"] == 1
    shares = [inside.mean(), inside[known].mean(), inside[~known].mean()]
    assert numbers[1:] == pytest.approx(shares)
    assert "chose among 9 cells" in table.warnings[0]


def test_too_few_spots_have_no_table() -> None:
    assert radius_tables(promise([1.0, 2.0], [1.0, 2.0], [0, 1], 1)) == []


def test_coverage_that_nobody_measured_is_said() -> None:
    found = promise(np.arange(1.0, 21.0), np.arange(2.0, 22.0), np.arange(20), 1)
    assert isinstance(found, Promise)
    (table,) = radius_tables(found)
    assert len(table.rows) == 2
    assert table.warnings == ["Its coverage is not measured: nobody has looked at a test part."]


def test_fit_of_a_density_stands_below_the_radius() -> None:
    found = promise(np.arange(1.0, 21.0), np.arange(2.0, 22.0), np.arange(20), 1)
    fit = {"val/nll": 9.123, "val/coverage_50": 0.48, "val/coverage_90": 0.875}
    (table,) = radius_tables(found, fit)
    values = [(row[1].text, row[1].number) for row in table.rows[2:]]
    assert values == [("9.12", 9.123), ("48.0%", 0.48), ("87.5%", 0.875)]
