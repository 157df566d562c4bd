"""Ending what works on a study: a command of this machine, or workers that a scheduler runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from img2gps.core import process
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.runs.records import StudyRecord, read_study
from img2gps.study import kubernetes, ray_workers, slurm

SCHEDULERS: dict[str, tuple[Callable[[Path, str], int], str]] = {
    "Slurm": (slurm.cancel, "worker"),
    "Ray": (ray_workers.cancel, "worker"),
    "Kubernetes": (kubernetes.cancel, "Job"),
}
PATIENCE_S = 60.0  # with a process that was asked to end
POLL_S = 0.2


def stop_study(root: Path, study: StudyRecord) -> str:
    """End what works on a study, and return what was ended, in words; no run is lost.

    Raises:
        BadInput: a process of another machine works on it, or one of this machine does not end.
    """
    unknown: list[BadInput] = []  # why a scheduler that was given workers cannot be asked
    for name, (cancel, noun) in SCHEDULERS.items():
        try:
            count = cancel(root, study.study)
        except BadInput as error:
            unknown.append(error)
        else:
            if count:
                return f"{name} ends {counted(count, noun)}; runs under way go back into the ledger"
    engine = study.engine
    if not engine or not study.is_running:
        reasons = "; ".join(str(error).partition(";")[0] for error in unknown)
        seen = f", as far as this machine can see ({reasons})" if unknown else ""
        return f"nothing works on it{seen}"
    if not process.is_local(engine):
        if unknown:
            raise unknown[0]
        raise BadInput(f"{study.study}: {_name(engine)} works on it; stop it there")
    _end(engine)
    # What was stopped has left the record to another process, if one works on.
    while (other := _at_work(read_study(root, study.study))) and process.is_local(other):
        _end(other)
    if other:
        return f"stopped on this machine; {_name(other)} goes on with it: stop it there"
    return "stopped; the runs under way go on from their last epoch"


def _at_work(study: StudyRecord) -> dict[str, str | int] | None:
    return study.engine if study.is_running else None


def _name(engine: Mapping[str, str | int]) -> str:
    return f"process {engine['pid']} on {str(engine['machine']).partition('/')[0]}"


def _end(engine: Mapping[str, str | int]) -> None:
    """Ask a process of this machine to end, and wait until it has."""
    pid = int(engine["pid"])
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE_S
    while not process.known_dead(engine):
        if time.monotonic() > end:
            raise BadInput(
                f"process {pid} has not ended within {PATIENCE_S:.0f} s; it may be saving: give "
                "the command again"
            )
        time.sleep(POLL_S)
