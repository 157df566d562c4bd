"""The choice of precision and threads: measured once, kept, and honest if it cannot be measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from img2gps import train
from img2gps.config.schema import Precision
from img2gps.runs.records import read_result
from img2gps.training import speed
from img2gps.training.speed import Speed
from tests.helpers.tiny import tiny_config

# Seconds of the table in docs/performance.md: an Intel processor, idle.
XEON = {"fp32": {"1": 1.434, "2": 0.763}, "bf16": {"1": 2.178, "2": 1.159}}


@pytest.fixture(autouse=True)
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with two cores and without a GPU, on which nothing was measured yet."""
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(speed, "usable_cores", lambda: 2)
    monkeypatch.setattr("img2gps.core.load.CpuTime.now", lambda: None)  # whatever else runs here
    monkeypatch.setattr("img2gps.training.devices.has_gpu", lambda: False)
    speed._measured.cache_clear()
    yield
    speed._measured.cache_clear()


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that were timed; the times are the Intel processor's."""
    names: list[str] = []

    def measure(config: object, size: int, cores: int) -> dict[str, dict[str, float]]:
        names.append(f"{getattr(config, 'name', '')} {size}")
        return XEON

    monkeypatch.setattr(speed, "_measure", measure)
    return names


def measure_speed(*overrides: str) -> Speed:
    """What is measured for a tiny run with these overrides."""
    config = tiny_config(*overrides)
    return speed.measure_speed(config.model, config.image_size, config.trainer.accelerator)


@pytest.mark.parametrize(
    ("seconds", "precision", "threads"),
    [
        (XEON, "fp32", 2),
        ({"fp32": {"1": 2.0, "2": 1.0}, "bf16": {"1": 0.9, "2": 0.5}}, "bf16", 2),
        ({"fp32": {"1": 2.0, "2": 1.0}, "bf16": {"1": 1.8, "2": 0.96}}, "fp32", 2),  # no clear win
        ({"fp32": {"1": 1.0, "2": 4.4}, "bf16": {"1": 2.1, "2": 6.0}}, "fp32", 1),
        ({"fp32": {"1": 1.0, "2": 1.01}, "bf16": {"1": 2.1, "2": 2.1}}, "fp32", 2),
    ],
)
def test_the_simpler_choice_stands_unless_the_other_is_clearly_faster(
    seconds: dict[str, dict[str, float]], precision: str, threads: int
) -> None:
    found = Speed(2, Precision.bf16, "measured", seconds)
    assert found.precision == precision
    assert found.threads(found.precision, 2) == threads


def test_times_beside_other_programs_do_not_decide_the_threads() -> None:
    seconds = {"fp32": {"1": 5.9, "2": 8.2}, "bf16": {"1": 3.7, "2": 5.4}}
    busy = Speed(2, Precision.fp32, "measured", seconds, taken=1.0)
    assert (busy.precision, busy.threads(busy.precision, 2)) == (Precision.bf16, 2)


def test_threads_of_a_worker_are_its_share_of_the_cores() -> None:
    assert Speed(4, Precision.fp32, "", XEON).threads(Precision.fp32, 2) == 2


def test_a_machine_is_measured_once_for_each_family_and_size(timed: list[str]) -> None:
    for _ in range(2):
        measure_speed("model=resnet18")
        measure_speed("model=resnet50")
        measure_speed("model=resnet50", "image_size=96")
        measure_speed("model=efficientnet_lite2")
        speed._measured.cache_clear()  # as another process would begin
    assert timed == ["resnet18 64", "resnet18 96", "efficientnet_lite0 64"]


def test_another_torch_or_processor_is_measured_anew(
    timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_speed()
    monkeypatch.setattr(torch, "__version__", "99.0")
    speed._measured.cache_clear()
    measure_speed()
    monkeypatch.setattr("img2gps.core.hardware.cpu_name", lambda: "another processor")
    speed._measured.cache_clear()
    measure_speed()
    assert len(timed) == 3


def test_a_machine_that_cannot_be_measured_takes_the_rule_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(speed, "_measure", fail)
    monkeypatch.setattr("img2gps.training.devices.native_bf16", lambda _: True)
    found = measure_speed()
    assert (found.precision, found.threads(found.precision, 2)) == (Precision.bf16, 2)
    assert "cannot be measured (RuntimeError: illegal instruction)" in found.reason
    assert "cannot be measured (RuntimeError: illegal instruction)" in caplog.text


def test_a_gpu_is_not_measured(timed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("img2gps.training.devices.has_gpu", lambda: True)
    monkeypatch.setattr("img2gps.training.devices.native_bf16", lambda _: True)
    assert measure_speed().precision is Precision.bf16
    assert timed == []
    assert measure_speed("trainer.accelerator=cpu").precision is Precision.fp32
    assert len(timed) == 1


def test_the_measured_times_are_of_real_steps_with_both_precisions_and_thread_counts() -> None:
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    found = measure_speed("image_size=32")
    assert {name: set(times) for name, times in found.seconds.items()} == {
        "fp32": {"1", "2"},
        "bf16": {"1", "2"},
    }
    assert all(value > 0 for times in found.seconds.values() for value in times.values())
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_run_records_what_was_measured(
    timed: list[str], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(workdir / "cache"))  # others share `workdir`'s
    folder = train.run(tiny_config("max_epochs=1", "threads=null")).folder
    result = read_result(folder)
    assert result is not None
    assert (result.precision, result.threads) == ("fp32", torch.get_num_threads())
    assert result.hardware["speed"] == {
        "reason": "measured training steps of resnet18 at 64 pixels",
        "seconds": XEON,
        "taken": 0.0,
    }
    assert json.loads((folder / "result.json").read_text())["identity"]["precision"] == "fp32"
    fixed = train.run(tiny_config("max_epochs=1", "threads=1", "precision=fp32", "seed=1")).folder
    other = read_result(fixed)
    assert other is not None
    assert "speed" not in other.hardware
