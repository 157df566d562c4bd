"""The study of Table 1 that tests of tables and of the paper pack read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from img2gps.analysis import collect
from img2gps.analysis.overview import Analysis, analyse
from tests.helpers.fake_study import Options, make_study

WINNER = "model=resnet18,lr=0.001,batch_size=16"
LOST = "model=resnet18,lr=0.005,batch_size=8"


def effect(params: Mapping[str, Any]) -> float:
    """A winner that any 60 photos tell from the rest, and two models."""
    best = params.get("lr") == 0.001 and params.get("batch_size") == 16
    return 40.0 if best and params.get("model") != "resnet50" else 88.0


def analysed(root: Path, name: str = "table1", **options: Any) -> Analysis:
    given: dict[str, Any] = {"epochs": 2, "effect": effect, **options}
    made = make_study(root, name, Options(**given))
    return analyse(collect.load_study(made.folder, [root]))


@pytest.fixture(scope="package")
def table1(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    states = {(LOST, seed): ("failed", "RuntimeError: 50% of <memory> & more") for seed in range(3)}
    states[("model=resnet50,lr=0.005,batch_size=32", 1)] = ("diverged", "the loss is NaN")
    return analysed(tmp_path_factory.mktemp("runs"), states=states, n_test=80)
