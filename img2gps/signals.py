"""Ctrl-C and SIGTERM as one exception that unwinds the run and names the exit status."""

from __future__ import annotations

import signal
from types import FrameType

RESUMABLE = "interrupted; the same command goes on from here"


class Interrupted(BaseException):
    """The process was asked to stop. Not a KeyboardInterrupt, which Lightning would swallow."""

    def __init__(self, signum: int) -> None:
        super().__init__(RESUMABLE)
        self.status = 128 + signum  # the shell's convention: 130 for Ctrl-C, 143 for SIGTERM


def raise_on_signals() -> None:
    """Let SIGINT and SIGTERM raise `Interrupted` in the main thread; a second one changes nothing."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _raise)


def _raise(signum: int, _: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signum)
