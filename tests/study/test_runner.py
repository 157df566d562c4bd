"""The runner of a study: what is decided once holds for all runs, also of another process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from img2gps.config.schema import Precision
from img2gps.core.paths import package_folder
from img2gps.runs.records import RunResult, write_result
from img2gps.runs.states import RunState
from img2gps.study.otherwise import precision_hint
from img2gps.study.runner import TrainRunner
from img2gps.study.space import Axis, Space, cell_id
from img2gps.study.spec import Spec
from img2gps.training.speed import Speed
from img2gps.training.timing import StepTimes
from tests.helpers.tiny import TINY


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which bf16 pays at 64 pixels, and fp32 at others."""

    def measure_speed(_: object, image_size: int, __: object, *, settled: bool) -> Speed:
        seconds = {"fp32": {"1": 1.0}, "bf16": {"1": 0.5 if image_size == 64 else 2.0}}
        return Speed(1, Precision.fp32, "", StepTimes(seconds, seconds))

    monkeypatch.setattr("img2gps.training.speed.measure_speed", measure_speed)
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def spec_of(knob: str, *values: int | str) -> Spec:
    space = Space((Axis(knob, values),))
    conf = str(package_folder("conf"))
    return Spec("s", "grid", space, "runs", overrides=TINY, config_dir=conf, config_name="train")


def precisions(spec: Spec) -> list[str]:
    """The precision of each cell, planned by one runner."""
    runner = TrainRunner(spec)
    plans = [runner.plan_run(spec.overrides_of(cell)) for cell in spec.space.grid()]
    return [plan.identity["precision"] for plan in plans]


def test_the_first_cell_decides_the_precision_of_a_study(workdir: Path) -> None:
    assert precisions(spec_of("image_size", 64, 96)) == ["bf16", "bf16"]
    assert precisions(spec_of("image_size", 96, 64)) == ["fp32", "fp32"]


def test_a_worker_takes_the_precision_that_the_study_started_with(workdir: Path) -> None:
    spec = spec_of("image_size", 64, 96)
    known = {"cell": cell_id(spec.space.first()), "identity": {"precision": "fp32"}}
    assert precisions(replace(spec, identity=known)) == ["fp32", "fp32"]


def test_a_study_may_vary_the_precision(workdir: Path) -> None:
    spec = spec_of("precision", "fp32", "bf16", "auto")
    known = {"cell": cell_id(spec.space.first()), "identity": {"precision": "fp32"}}
    assert precisions(replace(spec, identity=known)) == ["fp32", "bf16", "bf16"]


def test_runs_finished_with_another_precision_are_told_with_the_way_to_link_them(
    workdir: Path,
) -> None:
    spec = replace(spec_of("image_size", 96, 64), base={"precision": "auto"})  # fp32 by the first
    runner = TrainRunner(spec)
    refs = [runner.identify(spec.overrides_of(cell)) for cell in spec.space.grid()]
    assert precision_hint(spec, runner, refs) == ""
    bf16 = TrainRunner(replace(spec, overrides=(*TINY, "precision=bf16")))
    published = bf16.identify(spec.overrides_of(spec.space.first())).run_id
    metrics: dict[str, float | None] = {"val/rmse_m": 60.0}
    write_result(
        workdir / "runs" / "other" / published,
        RunResult(published, "other", RunState.finished, "", metrics),
    )
    hint = precision_hint(spec, runner, refs)
    assert "1 of these runs are finished elsewhere with precision=bf16" in hint
    assert "this machine takes fp32; give precision=bf16 study=NAME" in hint
    assert precision_hint(replace(spec, base={"precision": "fp32"}), runner, refs) == ""
    assert precision_hint(spec, runner, []) == ""
