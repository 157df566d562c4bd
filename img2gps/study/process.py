"""Processes: dying with one's parent, how a process ended, and stopping in time."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from img2gps.core.signals import Interrupted

PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # of schedulers, too
HUNG, OVERTIME = 86, 87  # exit statuses of a worker that ended itself
MEANING = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGABRT: "aborted by a library",
}  # signals that the program's own fault raises; all others come from outside


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit at once if it has ended.

    Call it in the child's main thread. The parent must have started the child in its main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def how_it_died(returncode: int) -> tuple[str, str]:
    """Return `(kind, reason)` of a child's end: `exception` (its own fault) or `preempted`.

    A run that takes too long is `bad input`, because another try would take as long.
    """
    if returncode == HUNG:
        where = "the worker's log shows where"
        return "exception", f"made no progress for hydra.sweeper.max_silence_s; {where}"
    if returncode == OVERTIME:
        return "bad input", "took longer than hydra.sweeper.max_run_minutes"
    if returncode >= 0:
        return "exception", f"worker process ended with exit status {returncode}"
    number = -returncode
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in MEANING:
        return "exception", f"worker process died of {name} ({MEANING[signal.Signals(number)]})"
    why = " (unless somebody did that, the memory ran out)" if name == "SIGKILL" else ""
    return "preempted", f"worker process was killed by {name}{why}"


class Stop:
    """Takes the signals that ask to stop only where they do no harm.

    Inside `interruptible()` a signal raises `Interrupted` at once. Elsewhere, and inside
    `protected()`, it waits, so that no write to the ledger is cut in two.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._armed = False

    def install(self) -> None:
        """Take over the signals. Call it in the main thread."""
        for number in STOPPING:
            signal.signal(number, self._receive)

    def _receive(self, signum: int, _: FrameType | None) -> None:
        first = self.signum is None
        self.signum = self.signum or signum
        if self._armed and first:  # a second one must not disturb the saving
            raise Interrupted(signum)

    @property
    def wanted(self) -> bool:
        """Whether the process was asked to stop."""
        return self.signum is not None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal interrupt the block."""
        self._armed = True
        try:
            if self.signum is not None:
                raise Interrupted(self.signum)
            yield
        finally:
            self._armed = False

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Keep a signal until the block has ended."""
        before, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = before
        if before and self.signum is not None:
            raise Interrupted(self.signum)
