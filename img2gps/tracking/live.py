"""The tracker of a W&B run while it trains: a thread that nothing waits for until the end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.config.schema import LoggerConfig
from img2gps.runs.folder import CONFIG, HISTORY, History
from img2gps.tracking import mirror, session, uploads

if TYPE_CHECKING:
    import wandb

INTERRUPTED_SECONDS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Epoch:
    row: dict[str, float]


@dataclass(frozen=True)
class _End:
    result: Mapping[str, Any]
    exit_code: int


class WandbTracker:
    """Hands epochs to a thread in which all of W&B happens, from import to upload.

    Training waits only in `finish`, and there at most as long as the timeout allows.
    """

    def __init__(
        self,
        logger: LoggerConfig,
        folder: Path,
        about: mirror.Description,
        mean_predictor_m: float | None,
    ) -> None:
        self._logger, self._folder, self._about = logger, folder, about
        self._mean_predictor_m = mean_predictor_m
        self._messages: queue.SimpleQueue[_Epoch | _End] = queue.SimpleQueue()
        self._given_up = False
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Send this epoch, and those before it that are not sent yet."""
        self._messages.put(_Epoch({**metrics, "epoch": epoch}))

    def finish(self, result: Mapping[str, Any], folder: Path, exit_code: int) -> None:
        """Send the rest, waiting no longer than for starting and finishing together.

        A user who interrupts the run waits a few seconds only.
        """
        self._messages.put(_End(result, exit_code))
        patience = 2 * self._logger.timeout_s + 5 if result else INTERRUPTED_SECONDS
        self._thread.join(patience)
        if self._thread.is_alive():
            self._given_up = True
            session.note_unreachable()
            self._warn("no answer in time")

    def _work(self) -> None:
        try:
            run = self._start()
            if run is not None:
                self._follow(run)
        except Exception as error:  # training goes on whatever W&B does
            if isinstance(error, TimeoutError):
                session.note_unreachable()
            if not self._given_up:
                self._warn(session.short(error))

    def _start(self) -> wandb.Run | None:
        if session.mode() == "disabled":
            log.info("W&B is switched off (WANDB_MODE=disabled)")
            return None
        try:
            if session.wanted(self._logger):
                return self._open(online=True)
        except Exception as error:  # the SDK raises all sorts
            self._warn(f"{session.short(error)}; going on offline")
            session.note_unreachable()
            session.restart()
        return self._open(online=False)

    def _open(self, *, online: bool) -> wandb.Run:
        study_folder = self._folder.parent
        uploads.drop_offline_files(study_folder, self._about.run_id)
        about = self._about
        if (self._folder / CONFIG).is_file():  # as the run settled it, such as its thread count
            about = replace(about, config=mirror.read(self._folder).config)
        name = about.name(study_folder)
        run = session.start(about, self._logger, study_folder, online=online, name=name)
        if online:
            uploads.Receipt.of(run, {}, 0).write(self._folder)  # of use if this process is killed
            log.info("W&B: %s", run.url)
        return run

    def _follow(self, run: wandb.Run) -> None:
        sent, end = 0, _End({}, 1)
        try:
            while not isinstance(message := self._messages.get(), _End):
                # A resumed run begins in the middle: what came before is on disk.
                epoch = int(message.row["epoch"])
                before = [row for row in self._history() if sent < row["epoch"] < epoch]
                session.log_rows(run, mirror.rows([*before, message.row], self._mean_predictor_m))
                sent = epoch
            end = message
            rest = [row for row in self._history() if row["epoch"] > sent]
            session.log_rows(run, mirror.rows(rest, self._mean_predictor_m))
            uploads.show_end(run, self._folder, end.result, self._logger)
        finally:
            run.finish(exit_code=end.exit_code)
        if not run.offline:
            uploads.Receipt.of(run, end.result, len(self._history())).write(self._folder)

    def _history(self) -> list[dict[str, float]]:
        return History(self._folder / HISTORY).rows()

    def _warn(self, why: str) -> None:
        log.warning("W&B: %s; upload later: img2gps sync %s", why, self._about.study)


def publish_study(folder: Path) -> None:
    """Send what a study has beyond its runs; what goes wrong becomes one line of warning."""
    try:
        first = mirror.of_study(folder)
        if first is not None and session.wanted(first.logger()):
            from img2gps.tracking import study

            for name, _ in study.publish(folder, first.logger(), [folder.parent]):
                log.info("W&B: %s", name)
    except Exception as error:  # a study that is over must not fail because of W&B
        log.warning("W&B: %s; upload later: img2gps sync %s", session.short(error), folder.name)
