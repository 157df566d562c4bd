"""What a study file declares for its report."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from img2gps.analysis.declared import Reference, figures
from img2gps.core.errors import BadInput
from tests.conftest import ROOT

PLAIN: dict[str, Any] = {
    "label": "theirs",
    "source": "a paper",
    "cells": [
        {"model": "resnet18", "lr": 0.001, "rmse_m": 60},
        {"model": "resnet18", "lr": 0.003, "rmse_m": 70.5},
    ],
}


def sweeper(name: str) -> dict[str, Any]:
    plain = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = plain["hydra"]["sweeper"]
    return found


def test_a_published_cell_is_found_by_what_the_study_varies_and_what_it_does_not() -> None:
    reference = Reference.from_dict(PLAIN)
    assert reference is not None
    run = {"model": "resnet18", "lr": 0.5, "batch_size": 16}
    assert reference.rmse_m({"lr": 0.001}, run) == 60.0
    assert reference.rmse_m({"model": "resnet18", "lr": "0.0030"}, {}) == 70.5
    assert reference.rmse_m({"lr": 0.002}, run) is None
    assert reference.rmse_m({"lr": 0.001}, {"model": "resnet50"}) is None
    assert reference.rmse_m({"lr": 0.001}, {}) is None  # the model is not known
    assert reference.rmse_m({"lr": 0.001, "batch_size": 16}, run) is None
    assert reference.mean_predictor is None


@pytest.mark.parametrize("part", ["label", "source", "cells"])
def test_a_reference_that_lacks_a_part_is_refused(part: str) -> None:
    plain = {key: value for key, value in PLAIN.items() if key != part}
    with pytest.raises(BadInput, match=f"{part}.*give label, source, cells"):
        Reference.from_dict(plain)
    with pytest.raises(BadInput, match="rmse_m"):
        Reference.from_dict({**PLAIN, "cells": [{"lr": 0.001}]})
    assert Reference.from_dict({}) is None


def test_names_of_cells_are_read_as_the_figure_says() -> None:
    (lines,) = figures(sweeper("scaling_rule")["figures"])
    assert lines.parts("lr x sqrt(k), batch 16, equal steps") == {
        "line": "lr x sqrt(k)",
        "x": "16",
        "panel": "equal steps",
    }
    assert lines.parts("no decay") is None


@pytest.mark.parametrize(
    "plain",
    [
        {"kind": "pie", "name": "a", "x": "lr", "names": "{line}"},
        {"kind": "lines", "name": "../a", "x": "lr", "names": "{line}"},
        {"kind": "lines", "name": "a", "x": "lr", "names": "nothing"},
        {"kind": "lines", "name": "a", "x": "lr", "names": "{line} {line}"},
        {"kind": "lines", "name": "a"},
        "lines",
    ],
)
def test_a_figure_that_there_is_not_is_refused(plain: Any) -> None:
    with pytest.raises(BadInput, match=r"hydra\.sweeper\.figures: .* give kind: lines"):
        figures([plain])


def test_published_studies_declare_what_their_study_files_do() -> None:
    for study, name in (("table1", "table1"), ("scaling_rule", "scaling_rule")):
        kept = json.loads((ROOT / "results" / study / "study.json").read_text(encoding="utf-8"))
        for key in {"reference", "figures"} & set(sweeper(name)):
            assert kept[key] == sweeper(name)[key]
