"""The choice of precision and threads: measured once, kept, and honest if it cannot be measured."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from img2gps import train
from img2gps.config.schema import Precision
from img2gps.core.load import CpuTime
from img2gps.core.paths import cache_folder
from img2gps.runs.records import read_result
from img2gps.training import speed, timing
from img2gps.training.speed import Speed
from img2gps.training.timing import StepTimes
from tests.helpers.tiny import tiny_config

# Measured on an Intel processor: idle, and beside one busy program, where threads wait.
CLOCK = {"fp32": {"1": 1.434, "2": 0.763}, "bf16": {"1": 2.178, "2": 1.159}}
PROCESSOR = {"fp32": {"1": 1.43, "2": 1.50}, "bf16": {"1": 2.17, "2": 2.30}}
XEON = StepTimes(CLOCK, PROCESSOR)
BUSY_CLOCK = {"fp32": {"1": 2.9, "2": 4.434}, "bf16": {"1": 2.150, "2": 5.978}}
BUSY_XEON = StepTimes(BUSY_CLOCK, PROCESSOR, taken=1.0)
# A processor on which bf16 pays.
EPYC = StepTimes({"fp32": {"1": 0.7, "2": 0.4}, "bf16": {"1": 0.4, "2": 0.22}},
                 {"fp32": {"1": 0.7, "2": 0.8}, "bf16": {"1": 0.4, "2": 0.44}})  # fmt: skip


@pytest.fixture(autouse=True)
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with two cores and without a GPU, on which nothing was measured yet."""
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(speed, "usable_cores", lambda: 2)
    monkeypatch.setattr("img2gps.core.load.CpuTime.now", lambda: None)  # whatever else runs here
    monkeypatch.setattr("img2gps.training.devices.has_gpu", lambda: False)
    speed._answers.clear()
    yield
    speed._answers.clear()


class Machine:
    """Gives the times that a test sets, and notes what was timed."""

    def __init__(self) -> None:
        self.times = XEON
        self.timed: list[str] = []

    def time_steps(self, config: Any, size: int, cores: int) -> StepTimes:
        self.timed.append(f"{config.name} {size}")
        return self.times


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose times are the Intel processor's."""
    made = Machine()
    monkeypatch.setattr(speed, "time_steps", made.time_steps)
    monkeypatch.setattr(speed, "is_idle", lambda: not made.times.busy)
    return made


def measure_speed(*overrides: str, settled: bool = False) -> Speed:
    """What another process measures, or finds, for a tiny run with these overrides."""
    speed._answers.clear()
    config = tiny_config(*overrides)
    accelerator = config.trainer.accelerator
    return speed.measure_speed(config.model, config.image_size, accelerator, settled=settled)


@pytest.mark.parametrize(
    ("clock", "precision", "threads"),
    [
        (CLOCK, "fp32", 2),
        ({"fp32": {"1": 2.0, "2": 1.0}, "bf16": {"1": 0.9, "2": 0.5}}, "bf16", 2),
        ({"fp32": {"1": 2.0, "2": 1.0}, "bf16": {"1": 1.8, "2": 0.96}}, "fp32", 2),  # no clear win
        ({"fp32": {"1": 1.0, "2": 4.4}, "bf16": {"1": 2.1, "2": 6.0}}, "fp32", 1),
        ({"fp32": {"1": 1.0, "2": 1.01}, "bf16": {"1": 2.1, "2": 2.1}}, "fp32", 2),
    ],
)
def test_the_simpler_choice_stands_unless_the_other_is_clearly_faster(
    clock: dict[str, dict[str, float]], precision: str, threads: int
) -> None:
    found = Speed(2, Precision.bf16, "measured", StepTimes(clock, PROCESSOR))
    assert found.precision == precision
    assert found.threads(found.precision, 2) == threads


def test_beside_other_programs_processor_time_decides_the_precision_and_nothing_the_threads() -> (
    None
):
    found = Speed(2, Precision.bf16, "measured", BUSY_XEON)
    assert min(BUSY_CLOCK["bf16"].values()) < min(BUSY_CLOCK["fp32"].values())
    assert (found.precision, found.threads(found.precision, 2)) == (Precision.fp32, 2)


def test_an_answer_of_a_busy_machine_is_measured_again_once_the_machine_is_idle(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.times = BUSY_XEON
    assert "provisionally" in measure_speed().reason
    assert measure_speed().precision is Precision.fp32
    assert len(machine.timed) == 1  # still busy: the answer stands, and costs nothing
    machine.times = EPYC
    assert measure_speed(settled=True).precision is Precision.fp32  # the runs of a study
    assert measure_speed().precision is Precision.bf16
    assert "give precision=fp32 to go on with runs that have begun" in caplog.text
    machine.times = XEON
    assert measure_speed().precision is Precision.bf16
    assert len(machine.timed) == 2


def test_an_answer_stands_if_the_machine_gets_busy_while_it_is_measured_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.times = BUSY_XEON
    before = measure_speed()
    monkeypatch.setattr(speed, "is_idle", lambda: True)
    machine.times = StepTimes(EPYC.clock, EPYC.processor, taken=0.9)
    assert measure_speed() == before
    assert len(machine.timed) == 2


def test_a_process_keeps_to_its_answer(machine: Machine) -> None:
    config = tiny_config()
    machine.times = BUSY_XEON
    first = measure_speed()
    machine.times = EPYC
    again = speed.measure_speed(config.model, config.image_size, config.trainer.accelerator)
    assert again is first


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"clock": 1, "processor": 2, "taken": 0}', b"\xff\x00"]
    + [
        json.dumps({"clock": clock, "processor": PROCESSOR, "taken": taken}).encode()
        for clock, taken in [
            ({"fp32": {"1": 1.0}}, 0.0),
            ({"fp32": {"2": 1.0}, "bf16": {"2": 1.0}}, 0.0),
            ({"fp32": {"1": 1.0}, "bf16": {"1": "fast"}}, 0.0),
            ({"fp32": {"1": 1.0}, "bf16": {"1": 0.0}}, 0.0),
            ({"fp32": {"1": 1.0}, "bf16": {"1": None}}, 0.0),
            (CLOCK, "much"),
            (CLOCK, -1.0),
        ]
    ],
)
def test_a_damaged_answer_is_measured_anew(content: bytes, machine: Machine) -> None:
    first = measure_speed()
    (path,) = (cache_folder() / "speed").glob("*.json")
    kept = path.read_bytes()
    path.write_bytes(content)
    assert measure_speed() == first
    assert len(machine.timed) == 2
    assert path.read_bytes() == kept


def test_a_cache_that_cannot_be_written_leaves_the_rule_and_the_remedy(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache_folder().mkdir()
    (cache_folder() / "speed").write_text("a file where the folder should be")
    monkeypatch.setattr("img2gps.training.devices.native_bf16", lambda _: True)
    assert measure_speed().precision is Precision.bf16
    assert machine.timed == []
    assert "IMG2GPS_CACHE=FOLDER names a folder that can be written" in caplog.text


@pytest.mark.parametrize("times", [XEON, BUSY_XEON])
def test_a_known_answer_needs_no_cache_that_can_be_written(
    times: StepTimes, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.times = times
    first = measure_speed()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(speed, "FileLock", refuse)
    monkeypatch.setattr(speed, "is_idle", lambda: True)
    assert measure_speed() == first


def _measure_in_process(cache: str, found: Any) -> None:
    """Measure as one of several processes that begin together."""
    logging.disable()
    config = tiny_config()

    def time_steps(*_: object) -> StepTimes:
        found.put("timed")
        time.sleep(0.5)
        return XEON

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", cache)
        patch.setattr(speed, "time_steps", time_steps)
        patch.setattr("img2gps.training.devices.has_gpu", lambda: False)
        answer = speed.measure_speed(config.model, config.image_size, config.trainer.accelerator)
    found.put(str(answer.precision))


def test_of_two_first_runs_at_once_one_measures_and_both_take_its_answer(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    both = [
        context.Process(target=_measure_in_process, args=(str(tmp_path), found)) for _ in range(2)
    ]
    for one in both:
        one.start()
    said = sorted(found.get(timeout=120) for _ in range(3))
    for one in both:
        one.join()
    assert said == ["fp32", "fp32", "timed"]
    assert found.empty()


def test_threads_of_a_worker_are_its_share_of_the_cores() -> None:
    clock = {name: {"1": 2.8, "4": 0.8} for name in ("fp32", "bf16")}
    times = StepTimes(clock, PROCESSOR)
    assert Speed(4, Precision.fp32, "", times).threads(Precision.fp32, 2) == 2


def test_a_machine_is_measured_once_for_each_family_and_size(machine: Machine) -> None:
    for _ in range(2):
        measure_speed("model=resnet18")
        measure_speed("model=resnet50")
        measure_speed("model=resnet50", "image_size=96")
        measure_speed("model=efficientnet_lite2")
    assert machine.timed == ["resnet18 64", "resnet18 96", "efficientnet_lite0 64"]


def test_another_torch_or_processor_is_measured_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_speed()
    monkeypatch.setattr(torch, "__version__", "99.0")
    measure_speed()
    monkeypatch.setattr("img2gps.core.hardware.cpu_name", lambda: "another processor")
    measure_speed()
    assert len(machine.timed) == 3


def test_a_machine_that_cannot_be_measured_takes_the_rule_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(speed, "time_steps", fail)
    monkeypatch.setattr("img2gps.training.devices.native_bf16", lambda _: True)
    found = measure_speed()
    assert (found.precision, found.threads(found.precision, 2)) == (Precision.bf16, 2)
    assert "cannot be measured (RuntimeError: illegal instruction)" in found.reason
    assert "cannot be measured (RuntimeError: illegal instruction)" in caplog.text


def test_a_gpu_is_not_measured(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("img2gps.training.devices.has_gpu", lambda: True)
    monkeypatch.setattr("img2gps.training.devices.native_bf16", lambda _: True)
    assert measure_speed().precision is Precision.bf16
    assert machine.timed == []
    assert measure_speed("trainer.accelerator=cpu").precision is Precision.fp32
    assert len(machine.timed) == 1


def test_the_measured_times_are_of_real_steps_with_both_precisions_and_thread_counts() -> None:
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    times = measure_speed("image_size=32").times
    assert times is not None
    for kind in (times.clock, times.processor):
        assert {name: set(each) for name, each in kind.items()} == {
            "fp32": {"1", "2"},
            "bf16": {"1", "2"},
        }
        assert all(value > 0 for each in kind.values() for value in each.values())
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def rounds_of(*ratios: float) -> Callable[..., StepTimes]:
    """Rounds in which bf16 takes these shares of the time of float32, after the one to warm up."""
    left = iter((9.0, *ratios))

    def one_round(*_: object) -> StepTimes:
        times = {"fp32": {"1": 1.0}, "bf16": {"1": next(left)}}
        return StepTimes(times, times)

    return one_round


@pytest.mark.parametrize(
    ("ratios", "taken", "shortest"),
    [
        ((0.5, 0.6, 0.55, 0.1), 3, 0.5),
        ((1.5, 1.6, 1.7, 0.1), 3, 1.5),
        ((0.9, 1.1, 0.96, 0.97, 1.2, 1.1, 1.0, 0.94, 0.1), 8, 0.9),
    ],
)
def test_rounds_that_disagree_are_repeated(
    ratios: tuple[float, ...], taken: int, shortest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "build", lambda *_: None)
    monkeypatch.setattr(timing, "TimedStep", lambda *_: None)
    monkeypatch.setattr(timing, "_one_round", one_round := rounds_of(*ratios))
    found = timing.time_steps(tiny_config().model, 32, 1)
    assert found.clock["bf16"]["1"] == shortest
    assert one_round().clock["bf16"]["1"] == ratios[taken] if taken < len(ratios) else True


def test_a_slow_machine_gets_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "build", lambda *_: None)
    monkeypatch.setattr(timing, "TimedStep", lambda *_: None)
    monkeypatch.setattr(timing, "BUDGET_S", 0.0)
    monkeypatch.setattr(timing, "_one_round", rounds_of(0.5))
    assert timing.time_steps(tiny_config().model, 32, 1).clock["bf16"]["1"] == 0.5


def test_cores_that_others_take_while_it_is_measured_make_the_answer_provisional(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([CpuTime(0.0, 0.0, 0.0), CpuTime(10.0, 19.0, 9.0)])
    monkeypatch.setattr(CpuTime, "now", lambda: next(moments))
    monkeypatch.setattr(timing, "build", lambda *_: None)
    monkeypatch.setattr(timing, "TimedStep", lambda *_: None)
    monkeypatch.setattr(timing, "_one_round", rounds_of(0.5, 0.5, 0.5))
    found = timing.time_steps(tiny_config().model, 32, 1)
    assert found.taken == 1.0
    assert found.busy


def test_a_run_records_what_was_measured(
    machine: Machine, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(workdir / "cache"))  # others share `workdir`'s
    folder = train.run(tiny_config("max_epochs=1", "threads=null")).folder
    result = read_result(folder)
    assert result is not None
    assert (result.precision, result.threads) == ("fp32", torch.get_num_threads())
    assert result.hardware["speed"] == {
        "reason": "measured training steps of resnet18 at 64 pixels",
        "seconds": CLOCK,
        "processor_seconds": PROCESSOR,
        "taken": 0.0,
        "provisional": False,
    }
    assert json.loads((folder / "result.json").read_text())["identity"]["precision"] == "fp32"
    fixed = train.run(tiny_config("max_epochs=1", "threads=1", "precision=fp32", "seed=1")).folder
    other = read_result(fixed)
    assert other is not None
    assert "speed" not in other.hardware
