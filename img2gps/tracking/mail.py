"""Handing a run's epochs to a thread, so that training waits for no service."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from img2gps.config.schema import LoggerConfig
from img2gps.runs.folder import HISTORY, History
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


class MailTracker(ABC):
    """Hands a run's epochs to a thread in which all of a service happens, from import to upload."""

    def __init__(
        self,
        logger: LoggerConfig,
        folder: Path,
        swept: Mapping[str, Any],
        mean_predictor_m: float | None,
    ) -> None:
        self._logger, self._folder, self._swept = logger, folder, swept
        self._mean_predictor_m = mean_predictor_m
        self._history = History(folder / HISTORY)
        self._mail = Mail(self._history)
        self._given_up = False
        self._thread = threading.Thread(target=self._work, name=type(self).__name__, daemon=True)
        self._thread.start()

    @abstractmethod
    def _work(self) -> None:
        """Send what the mail has; nothing may escape from it."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Send this epoch, and those before it that are not sent yet."""
        self._mail.put(epoch, metrics)
