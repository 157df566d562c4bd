"""Workers as jobs of Slurm: submitted, counted and cancelled with Slurm's own commands.

Every worker is one task of a job array that runs `img2gps worker`. The commands are those of
Slurm 22.05 and later: https://slurm.schedmd.com/man_index.html
"""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.study import remote
from img2gps.study.spec import STORAGE_VARIABLE

WARNED_S = 120  # before its time is over, a worker is told to give its run back
SUBMITTED = "slurm.jobs"  # in the study's folder, the numbers of its array jobs
LOGS = "slurm-%A_%a.log"  # array job and task, which two machines never share

# The shell stays between Slurm and the worker, because a worker whose time is over still has to
# put itself back into Slurm's queue.
_SCRIPT = """#!/bin/sh
trap 'told=yes over=yes; kill -USR1 $worker' USR1
trap 'told=yes; kill -TERM $worker' TERM
{command} &
worker=$! told=yes
while [ "$told" ]; do told=; wait $worker; status=$?; done  # a signal ends wait, not the worker
if [ "$over" ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit $status
"""


@dataclass(frozen=True)
class Resources:
    """What each worker asks Slurm for; None leaves it to Slurm's defaults.

    Attributes:
        minutes: how long a worker may run before it gives its run back and queues again.
        options: further options of `sbatch`, such as `--partition=long`.
    """

    minutes: int | None = None
    cpus: int | None = None
    gpus: int | None = None
    memory_gb: int | None = None
    options: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Return them as options of `sbatch`."""
        given = {
            "--time": self.minutes,
            "--cpus-per-task": self.cpus,
            "--gpus-per-task": self.gpus,
            "--mem": None if self.memory_gb is None else f"{self.memory_gb}G",
        }
        words = [f"{name}={value}" for name, value in given.items() if value is not None]
        if self.gpus is not None:
            words.append("--ntasks=1")  # which --gpus-per-task requires
        if self.minutes is not None:
            words.append(f"--signal=B:USR1@{WARNED_S}")
        return [*words, *self.options]


def submit(root: Path, study: str, url: str, count: int, resources: Resources) -> str:
    """Submit workers for a study that is planned, and return the number of their array job."""
    worker = [sys.executable, "-m", "img2gps", *remote.words(root, study)]
    said = _run(
        [
            "sbatch",
            "--parsable",
            f"--array=1-{count}",
            f"--job-name={remote.name_of(root, study)}",
            f"--chdir={Path.cwd()}",
            f"--output={remote.log_path(root, study, LOGS)}",
            "--open-mode=append",
            "--requeue",
            *resources.words(),
        ],
        stdin=_SCRIPT.format(command=shlex.join(worker)),
        ledger=url,
    )
    number = said.strip().partition(";")[0]
    remote.note_submitted(root, study, SUBMITTED, f"{number}\n")
    return number


def alive(root: Path, study: str) -> int:
    """Return how many workers of a study Slurm runs or has queued."""
    words = ["--noheader", "--array", "--format=%A", *_own(root, study)]
    return len(_run(["squeue", *words]).split())


def awaited(root: Path, study: str) -> bool:
    """Return whether workers that were submitted for a study run or wait in Slurm's queue.

    A machine that cannot ask Slurm, such as one with a copy of the folder, awaits none.
    """
    if not (root / study / SUBMITTED).is_file():
        return False
    try:
        return alive(root, study) > 0
    except BadInput:
        return False


def cancel(root: Path, study: str) -> int:
    """Have Slurm end the workers of a study, which give their runs back; return how many."""
    submitted = (root / study / SUBMITTED).is_file()
    if not submitted or not (count := alive(root, study)):
        return 0
    _run(["scancel", *_own(root, study)])
    return count


def _own(root: Path, study: str) -> list[str]:
    return [f"--user={getpass.getuser()}", f"--name={remote.name_of(root, study)}"]


def _run(words: list[str], stdin: str = "", ledger: str = "") -> str:
    """Return what a command of Slurm prints; the ledger's address goes into its environment.

    Raises:
        BadInput: there is no such command, or it failed.
    """
    environment = {**os.environ, **({STORAGE_VARIABLE: ledger} if ledger else {})}
    try:
        done = subprocess.run(  # noqa: S603
            words, input=stdin, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise BadInput(
            f"{words[0]}: no such command; use hydra.sweeper.launcher=slurm where Slurm's own "
            "commands are, such as a login node"
        ) from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise BadInput(f"{why}; see hydra.sweeper.launcher in docs/scaling.md")
    return done.stdout
