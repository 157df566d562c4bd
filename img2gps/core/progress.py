"""Bars with the time left, for steps that take more than some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from img2gps.core import pulse

PATIENCE_S = 2.0  # a bar that is gone at once only flickers

T = TypeVar("T")


def watched(items: Iterable[T], total: int, text: str) -> Iterator[T]:
    """Yield the items; in a terminal, show a bar on stderr once they take more than two seconds.

    Each item is a sign of progress.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        for item in items:
            pulse.beat()
            yield item
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    task, began = bar.add_task(text, total=total), time.monotonic()
    try:
        for item in items:
            pulse.beat()
            yield item
            bar.advance(task)
            if time.monotonic() - began > PATIENCE_S:
                bar.start()
    finally:
        bar.stop()
