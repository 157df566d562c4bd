"""Which precision and how many threads train fastest on this processor, found by measuring.

A processor that has bf16 instructions may still compute float32 faster. A training step is
therefore timed once for each processor, version of torch, family of models and image size. The
answer is kept in the user's cache, so the same machine gives the same answer every time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from filelock import FileLock

from img2gps.config.schema import Accelerator, Family, ModelConfig, Precision
from img2gps.core import hardware
from img2gps.core.files import read_json, write_json
from img2gps.core.load import SLACK_CORES, CpuTime, usable_cores
from img2gps.core.paths import cache_folder
from img2gps.training import devices
from img2gps.training.model import build
from img2gps.training.step import TimedStep
from img2gps.training.weights import ResolvedWeights

METHOD = 1  # raise it when another way of measuring makes older answers worthless
PIXELS = 4 * 224**2  # of all photos of a step together
ROUNDS = 4  # the first warms up; of the others the shortest time counts
BUDGET_S = 10.0  # after which the rounds end, if each choice has been timed once
CLEARLY = 0.95  # share of the simpler choice's time that the other must stay below
REFERENCE = {Family.resnet: "resnet18", Family.efficientnet_lite: "efficientnet_lite0"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """What was measured on this machine.

    Attributes:
        cores: all threads that were tried; the other choice is one thread.
        seconds: of a training step, such as `{"fp32": {"1": 0.9, "2": 0.5}}`; empty if nothing
            was measured.
        rule: what `auto` takes if nothing was measured.
        reason: why nothing was measured, or what was.
        taken: cores that other programs took meanwhile, which makes threads wait for each other.
    """

    cores: int
    rule: Precision
    reason: str
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    taken: float = 0.0

    @property
    def precision(self) -> Precision:
        """What `precision=auto` stands for: bf16 only if it is clearly faster."""
        if not self.seconds:
            return self.rule
        best = {name: min(times.values()) for name, times in self.seconds.items()}
        return Precision.bf16 if best["bf16"] < CLEARLY * best["fp32"] else Precision.fp32

    def threads(self, precision: Precision, available: int) -> int:
        """Return what `threads=null` stands for: one thread only if that is clearly faster.

        Times that were taken beside other programs say nothing of the threads.
        """
        if self.taken > SLACK_CORES:
            return available
        times = self.seconds.get(precision, {})
        alone, together = times.get("1", 0.0), times.get(str(self.cores), 0.0)
        return 1 if alone < CLEARLY * together else available

    def record(self) -> dict[str, Any]:
        """Return what result.json says of it."""
        return {"reason": self.reason, "seconds": self.seconds, "taken": self.taken}


def measure_speed(model: ModelConfig, image_size: int, accelerator: Accelerator) -> Speed:
    """Return what is fastest on this machine for the model's family at an image size.

    Measures for some seconds unless a process has done so before.
    """
    own_gpu = accelerator not in (Accelerator.auto, Accelerator.cpu)
    if own_gpu or (accelerator is Accelerator.auto and devices.has_gpu()):
        return _by_rule(accelerator, "only processors are measured, not GPUs")
    return _measured(*_reference(model), image_size)


def _by_rule(accelerator: Accelerator, reason: str) -> Speed:
    native = devices.native_bf16(accelerator)
    return Speed(usable_cores(), Precision.bf16 if native else Precision.fp32, reason)


def _reference(config: ModelConfig) -> tuple[str, Family]:
    """Return name and family of the model that is timed in place of a run's own."""
    if config.family is Family.timm:
        return config.name, config.family
    family = Family.resnet if config.family is Family.custom else config.family
    return REFERENCE[family], family


@lru_cache(maxsize=64)
def _measured(name: str, family: Family, size: int) -> Speed:
    cores = usable_cores()
    what = f"training steps of {name} at {size} pixels"
    question = {
        "method": METHOD,
        "cpu": hardware.cpu_name(),
        "flags": sorted(hardware.cpu_flags()),
        "cores": cores,
        "torch": torch.__version__,
        "model": f"{family}/{name}",
        "size": size,
    }
    key = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:16]
    try:
        path = cache_folder() / "speed" / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            known = read_json(path)
            if known is None:
                log.info("timing %s to choose precision and threads, once on this machine", what)
                before = CpuTime.now()
                seconds = _measure(ModelConfig(name, family), size, cores)
                taken = (before.taken_by_others() if before else None) or 0.0
                known = {**question, "seconds": seconds, "taken": taken}
                write_json(path, known)
        seconds, taken = known["seconds"], known["taken"]
        return Speed(cores, Precision.fp32, f"measured {what}", seconds, taken)
    except Exception as error:  # of a file system, a library or a processor
        reason = f"cannot be measured ({type(error).__name__}: {error})"
        log.warning("precision and threads: %s; taking what the processor's flags suggest", reason)
        return _by_rule(Accelerator.cpu, reason)


def _measure(config: ModelConfig, size: int, cores: int) -> dict[str, dict[str, float]]:
    """Return the shortest seconds of a step by precision and number of threads."""
    photos = max(2, min(32, PIXELS // size**2))
    choices = [(p, t) for p in (Precision.fp32, Precision.bf16) for t in sorted({1, cores})]
    seconds: dict[str, dict[str, float]] = {str(p): {} for p, _ in choices}
    before, began = torch.get_num_threads(), time.perf_counter()
    try:
        with torch.random.fork_rng(devices=[]):
            step = TimedStep(build(config, ResolvedWeights("none", "none")), photos, size)
        for number in range(ROUNDS):
            for precision, threads in choices:
                torch.set_num_threads(threads)
                took = step.seconds(precision)
                if number:  # the first round warms up
                    known = seconds[precision].get(str(threads), took)
                    seconds[precision][str(threads)] = min(known, took)
            if number and time.perf_counter() - began > BUDGET_S:
                break
    finally:
        torch.set_num_threads(before)
    return seconds
