"""Ctrl-C and SIGTERM as one exception that unwinds the run and names the exit status."""

from __future__ import annotations

import signal
from types import FrameType

RESUMABLE = "interrupted; the same command goes on from here"

_received: int | None = None


class Interrupted(BaseException):
    """The process was asked to stop. Not a KeyboardInterrupt, which Lightning would swallow."""

    def __init__(self, signum: int) -> None:
        super().__init__(RESUMABLE)
        self.status = 128 + signum  # the shell's convention: 130 for Ctrl-C, 143 for SIGTERM


def raise_on_signals() -> None:
    """Let SIGINT and SIGTERM raise `Interrupted` in the main thread; later ones change nothing."""
    global _received  # a signal belongs to the process
    _received = None
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _raise)


def received() -> Interrupted | None:
    """The signal that has come, also where nothing let it through."""
    return None if _received is None else Interrupted(_received)


def check() -> None:
    """Raise again what was raised where nothing let it through, such as a callback from C."""
    if stop := received():
        raise stop


def _raise(signum: int, _: FrameType | None) -> None:
    global _received
    _received = signum
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signum)
