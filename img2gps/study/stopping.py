"""Ending what works on a study: a command of this machine, and workers of Slurm and of Ray."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from img2gps.core import process
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.runs.records import StudyRecord
from img2gps.study import ray_workers, slurm

PATIENCE_S = 60.0  # with a process that was asked to end
POLL_S = 0.2


def stop_study(root: Path, study: StudyRecord) -> str:
    """End what works on a study, and return what was ended, in words; no run is lost.

    Raises:
        BadInput: a process of another machine works on it, or one of this machine does not end.
    """
    jobs = slurm.cancel(root, study.study)
    if jobs:
        return f"Slurm ends {counted(jobs, 'worker')}; runs under way go back into the ledger"
    if actors := _end_on_ray(root, study):
        return f"Ray ends {counted(actors, 'worker')}; runs under way go back into the ledger"
    engine = study.engine
    if not engine or not study.is_running:
        return "nothing works on it"
    if not process.is_local(engine):
        host = str(engine["machine"]).partition("/")[0]
        raise BadInput(
            f"{study.study}: process {engine['pid']} on {host} works on it; stop it there"
        )
    _end(engine)
    return "stopped; the runs under way go on from their last epoch"


def _end_on_ray(root: Path, study: StudyRecord) -> int:
    """End the workers of a study on Ray; return how many there were.

    A cluster that is gone has none, unless something elsewhere still works on the study.
    """
    try:
        return ray_workers.cancel(root, study.study)
    except BadInput:
        if study.is_running and study.engine and not process.is_local(study.engine):
            raise
        return 0


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
