"""Signs of progress, by which a watchdog tells a process that works from one that hangs."""

from __future__ import annotations

import time

_last = time.monotonic()


def beat() -> None:
    """Tell that something has been done: a batch, a photo, an answer."""
    global _last  # a process has one watchdog
    _last = time.monotonic()


def silent_s() -> float:
    """Return the seconds since the last sign of progress."""
    return time.monotonic() - _last
