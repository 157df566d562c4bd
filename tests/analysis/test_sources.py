"""The luck of a study's runs, by the seed that it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2gps.analysis.collect import load_study
from img2gps.analysis.sources import Sources, sources
from img2gps.analysis.stats.components import components
from img2gps.runs.records import RESULT
from tests.helpers.fake_study import Options, make_study

CROSSED: dict[str, list[Any]] = {
    "lr": [0.001, 0.003],
    "order_seed": [0, 1, 2],
    "split.seed": [4, 5],
}


def sources_of(root: Path, axes: dict[str, list[Any]], **options: Any) -> Sources | None:
    made = make_study(root, options=Options(axes=axes, seeds=(0, 1, 2), **options))
    return sources(load_study(made.folder, [root]))


def test_components_are_those_of_the_runs(tmp_path: Path) -> None:
    found = sources_of(tmp_path, CROSSED, base={"augmentation": {"name": "crop"}})
    assert found is not None
    rmse: dict[tuple[float, int, int, int], float] = {}
    record = json.loads((tmp_path / "table1/study.json").read_text())
    for run in record["cells"]:
        result = json.loads((tmp_path / run["path"] / RESULT).read_text())
        knobs = run["params"]
        key = knobs["lr"], run["seed"], knobs["order_seed"], knobs["split.seed"]
        rmse[key] = result["metrics"]["val/rmse_m"]
    values = np.log(
        [
            [[[rmse[lr, i, o, s] for s in (4, 5)] for o in (0, 1, 2)] for i in (0, 1, 2)]
            for lr in (0.001, 0.003)
        ]
    )
    assert (found.runs, found.groups, found.left_out) == (36, 2, 0)
    assert found.rmse_m == pytest.approx(np.exp(values.mean()))
    assert found.components == components(values, ["seed", "order_seed", "split.seed"])
    assert [found.name(component) for component in found.components] == [
        "initial weights and changes to the photos",
        "order of the photos", "split", "interactions", "all together",
    ]  # fmt: skip


def test_a_seed_draws_only_what_no_other_seed_draws(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"order_seed": [0, 1], "split.seed": [0, 1]}
    unchanged = sources_of(tmp_path / "unchanged", axes)
    assert unchanged is not None
    assert unchanged.factors["seed"] == "initial weights"
    axes = {"order_seed": [0, 1], "augmentation_seed": [0, 1]}
    found = sources_of(tmp_path, axes, base={"order_seed": None})
    assert found is not None
    assert list(found.factors.values()) == [
        "initial weights", "order of the photos", "changes to the photos",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "axes",
    [{"lr": [0.001, 0.003]}, {"split.seed": [0, 1], "split.fold": [0, 1]}],
    ids=["one seed", "folds"],
)
def test_there_are_none_without_two_seeds_that_are_crossed(
    tmp_path: Path, axes: dict[str, list[Any]]
) -> None:
    assert sources_of(tmp_path, axes) is None


def test_a_group_that_lacks_a_run_is_left_out(tmp_path: Path) -> None:
    made = make_study(tmp_path, options=Options(axes=CROSSED))
    first = json.loads((made.folder / "study.json").read_text())["cells"][0]["cell"]
    states = {(first, 2): ("failed", "no memory")}
    found = sources_of(tmp_path / "again", CROSSED, states=states)
    assert found is not None
    assert (found.groups, found.left_out, found.solved) == (1, 1, 0)


def test_heads_that_no_seed_changes_do_not_dilute_the_luck_of_trained_ones(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"order_seed": [0, 1, 2], "split.seed": [4, 5]}
    alone = sources_of(tmp_path / "alone", {"head": ["mlp"], **axes})
    beside = sources_of(tmp_path / "beside", {"head": ["mlp", "knn"], **axes})
    assert alone is not None
    assert beside is not None
    assert (alone.groups, beside.groups) == (1, 1)
    assert (alone.solved, beside.solved) == (0, 1)
    assert alone.runs == beside.runs
