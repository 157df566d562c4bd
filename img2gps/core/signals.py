"""Ctrl-C and SIGTERM as one exception, which ends the run and has the exit status."""

from __future__ import annotations

import signal
from types import FrameType

RESUMABLE = "interrupted; the same command goes on from here"

_received: int | None = None
_message = RESUMABLE


class Interrupted(BaseException):
    """The process was asked to stop. Lightning would swallow a KeyboardInterrupt."""

    def __init__(self, signum: int) -> None:
        super().__init__(_message)
        self.status = 128 + signum  # as shells do: 130 for Ctrl-C, 143 for SIGTERM


def say_when_interrupted(message: str) -> None:
    """Set what an interruption of this process says, where nothing can go on from there."""
    global _message  # as of a signal, the process has one
    _message = message


def raise_on_signals() -> None:
    """Let the first SIGINT or SIGTERM raise `Interrupted` in the main thread; ignore later ones."""
    global _received, _message  # a signal belongs to the process
    _received, _message = None, RESUMABLE
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _raise)


def received() -> Interrupted | None:
    """Return the interruption that has come, also if something swallowed it."""
    return None if _received is None else Interrupted(_received)


def check() -> None:
    """Raise the interruption again if something swallowed it, such as a callback from C."""
    if stop := received():
        raise stop


def _raise(signum: int, _: FrameType | None) -> None:
    global _received
    _received = signum
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signum)
