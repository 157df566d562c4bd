"""Handing a run's epochs to a thread, so that training waits for no service."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from img2gps.runs.folder import History
from img2gps.runs.records import RunResult


@dataclass(frozen=True)
class End:
    """How a run has ended; `result` is None after an interruption."""

    result: RunResult | None
    exit_code: int


class Mail:
    """Takes epochs from the training, and gives each of them to a thread once.

    `end` tells how the run has ended, as soon as all of its epochs were given out.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._messages: queue.SimpleQueue[dict[str, float] | End] = queue.SimpleQueue()
        self.end = End(None, 1)

    def put(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in an epoch."""
        self._messages.put({**metrics, "epoch": epoch})

    def close(self, result: RunResult | None, exit_code: int) -> None:
        """Take in the end of the run."""
        self._messages.put(End(result, exit_code))

    def batches(self) -> Iterator[list[dict[str, float]]]:
        """Yield the epochs as they come, and at the end those that are left.

        A resumed run begins in the middle; its earlier epochs are on disk.
        """
        sent = 0
        while not isinstance(message := self._messages.get(), End):
            epoch = int(message["epoch"])
            before = [row for row in self._history.rows() if sent < row["epoch"] < epoch]
            yield [*before, message]
            sent = epoch
        self.end = message
        yield [row for row in self._history.rows() if row["epoch"] > sent]
