"""Ending what works on a study: a command on this machine, and workers that Slurm runs."""

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
from img2gps.study import slurm

PATIENCE_S = 60.0  # with a process that was asked to end
POLL_S = 0.2


def stop_study(root: Path, study: StudyRecord) -> str:
    """End what works on a study, and return what was ended, in words; no run is lost.

    Raises:
        BadInput: a process of another machine works on it, or one of this machine does not end.
    """
    jobs = slurm.cancel(root, study.study)
    engine = study.engine
    if jobs:
        return f"Slurm ends {counted(jobs, 'worker')}, which give their runs back"
    if not engine or not study.is_running:
        return "nothing works on it"
    if not process.is_local(engine):
        host = str(engine["machine"]).partition("/")[0]
        raise BadInput(
            f"{study.study}: process {engine['pid']} on {host} works on it; stop it there"
        )
    _end(engine)
    return "stopped; the runs under way go on from their last epoch"


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
