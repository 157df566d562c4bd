"""Constraints between knobs: which cells are left out, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from img2gps.core.errors import BadInput
from img2gps.study import search
from img2gps.study.engine import run_study
from img2gps.study.options import read_require
from img2gps.study.require import check_requirements, meets
from img2gps.study.space import Axis, Space, cell_id, space
from img2gps.study.spec import Spec
from tests.helpers.studies import cells_of, fake_spec, read_record, url_of

OWN = "optuna.samplers.RandomSampler"

CELL: dict[str, Any] = {"lr": 0.01, "batch_size": 16, "model": "resnet18", "scheduler.gamma": 0.5}


def checked(line: str) -> bool:
    check_requirements([line], list(CELL))
    return meets(CELL, [line])


@pytest.mark.parametrize(
    ("line", "met"),
    [
        ("batch_size * lr <= 0.2", True),
        ("batch_size * lr < 0.1", False),
        ("0.001 < lr <= 0.01", True),
        ("lr / batch_size == 0.000625", True),
        ("model == 'resnet18' and batch_size != 32", True),
        ("not (model == 'resnet50' or batch_size >= 16)", False),
        ("scheduler.gamma + lr > 0.5", True),
        ("-lr < 0", True),
        ("optimizer.momentum > 0.9", True),  # the cell has no such knob
    ],
)
def test_cell_meets_what_arithmetic_says(line: str, met: bool) -> None:
    assert meets(CELL, [line]) is met


@pytest.mark.parametrize(
    "line",
    ["__import__('os').system('true')", "lr ** 9", "[lr]", "lr.__class__()", "lr if lr else 0"],
)
def test_nothing_but_arithmetic_and_comparisons_is_evaluated(line: str) -> None:
    with pytest.raises(BadInput):
        checked(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr <", "lr <: cannot be read to its end; compare knobs and numbers"),
        (
            "lr < 1 and batch_size ** 9 > 0",
            "batch_size ** 9, at character 12, is not known; compare",
        ),
        ("lr < 1 batch_size", "cannot be read at character 8; compare knobs and numbers"),
        ("open('f') < lr", "open('f'), at character 1, is not known; compare knobs and numbers"),
        ("epochs < 3", "epochs is not varied by this study; name one of lr, batch_size"),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_runs(line: str, said: str) -> None:
    axes = [Axis("lr", (0.1,)), Axis("batch_size", (8,))]
    with pytest.raises(BadInput) as found:
        space(axes, require=[line])
    assert said in str(found.value)


@pytest.mark.parametrize("line", ["lr / 0 > 1", "model < 3"])
def test_what_cannot_be_computed_is_named(line: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be computed \(.*\); compare numbers with numbers"):
        meets(CELL, [line])


def test_grid_leaves_out_cells_and_names_them() -> None:
    axes = [Axis("lr", (0.001, 0.01)), Axis("batch_size", (8, 32))]
    made = space(axes, require=["batch_size * lr <= 0.1"])
    assert [cell_id(cell) for cell in made.grid()] == [
        "lr=0.001,batch_size=8", "lr=0.001,batch_size=32", "lr=0.01,batch_size=8",
    ]  # fmt: skip
    assert made.left_out() == ["lr=0.01,batch_size=32"]
    assert Space.from_dict(made.to_dict()).left_out() == made.left_out()


def test_grid_without_any_cell_left_is_refused() -> None:
    with pytest.raises(BadInput, match="none of the 1 cells meets lr < 0; loosen it"):
        space([Axis("lr", (0.1,))], require=["lr < 0"]).grid()


def test_study_says_how_many_cells_are_left_out_and_names_the_first() -> None:
    axes = [Axis("lr", (0.001, 0.01)), Axis("batch_size", (8, 32, 64))]
    spec = Spec("s", "grid", space(axes, require=["batch_size * lr <= 0.1"]), "")
    assert spec.left_out == (
        "left out by require (batch_size * lr <= 0.1): 2 cells, the first being "
        "lr=0.01,batch_size=32"
    )
    spec = Spec("s", "grid", space(axes, require=["batch_size * lr <= 0.4"]), "")
    assert (
        spec.left_out
        == "left out by require (batch_size * lr <= 0.4): 1 cell, lr=0.01,batch_size=64"
    )
    assert not Spec("s", "grid", space(axes, require=["lr < 1"]), "").left_out


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", {"_target_": OWN}])
def test_search_runs_only_cells_that_are_allowed(
    tmp_path: Path, fake_runs: None, sampler: Any
) -> None:
    axes = (Axis("lr", low=0.1, high=0.9), Axis("batch_size", (8, 64)), Axis("momentum", (0, 1)))
    made = space(axes, require=["batch_size * lr <= 8", "momentum == 0 or lr > 0.5"],
                 when={"momentum": {"batch_size": 8}})  # fmt: skip
    spec = fake_spec(tmp_path, {}, space=made, kind="search", sampler=sampler, n_trials=13)
    run_study(spec, url_of(spec), workers=0)
    cells = [run["params"] for run in cells_of(spec)]
    assert len(cells) == 13
    assert {run["state"] for run in cells_of(spec)} == {"finished"}
    for cell in cells:
        assert cell["batch_size"] * cell["lr"] <= 8
        assert cell.get("momentum", 0) == 0 or cell["lr"] > 0.5
    assert read_record(spec)["left_out"].endswith("cells that do not meet it are never drawn")


def test_search_without_any_cell_left_says_so_for_every_trial(
    tmp_path: Path, fake_runs: None
) -> None:
    made = space([Axis("lr", low=0.1, high=0.9)], require=["lr > 1"])
    spec = fake_spec(tmp_path, {}, space=made, kind="random", sampler="random", n_trials=2)
    assert run_study(spec, url_of(spec), workers=0) == 1
    for run in cells_of(spec):
        assert run["reason"] == (
            "hydra.sweeper.require: none of 200 drawn cells meets lr > 1; loosen it"
        )


@pytest.mark.parametrize("given", ["lr < 1", ["lr < 1"]])
def test_one_constraint_needs_no_list(given: Any) -> None:
    assert read_require(given) == ["lr < 1"]


def test_constraint_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadInput, match=r"hydra.sweeper.require=\[3\]: give a constraint such as"):
        read_require([3])


def test_race_draws_only_cells_that_are_allowed() -> None:
    axes = (Axis("lr", low=0.001, high=0.1), Axis("batch_size", (8, 64)))
    made = space(axes, require=["batch_size * lr <= 1"])
    spec = Spec("s", "race", made, "", sampler="race", n_trials=8)
    cells = search.cells(spec)
    assert len(cells) == 8
    assert all(cell["lr"] * cell["batch_size"] <= 1 for cell in cells)
