"""What `precision=auto` and `threads=null` take, against every other choice, in turns.

A step is timed on the idle machine and beside a program that keeps one core busy, which is started
on purpose. Processes of our own take the steps: one with threads as runs have them, which wait
passively and stay on their cores, and one as torch leaves it. At last two of ours train at once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.harness import Row, Settings, config, ratios, spread
from benchmarks.steps import Busy, Stepper
from img2gps.core.load import CpuTime
from img2gps.training.speed import measure_speed

TITLE = "What precision=auto and threads=null choose"
MODEL, BATCH, SIZE = "resnet18", 16, 224
IDLE, BUSY, TWICE = 1.05, 1.15, 2.3  # what must be reached
SETTLE_S = 0.05  # until threads that wait actively have gone to sleep


def measure(settings: Settings) -> dict[str, Any]:
    """All rounds, each kept as soon as it is measured."""
    photos, size, most = (2, 32, 2) if settings.quick else (BATCH, SIZE, settings.rounds or 7)
    chosen = config(f"model={MODEL}", f"image_size={size}", "trainer.accelerator=cpu")
    speed = measure_speed(chosen.model, size, chosen.trainer.accelerator)
    auto = str(speed.precision), speed.threads(speed.precision, settings.threads)
    choices = [(p, t) for p in ("fp32", "bf16") for t in sorted({1, settings.threads})]
    found: dict[str, list[Any]] = {"idle": [], "busy": [], "two": []}
    with ExitStack() as opened:
        ours, other = (
            opened.enter_context(Stepper(MODEL, photos, size, as_runs=True)) for _ in range(2)
        )
        default = opened.enter_context(Stepper(MODEL, photos, size, as_runs=False))
        for stepper in (ours, other, default):
            for choice in choices:
                _step(stepper, choice)  # warms up
        for number in range(1, most + 1):
            idle = settings.part(
                f"round {number} of {most}, idle", lambda: _round(ours, default, choices, auto)
            )
            with Busy():
                busy = settings.part(
                    f"round {number} of {most}, beside a busy program",
                    lambda: _round(ours, default, choices, auto),
                )
            two = settings.part(
                f"round {number} of {most}, two at once", lambda: _two(ours, other, auto)
            )
            for name, one in (("idle", idle), ("busy", busy), ("two", two)):
                found[name].append(one)
    return {"auto": list(auto), "reason": speed.reason, "cores": settings.threads, "rounds": found}


def _step(stepper: Stepper, choice: tuple[str, int], count: int = 1) -> tuple[float, float]:
    time.sleep(SETTLE_S)
    stepper.begin(*choice, count)
    return stepper.seconds()


def _round(
    ours: Stepper, default: Stepper, choices: Sequence[tuple[str, int]], auto: tuple[str, int]
) -> dict[str, Any]:
    """A step of each choice, and one of auto's choice as torch lets threads wait."""
    before, began = CpuTime.now(), time.monotonic()
    steps = {_name(choice): _step(ours, choice) for choice in choices}
    steps["default"] = _step(default, auto)
    used = sum(processor for _, processor in steps.values())
    everybody = _everybody_since(before)
    taken = None if everybody is None else (everybody - used) / (time.monotonic() - began)
    return {"steps": {name: list(times) for name, times in steps.items()}, "taken": taken}


def _everybody_since(before: CpuTime | None) -> float | None:
    after = CpuTime.now()
    return after.everybody - before.everybody if before and after else None


def _two(ours: Stepper, other: Stepper, auto: tuple[str, int]) -> dict[str, float]:
    """Some steps of one process, and as many of each of two at once."""
    one = _step(ours, auto, 3)[0]
    time.sleep(SETTLE_S)
    began = time.perf_counter()
    for stepper in (ours, other):
        stepper.begin(*auto, 3)
    for stepper in (ours, other):
        stepper.seconds()
    return {"one": 3 * one, "two": time.perf_counter() - began}


def _name(choice: Sequence[Any]) -> str:
    return f"{choice[0]}, {choice[1]} {'thread' if choice[1] == 1 else 'threads'}"


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Return auto's step against the best choice, runs' threads, and two trainings at once."""
    rounds, auto = measured["rounds"], _name(measured["auto"])
    out = []
    for name, where, most in (("idle", "idle", IDLE), ("busy", "beside a busy program", BUSY)):
        clock = {
            choice: [one["steps"][choice][0] for one in rounds[name]]
            for choice in rounds[name][0]["steps"]
        }
        threads = ratios(clock[auto], clock.pop("default"))
        against = {choice: ratios(clock[auto], times) for choice, times in clock.items()}
        best = max(against, key=lambda choice: against[choice]["median"])
        times = "; ".join(f"{c} {1e3 * statistics.median(t):.0f} ms" for c, t in clock.items())
        out += [
            Row(
                f"step as auto takes it / best of {len(clock)} choices, {where}",
                f"{spread(against[best])}; auto takes {auto}, best is {best}: {times}; "
                f"{_taken(rounds[name])}",
                f"<= {most}",
                against[best]["median"] <= most,
            ),
            Row(
                f"step with the threads of runs / as torch lets them, {where}",
                spread(threads),
            ),
        ]
    processor = {
        precision: [one["steps"][f"{precision}, 1 thread"][1] for one in rounds["idle"]]
        for precision in ("bf16", "fp32")
    }
    out.append(
        Row(
            "processor time of a step on one thread, bf16 / fp32",
            spread(ratios(processor["bf16"], processor["fp32"])),
        )
    )
    two = ratios([one["two"] for one in rounds["two"]], [one["one"] for one in rounds["two"]])
    out.append(
        Row("two trainings at once / one", spread(two), f"<= {TWICE}", two["median"] <= TWICE)
    )
    return out


def _taken(rounds: Sequence[Mapping[str, Any]]) -> str:
    taken = [one["taken"] for one in rounds if one["taken"] is not None]
    if not taken:
        return "load unknown"
    return f"all other programs took {max(0.0, statistics.median(taken)):.1f} cores"
