"""Worker processes: started with their share of the cores, watched, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from img2gps.core import hardware
from img2gps.core.process import identity
from img2gps.study import process
from img2gps.study import worker as working
from img2gps.study.spec import Spec

PATIENCE_S = 20.0  # for workers to save and leave; a run can always go on from its last epoch
DYING_S = 2.0  # at most, from the kernel's counting a kill for memory to the end of its victim
POLL_S = 0.05
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Pool:
    """Worker processes, each with its share of the cores; children of this process, none deeper."""

    def __init__(self, spec: Spec, url: str, size: int) -> None:
        self.spec, self.size = spec, size
        threads = str(max(1, hardware.cores() // size))
        self._environment = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, threads),
            working.STORAGE_VARIABLE: url,
            working.PARENT_VARIABLE: str(os.getpid()),
            "PYTHONFAULTHANDLER": "1",  # where in the code a crash was, in the worker's log
        }
        self._children: dict[int, tuple[subprocess.Popen[bytes], dict[str, str | int]]] = {}
        self._memory_kills = process.memory_kills()

    def log(self, index: int) -> Path:
        """Where a worker's words go."""
        return Path(self.spec.root) / self.spec.name / f"worker-{index}.log"

    @property
    def empty(self) -> bool:
        """Whether no worker is there."""
        return not self._children

    def fill(self, waiting: int, running: int) -> None:
        """Start workers for what is queued, up to the pool's size.

        Those that run nothing yet, or no longer, will take what is queued first.
        """
        free = [index for index in range(self.size) if index not in self._children]
        idle = len(self._children) - running
        for index in free[: max(0, waiting - max(0, idle))]:
            self._start(index)

    def _start(self, index: int) -> None:
        command = [sys.executable, "-m", "img2gps.study.worker", self.spec.name, str(index)]
        with self.log(index).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C reaches the engine, which tells the workers
            )
        self._children[index] = child, identity(child.pid)

    def ended(self) -> list[tuple[dict[str, str | int], int, bool]]:
        """Workers that are gone: who, exit code, and whether the kernel killed for memory since."""
        codes = self._codes()
        kills = process.memory_kills()  # after the polls: a kill is counted before its victim ends
        killed, self._memory_kills = kills > self._memory_kills, kills
        end = time.monotonic() + DYING_S
        while (
            killed
            and -signal.SIGKILL not in codes.values()
            and len(codes) < len(self._children)  # one that lives may be the victim
            and time.monotonic() < end
        ):
            time.sleep(POLL_S)
            codes = self._codes()
        return [(self._children.pop(index)[1], code, killed) for index, code in codes.items()]

    def _codes(self) -> dict[int, int]:
        polled = {index: child.poll() for index, (child, _) in self._children.items()}
        return {index: code for index, code in polled.items() if code is not None}

    def close(self) -> list[dict[str, str | int]]:
        """Stop all workers, those that do not listen by force; who they were."""
        for child, _ in self._children.values():
            child.terminate()
        end = time.monotonic() + PATIENCE_S
        for child, _ in self._children.values():
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        who = [who for _, who in self._children.values()]
        self._children.clear()
        return who
