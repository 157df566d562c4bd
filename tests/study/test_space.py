"""What a study varies: the grammar, the cells, conditions."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from img2gps.core.errors import BadInput
from img2gps.study.grammar import as_lines, parse_axes
from img2gps.study.space import Axis, Space, cell_id, name_of, space, text_of

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
)


@given(st.one_of(scalars, st.lists(scalars, max_size=3)))
def test_hydra_reads_back_every_value_that_is_written(value: Any) -> None:
    override = OverridesParser.create().parse_override(f"key={text_of(value)}")
    read = override.value()
    assert read == value
    assert type(read) is type(value)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=3))
def test_grid_is_the_product_of_its_axes(values: list[list[int]]) -> None:
    axes = [Axis(f"k{i}", tuple(v)) for i, v in enumerate(values)]
    cells = space(axes).grid()
    assert [tuple(cell.values()) for cell in cells] == list(itertools.product(*values))


def test_lines_of_the_command_line_become_axes_and_fixed_overrides() -> None:
    axes, fixed = parse_axes(
        ["lr=0.001,0.003", "model=resnet18", "batch_size=range(8,25,8)", "+trainer.x=a,b",
         "w=tag(log, interval(1e-4, 1e-1))", "k=int(interval(1, 5))"]
    )  # fmt: skip
    assert axes == [
        Axis("lr", (0.001, 0.003)),
        Axis("batch_size", (8, 16, 24)),
        Axis("trainer.x", ("a", "b"), prefix="+"),
        Axis("w", (), 1e-4, 1e-1, log=True),
        Axis("k", (), 1, 5, whole=True),
    ]
    assert fixed == ["model=resnet18"]


def test_command_line_replaces_an_axis_and_a_fixed_value_narrows_it() -> None:
    axes, fixed = parse_axes(
        [*as_lines({"lr": "0.1,0.2", "model": ["a", "b"]}), "lr=0.3,0.4", "model=a"]
    )
    assert axes == [Axis("lr", (0.3, 0.4)), Axis("model", ("a",))]
    assert fixed == []


def test_lines_that_delete_or_add_a_key_keep_their_order() -> None:
    _, fixed = parse_axes(["lr=1", "~data.custom", "+data.custom={a:1}", "+callbacks.x=1", "lr=2"])
    assert fixed == ["lr=2", "~data.custom", "+data.custom={a:1}", "+callbacks.x=1"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr=0.1,", "lr=0.1,: not an override"),
        ("lr=interval(1, 1)", "lr: an interval from 1.0 to 1.0 is empty"),
        ("lr=0.1,range(1,3)", "a range or an interval stands alone; list its values"),
        ("lr=tag(log, interval(0, 1))", "lr: a log interval must begin above 0"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line: str, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("(", r"\(")):
        parse_axes([line])


def test_an_interval_in_a_grid_names_the_remedy() -> None:
    with pytest.raises(BadInput, match=r"lr: an interval cannot be enumerated.*sampler=tpe"):
        Space((Axis("lr", (), 0.1, 1.0),)).grid()


ADAMW = {"optimizer.weight_decay": {"optimizer": "adamw"}}


def test_a_conditional_knob_is_left_out_where_it_does_not_exist() -> None:
    axes = [Axis("optimizer.weight_decay", (0.1, 0.2)), Axis("optimizer", ("adam", "adamw"))]
    cells = space(axes, when=ADAMW).grid()
    assert [cell_id(cell) for cell in cells] == [
        "optimizer=adam",
        "optimizer.weight_decay=0.1,optimizer=adamw",
        "optimizer.weight_decay=0.2,optimizer=adamw",
    ]
    # The group first: choosing it would undo a value inside it that came before.
    assert space(axes, when=ADAMW).overrides(cells[1]) == [
        "optimizer=adamw",
        "optimizer.weight_decay=0.1",
    ]


def test_conditions_chain_and_are_drawn_in_their_order() -> None:
    axes = [Axis("c", (1,)), Axis("b", (1,)), Axis("a", (0, 1))]
    chained = space(axes, when={"c": {"b": 1}, "b": {"a": 1}})
    assert [axis.name for axis in chained.by_dependence()] == ["a", "b", "c"]
    assert chained.grid() == [{"a": 0}, {"c": 1, "b": 1, "a": 1}]


def test_axes_that_exclude_each_other_are_not_multiplied() -> None:
    values = tuple(range(100))
    axes = [Axis("c", values), Axis("kind", ("a", "b", "c")), Axis("a", values), Axis("b", values)]
    cells = space(axes, when={name: {"kind": name} for name in "abc"}).grid()
    assert len(cells) == 300
    assert [cell_id(cell) for cell in cells[:3]] == ["kind=a,a=0", "kind=a,a=1", "kind=a,a=2"]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"a": {"z": 1}}, "z is not varied"),
        ({"z": {"a": 1}}, "z is not varied"),
        ({"a": {"b": 1}, "b": {"a": 1}}, "depends on itself"),
    ],
)
def test_impossible_conditions_are_refused(when: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        space([Axis("a", (0, 1)), Axis("b", (0, 1))], when=when)


def test_listed_cells_are_crossed_with_the_axes() -> None:
    made = space([Axis("seedless", (1, 2))], [{"batch": 8, "lr": 0.1}, {"batch": 16, "lr": 0.2}])
    assert [tuple(cell.values()) for cell in made.grid()] == [
        (8, 0.1, 1), (8, 0.1, 2), (16, 0.2, 1), (16, 0.2, 2),
    ]  # fmt: skip
    assert made.values() == {"batch": [8, 16], "lr": [0.1, 0.2], "seedless": [1, 2]}
    with pytest.raises(BadInput, match="lr: both in params and in cells"):
        space([Axis("lr", (1,))], [{"lr": 0.1}])


def test_corners_hold_every_value_also_of_conditional_knobs() -> None:
    axes = [
        Axis("optimizer", ("adam", "adamw")),
        Axis("optimizer.weight_decay", (), 0.1, 0.2),
        Axis("layers", (), 1, 5, whole=True),
    ]
    corners = space(axes, when=ADAMW).corners()
    seen = {(key, value) for point in corners for key, value in point.items()}
    assert seen == {
        ("optimizer", "adam"), ("optimizer", "adamw"), ("layers", 1), ("layers", 5),
        ("optimizer.weight_decay", 0.1), ("optimizer.weight_decay", 0.2),
    }  # fmt: skip


def test_the_most_telling_name_is_given() -> None:
    named: dict[str, dict[str, Any]] = {
        "cosine": {"s": "cosine"},
        "warm cosine": {"s": "cosine", "w": 2},
    }
    assert name_of({"s": "cosine", "w": 2, "lr": 1}, named) == "warm cosine"
    assert name_of({"s": "cosine"}, named) == "cosine"
    assert name_of({"s": "step"}, named) == ""


def test_a_space_survives_json() -> None:
    made = space(
        [Axis("a", (0, "x", None)), Axis("b", (), 0.1, 1.0, log=True)], when={"b": {"a": 0}}
    )
    assert Space.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_values_that_only_python_calls_equal_are_different_values() -> None:
    (axis,), _ = parse_axes(["trainer.limit_train_batches=1,1.0,1"])
    assert [repr(value) for value in axis.values] == ["1", "1.0"]


def test_an_axis_may_hold_mappings() -> None:
    (axis,), _ = parse_axes(["+data.custom={a:1},{a:2}"])
    assert axis.values == ({"a": 1}, {"a": 2})
