"""Worker processes: what the end of one means for its run, and stopping in time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from img2gps.core.process import HELPER_LOST, how_it_ended
from img2gps.core.signals import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # of schedulers, too
HUNG, OVERTIME = 86, 87  # exit statuses of a worker that ended itself


def how_it_died(returncode: int) -> tuple[str, str]:
    """Return `(kind, reason)` of a child's end: `exception` (its own fault) or `preempted`.

    A run that takes too long is `bad input`, because another try would take as long.
    """
    if returncode == HUNG:
        where = "the worker's log shows where"
        return "exception", f"made no progress for hydra.sweeper.max_silence_s; {where}"
    if returncode == OVERTIME:
        return "bad input", "took longer than hydra.sweeper.max_run_minutes"
    if returncode == HELPER_LOST:
        return "preempted", "lost a process that it trained with"
    own_fault, how = how_it_ended(returncode)
    return "exception" if own_fault else "preempted", f"worker process {how}"


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
