"""A run of a study is the single run of the same overrides, and is composed once."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from img2gps.core.errors import BadInput
from img2gps.core.paths import package_folder
from img2gps.runs.plan import plan_run
from img2gps.study.composing import Composer
from img2gps.study.runner import TrainRunner
from img2gps.study.space import Axis, Params, Space
from img2gps.study.spec import Spec
from tests.helpers.tiny import TINY, tiny_config


@pytest.fixture(autouse=True)
def _own_hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def spec_of(*fixed: str, **axes: Any) -> Spec:
    """A study of tiny runs; an axis called `a__b` is the knob `a.b`."""
    space = Space(tuple(Axis(k.replace("__", "."), tuple(v)) for k, v in axes.items()))
    conf = str(package_folder("conf"))
    return Spec(
        "s", "grid", space, "runs", overrides=(*TINY, *fixed), config_dir=conf, config_name="train"
    )


def single_run(*overrides: str) -> str:
    """The run id of a single run, or the message that refuses it."""
    try:
        return plan_run(tiny_config(*overrides)).run_id
    except BadInput as error:
        return str(error)


def runs_of_study(spec: Spec, points: list[tuple[Params, int]]) -> list[str]:
    """The run ids (or messages) of several runs that one study plans in turn."""
    GlobalHydra.instance().clear()
    runner, found = TrainRunner(spec), []
    for params, seed in points:
        try:
            found.append(runner.identify(spec.overrides_of(params, seed)).run_id)
        except BadInput as error:
            found.append(str(error))
    GlobalHydra.instance().clear()
    return found


REFERENCES = (
    "split.seed=${seed}",
    "batch_size=${val_batch_size}",
    "val_batch_size=${batch_size}",
    "scheduler.step_size=${max_epochs}",
    "optimizer.weight_decay=${lr}",
    "split.n_train=${batch_size}",
    "scheduler.gamma=${lr}",
    "precision=fp32",
)
KNOBS: dict[str, list[Any]] = {
    "optimizer": ["adam", "adamw"],  # a group
    "lr": [0.001, 1, -0.5],  # a whole number for a float, and an impossible one
    "batch_size": [8, 16, "many"],
    "max_epochs": [2, 3],
    "split.n_train": [None, 20],
    "precision": ["fp32", "bf16", "half"],
    "scheduler.step_size": [1, 2],
    "optimizer.betas": [[0.9, 0.999], [0.8, 0.99]],
    "drop_last": [True, False],
    "split.seed": [3],
}


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[str], list[tuple[Params, int]]]:
    fixed = draw(st.lists(st.sampled_from(REFERENCES), max_size=3, unique=True))
    knobs = draw(st.lists(st.sampled_from(list(KNOBS)), min_size=1, max_size=3, unique=True))
    point = st.fixed_dictionaries({knob: st.sampled_from(KNOBS[knob]) for knob in knobs})
    points = draw(st.lists(st.tuples(point, st.integers(0, 2)), min_size=2, max_size=3))
    return fixed, points


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example((["split.seed=${seed}"], [({"lr": 0.1}, 0), ({"lr": 0.1}, 1), ({"lr": 0.2}, 1)]))
@example(([], [({"lr": 0.1}, 0), ({"lr": 1}, 0), ({"lr": -0.5}, 1), ({"lr": 0.2}, 1)]))
@given(studies())
def test_runs_of_a_study_are_single_runs_of_the_same_overrides(
    workdir: Path, study: tuple[list[str], list[tuple[Params, int]]]
) -> None:
    fixed, points = study
    spec = spec_of(*fixed)
    wanted = [single_run(*fixed, *spec.overrides_of(params, seed)) for params, seed in points]
    assert runs_of_study(spec, points) == wanted


def test_a_seed_that_the_split_refers_to_moves_the_split(workdir: Path) -> None:
    spec = spec_of("split.seed=${seed}", lr=[0.1])
    runner = TrainRunner(spec)
    splits = [runner.plan_run(spec.overrides_of({"lr": 0.1}, seed)).split for seed in (0, 1)]
    assert splits[0].val.tolist() != splits[1].val.tolist()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[tuple[Any, ...]]]:
    """Count the calls of a function, given by its full name."""

    def watched(name: str) -> list[tuple[Any, ...]]:
        module, _, attribute = name.rpartition(".")
        whole, found = pkgutil.resolve_name(name), list[tuple[Any, ...]]()

        def counted(*args: Any) -> Any:
            found.append(args)
            return whole(*args)

        monkeypatch.setattr(pkgutil.resolve_name(module), attribute, counted)
        return found

    return watched


Calls = Callable[[str], list[tuple[Any, ...]]]


def test_hydra_composes_once_for_each_set_of_groups(calls: Calls) -> None:
    composed = calls("img2gps.study.composing.Composer.compose")
    spec = spec_of(optimizer=["adam", "adamw"], lr=[0.1, 0.2], batch_size=[8, 16])
    composer = Composer(spec)
    loaded = [
        composer.load(spec.overrides_of(params, seed))
        for params in spec.space.grid()
        for seed in (0, 1)
    ]
    assert [(c.optimizer.name, c.lr, c.batch_size, c.seed) for c in loaded] == [
        (optimizer, lr, batch, seed)
        for optimizer in ("adam", "adamw")
        for lr in (0.1, 0.2)
        for batch in (8, 16)
        for seed in (0, 1)
    ]
    wanted = [(), ("optimizer=adam",), ("optimizer=adamw",)]
    assert [tuple(own) for _, own in composed] == wanted


def test_plain_values_are_not_converted_again(calls: Calls) -> None:
    checked = calls("img2gps.study.composing.load_config")
    composer = Composer(spec_of())
    for seed in range(5):
        assert composer.load(["lr=0.1", f"seed={seed}"]).seed == seed
    assert len(checked) == 1


def test_data_and_split_are_opened_once(workdir: Path, calls: Calls) -> None:
    datasets, splits = (calls(f"img2gps.runs.plan.open_{what}") for what in ("dataset", "split"))
    spec = spec_of(lr=[0.1, 0.2], split__seed=[0, 1])
    runner = TrainRunner(spec)
    refs = [runner.identify(spec.overrides_of(params, 0)) for params in spec.space.grid()]
    assert len({ref.run_id for ref in refs}) == 4
    assert (len(datasets), len(splits)) == (1, 2)
