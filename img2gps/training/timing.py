"""Times of training steps at each precision, on one core and on all, taken in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from img2gps.config.schema import ModelConfig, Precision
from img2gps.core.load import SLACK_CORES, CpuTime
from img2gps.training.model import build
from img2gps.training.step import TimedStep
from img2gps.training.weights import ResolvedWeights

PIXELS = 4 * 224**2  # of all photos of a step together
ROUNDS = 3  # after one that warms up
MOST_ROUNDS = 8  # if single rounds disagree about the precision
BUDGET_S = 10.0  # after which no further round begins, once each choice has been timed
PRECISIONS = ("fp32", "bf16")
CLEARLY = 0.95  # share of the simpler choice's time that the other must stay below

Seconds = Mapping[str, Mapping[str, float]]  # by precision and number of threads


@dataclass(frozen=True)
class StepTimes:
    """The shortest times of a training step, such as `{"fp32": {"1": 0.9, "2": 0.5}}`.

    Attributes:
        clock: seconds on the clock.
        processor: seconds of processor time of all threads, which other programs hardly change.
        taken: cores that other programs took meanwhile, which makes threads wait for each other.
    """

    clock: Seconds
    processor: Seconds
    taken: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether other programs were at work, so that times on the clock say little."""
        return self.taken > SLACK_CORES

    @property
    def precision(self) -> Precision:
        """The faster precision: bf16 only if it is clearly faster than float32.

        On a busy machine the processor time of one thread decides.
        """
        if self.busy:
            best = {name: times["1"] for name, times in self.processor.items()}
        else:
            best = {name: min(times.values()) for name, times in self.clock.items()}
        return Precision.bf16 if best["bf16"] < CLEARLY * best["fp32"] else Precision.fp32

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self | None:
        """Return the times in a file; None if it holds anything else."""
        try:
            found = cls(plain["clock"], plain["processor"], float(plain["taken"]))
            every = [time for kind in (found.clock, found.processor) for p in PRECISIONS
                     for time in (kind[p]["1"], *kind[p].values())]  # fmt: skip
            sound = all(0 < seconds < math.inf for seconds in (*every, found.taken or 1.0))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return found if sound else None


def time_steps(config: ModelConfig, size: int, cores: int) -> StepTimes:
    """Time training steps of a model, with one thread and with one on each core.

    The choices take turns. Rounds go on until each of them alone would choose the same precision.
    """
    photos = max(2, min(32, PIXELS // size**2))
    before, threads = CpuTime.now(), torch.get_num_threads()
    rounds: list[StepTimes] = []
    try:
        with torch.random.fork_rng(devices=[]):
            step = TimedStep(build(config, ResolvedWeights("none", "none")), photos, size)
        began = time.perf_counter()
        _one_round(step, cores)  # warms up
        while _undecided(rounds) and (not rounds or time.perf_counter() - began < BUDGET_S):
            rounds.append(_one_round(step, cores))
    finally:
        torch.set_num_threads(threads)
    taken = (before.taken_by_others() if before else None) or 0.0
    return replace(_shortest(rounds), taken=taken)


def _one_round(step: TimedStep, cores: int) -> StepTimes:
    clock: dict[str, dict[str, float]] = {name: {} for name in PRECISIONS}
    processor: dict[str, dict[str, float]] = {name: {} for name in PRECISIONS}
    for name in PRECISIONS:
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            used = time.process_time()
            clock[name][str(threads)] = step.seconds(Precision(name))
            processor[name][str(threads)] = time.process_time() - used
    return StepTimes(clock, processor)


def _undecided(rounds: Sequence[StepTimes]) -> bool:
    """Return whether there are too few rounds, or some that would choose differently."""
    agree = len({one.precision for one in rounds}) == 1
    return len(rounds) < ROUNDS or (not agree and len(rounds) < MOST_ROUNDS)


def _shortest(rounds: Sequence[StepTimes]) -> StepTimes:
    """Return the shortest time of each choice: other programs can only lengthen it."""

    def shortest(kind: str) -> Seconds:
        first: Seconds = getattr(rounds[0], kind)
        return {
            name: {n: min(getattr(one, kind)[name][n] for one in rounds) for n in times}
            for name, times in first.items()
        }

    return StepTimes(shortest("clock"), shortest("processor"))
