"""Worker processes: started with their share of the cores, watched, and stopped."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from img2gps.core import hardware
from img2gps.core.process import identity
from img2gps.study import gpus, process
from img2gps.study.spec import PARENT_VARIABLE, PLACES_VARIABLE, STORAGE_VARIABLE, Spec

PATIENCE_S = 20.0  # for workers to save and leave; a run can always go on from its last epoch
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Death:
    """A worker that is gone, and why."""

    worker: dict[str, str | int]
    regular: bool  # it had nothing more to do
    kind: str
    reason: str
    log: Path


class Pool:
    """Worker processes, each with its share of the cores and with a GPU, if there is any."""

    def __init__(self, spec: Spec, url: str, size: int) -> None:
        self.spec, self.size = spec, size
        threads = str(max(1, hardware.cores() // size))
        self._environment = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, threads),
            STORAGE_VARIABLE: url,
            PARENT_VARIABLE: str(os.getpid()),
            PLACES_VARIABLE: json.dumps(spec.places),
            "PYTHONFAULTHANDLER": "1",  # writes where in the code a crash was into the log
        }
        self._gpus = gpus.visible()
        self._children: dict[int, tuple[subprocess.Popen[bytes], dict[str, str | int]]] = {}

    def log(self, index: int) -> Path:
        """Return the file that a worker writes to; machines that share the folder have theirs."""
        name = f"worker-{socket.gethostname()}-{index}.log"
        return Path(self.spec.root) / self.spec.name / name

    @property
    def note(self) -> str:
        """What to know of the workers' GPUs; "" if there is nothing."""
        return gpus.sharing(self.size, self._gpus)

    @property
    def empty(self) -> bool:
        """Whether there is no worker."""
        return not self._children

    def fill(self, waiting: int, running: int) -> None:
        """Start workers for the queued runs, up to the pool's size.

        Workers that run nothing yet, or nothing any more, will take queued runs first.
        """
        free = [index for index in range(self.size) if index not in self._children]
        idle = len(self._children) - running
        for index in free[: max(0, waiting - max(0, idle))]:
            self._start(index)

    def _start(self, index: int) -> None:
        command = [sys.executable, "-m", "img2gps.study.worker", self.spec.name]
        with self.log(index).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603
                command,
                env={**self._environment, **gpus.of_worker(index, self._gpus, self.spec.devices)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C reaches the engine, which tells the workers
            )
        self._children[index] = child, identity(child.pid)

    def deaths(self) -> list[Death]:
        """Return the workers that have ended since the last call."""
        found = []
        for index, (child, worker) in list(self._children.items()):
            if (code := child.poll()) is not None:
                kind, reason = process.how_it_died(code)
                found.append(Death(worker, code == 0, kind, reason, self.log(index)))
                del self._children[index]
        return found

    def close(self) -> list[dict[str, str | int]]:
        """Stop all workers, by force those that do not react, and return who they were."""
        for child, _ in self._children.values():
            child.terminate()
        end = time.monotonic() + PATIENCE_S
        for child, _ in self._children.values():
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        workers = [worker for _, worker in self._children.values()]
        self._children.clear()
        return workers
