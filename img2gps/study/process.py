"""Processes: who is alive, dying with one's parent, what a signal means, stopping in time."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from img2gps.core.signals import Interrupted

PR_SET_PDEATHSIG = 1  # linux/prctl.h
MEANING = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGABRT: "aborted by a library",
}  # signals that the program's own fault sends; all others come from outside


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; leave at once if it has.

    To be called in the child's main thread, for a parent that started it from its main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def how_it_died(returncode: int, *, memory_killed: bool) -> tuple[str, str]:
    """`(kind, reason)` of a child's end: `exception` (its own fault) or `preempted`."""
    if returncode >= 0:
        return "exception", f"worker process ended with exit status {returncode}"
    number = -returncode
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in MEANING:
        return "exception", f"worker process died of {name} ({MEANING[signal.Signals(number)]})"
    if number == signal.SIGKILL and memory_killed:
        return "preempted", f"worker process was killed by {name} (out of memory)"
    return "preempted", f"worker process was killed by {name}"


def memory_kills() -> int:
    """Processes that the kernel has killed for want of memory, as far as it tells."""
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, count = line.partition(" ")
            if key == "oom_kill":
                return int(count)
    return 0


class Stop:
    """SIGINT and SIGTERM, taken where it does no harm.

    Inside `interruptible()` a signal raises `Interrupted` at once; elsewhere, and inside
    `protected()`, it is kept until then, so that no ledger entry is cut in two.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._armed = False

    def install(self) -> None:
        """Take over both signals; for the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, signum: int, _: FrameType | None) -> None:
        first = self.signum is None
        self.signum = self.signum or signum
        if self._armed and first:  # a second one must not disturb the saving
            raise Interrupted(signum)

    @property
    def wanted(self) -> bool:
        """Whether someone has asked to stop."""
        return self.signum is not None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal end what is inside."""
        self._armed = True
        try:
            if self.signum is not None:
                raise Interrupted(self.signum)
            yield
        finally:
            self._armed = False

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Keep a signal until what is inside is done."""
        before, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = before
        if before and self.signum is not None:
            raise Interrupted(self.signum)
