"""Which precision and how many threads train fastest on this processor, found by measuring.

A processor that has bf16 instructions may still compute float32 faster. Training steps are
therefore timed once for each processor, version of torch, family of models and image size. The
answer is kept in the user's cache, so the same machine gives the same answer every time. Only an
answer that was measured beside other programs is provisional: it stands until a process finds the
machine idle and measures again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from img2gps.config.schema import Accelerator, Family, ModelConfig, Precision
from img2gps.core import hardware
from img2gps.core.files import read_json, write_json
from img2gps.core.load import is_idle, usable_cores
from img2gps.core.paths import cache_folder
from img2gps.training import devices
from img2gps.training.timing import CLEARLY, StepTimes, time_steps

METHOD = 2  # raise it when another way of measuring makes older answers worthless
PATIENCE_S = 120.0  # with another process that is measuring
REFERENCE = {
    Family.resnet: "resnet18",
    Family.efficientnet_lite: "efficientnet_lite0",
    Family.mobilenet: "mobilenet_v2",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """What `auto` takes on this machine, and why.

    Attributes:
        cores: all threads that were tried; the other choice is one thread.
        rule: the precision that `auto` takes if nothing was measured.
        reason: what was measured, or why nothing was.
        times: of a training step; None if nothing was measured.
    """

    cores: int
    rule: Precision
    reason: str
    times: StepTimes | None = None

    @property
    def precision(self) -> Precision:
        """What `precision=auto` stands for."""
        return self.times.precision if self.times else self.rule

    def threads(self, precision: Precision, available: int) -> int:
        """Return what `threads=null` stands for: one thread only if that is clearly faster.

        Times that were taken beside other programs say nothing about the threads.
        """
        if self.times is None or self.times.busy:
            return available
        clock = self.times.clock[precision]
        return 1 if clock["1"] < CLEARLY * clock[str(self.cores)] else available

    def record(self) -> dict[str, Any]:
        """Return what result.json says of it."""
        if self.times is None:
            return {"reason": self.reason}
        times = self.times
        return {
            "reason": self.reason,
            "seconds": times.clock,
            "processor_seconds": times.processor,
            "taken": times.taken,
            "provisional": times.busy,
        }


@dataclass(frozen=True)
class Question:
    """What an answer depends on; `flags` are the instruction sets of the processor."""

    model: str
    family: Family
    size: int
    cores: int
    cpu: str
    flags: tuple[str, ...]
    torch: str
    method: int = METHOD

    @property
    def path(self) -> Path:
        """The file in which the answer is kept."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
        return cache_folder() / "speed" / f"{digest[:16]}.json"


_answers: dict[Question, Speed] = {}  # a process gives one answer, whatever others measure


def measure_speed(
    model: ModelConfig, image_size: int, accelerator: Accelerator, *, settled: bool = False
) -> Speed:
    """Return what is fastest on this machine for the model's family at an image size.

    Measures for some seconds unless a process has done so before.

    Args:
        model: of the run; a small model of its family is timed in its place.
        image_size: of the run.
        accelerator: of the run.
        settled: the run's study has decided the precision, so a provisional answer is not
            measured again.
    """
    own_gpu = accelerator not in (Accelerator.auto, Accelerator.cpu)
    if own_gpu or (accelerator is Accelerator.auto and devices.has_gpu()):
        return _by_rule(accelerator, "only processors are measured, not GPUs")
    question = _question(model, image_size)
    if question not in _answers:
        _answers[question] = _answer(question, settled=settled)
    return _answers[question]


def _by_rule(accelerator: Accelerator, reason: str) -> Speed:
    native = devices.native_bf16(accelerator)
    return Speed(usable_cores(), Precision.bf16 if native else Precision.fp32, reason)


def _question(config: ModelConfig, size: int) -> Question:
    family = Family.resnet if config.family is Family.custom else config.family
    return Question(
        model=REFERENCE.get(family, config.name),
        family=family,
        size=size,
        cores=usable_cores(),
        cpu=hardware.cpu_name(),
        flags=tuple(sorted(hardware.cpu_flags())),
        torch=torch.__version__,
    )


def _answer(question: Question, *, settled: bool) -> Speed:
    try:
        times = _known_or_measured(question, settled=settled)
    except Exception as error:  # of a file system, a library or a processor
        reason = f"cannot be measured ({type(error).__name__}: {error})"
        log.warning(
            "precision and threads: %s; taking what the processor's flags suggest. "
            "IMG2GPS_CACHE=FOLDER names a folder that can be written, and precision=... and "
            "threads=... need no measuring", reason,
        )  # fmt: skip
        return _by_rule(Accelerator.cpu, reason)
    reason = f"measured training steps of {question.model} at {question.size} pixels"
    if times.busy:
        reason += f" while other programs took {times.taken:.1f} cores, so provisionally"
    return Speed(question.cores, Precision.fp32, reason, times)


def _known_or_measured(question: Question, *, settled: bool) -> StepTimes:
    known = _read(question.path)
    if known is not None and (settled or not known.busy or not is_idle()):
        return known
    try:
        question.path.parent.mkdir(parents=True, exist_ok=True)
        # One lock for all questions: two measurements at once would disturb each other.
        with FileLock(question.path.parent / "measuring.lock", timeout=PATIENCE_S):
            newer = _read(question.path)
            if newer is not None and newer != known:
                return newer
            return _measure(question, known)
    except (OSError, NotImplementedError):  # no lock to be had, or another process that hangs
        if known is None:
            raise
        return known


def _measure(question: Question, known: StepTimes | None) -> StepTimes:
    """Measure and keep the answer, unless it is no better than the one that is known."""
    log.info(
        "timing training steps of %s at %d pixels to choose precision and threads, %s",
        question.model, question.size,
        "again on the idle machine" if known else "once on this machine",
    )  # fmt: skip
    found = time_steps(ModelConfig(question.model, question.family), question.size, question.cores)
    if known is not None and found.busy:
        return known
    write_json(question.path, {**asdict(question), **asdict(found)})
    if known is not None and known.precision is not found.precision:
        log.warning(
            "precision=auto takes %s from now on; before, measured beside other programs, it was "
            "%s: give precision=%s to go on with runs that have begun",
            found.precision, known.precision, known.precision,
        )  # fmt: skip
    return found


def _read(path: Path) -> StepTimes | None:
    plain = read_json(path)
    return StepTimes.from_dict(plain) if plain else None
