"""Mirroring a run to MLflow while it trains, in a thread that training hardly waits for."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2gps.config.schema import LoggerConfig
from img2gps.core.advice import with_runs
from img2gps.runs.records import RunResult
from img2gps.tracking import content
from img2gps.tracking.mail import MailTracker
from img2gps.tracking.mlflow import store
from img2gps.tracking.mlflow.mirror import Mirror

INTERRUPTED_S = 5.0

log = logging.getLogger(__name__)


class MlflowTracker(MailTracker):
    """Mirrors to MLflow.

    Training waits only in `finish`: for a server that has answered no longer than the timeout, and
    for one that has not, until the timeout has passed since the run began. A file gets more time.
    """

    def __init__(
        self,
        logger: LoggerConfig,
        folder: Path,
        swept: Mapping[str, Any],
        mean_predictor_m: float | None,
    ) -> None:
        store.check_installed()
        self._address = store.address_of(folder.parent.parent)
        self._began = time.monotonic()
        self._answered = False
        super().__init__(logger, folder, swept, mean_predictor_m)

    def finish(self, result: RunResult | None, exit_code: int) -> None:
        """Send the rest, and wait for it: a few seconds only if the user interrupted the run."""
        self._mail.close(result, exit_code)
        self._thread.join(self._patience_s(interrupted=result is None))
        if self._thread.is_alive():
            self._given_up = True
            if result is not None:  # an interruption leaves it too little time to be sure
                self._note_unreachable()
            self._warn("no answer in time")

    def _patience_s(self, *, interrupted: bool) -> float:
        if interrupted:
            return INTERRUPTED_S
        waited = 0.0 if self._answered else time.monotonic() - self._began
        return max(0.0, store.patience_s(self._address, self._logger) - waited)

    def _note_unreachable(self) -> None:
        if not store.is_file(self._address):
            store.note_unreachable()

    def _work(self) -> None:
        if store.recently_unreachable():
            self._warn("it did not answer an earlier run")
            return
        try:
            self._follow()
        except Exception as error:  # training goes on whatever MLflow does
            if not self._answered:
                self._note_unreachable()
            if not self._given_up:
                self._warn(store.said(error))

    def _follow(self) -> None:
        opened = store.open_store(self._folder.parent.parent, self._logger)
        study = content.find_study(self._folder.parent)
        about = content.describe(self._folder, study, self._swept)
        mirror = Mirror.open(opened, self._folder, about, self._mean_predictor_m)
        self._answered = True
        log.info("MLflow: run %s at %s", mirror.id, store.masked(opened.address))
        for rows in self._mail.batches():
            mirror.send(rows)
        end = self._mail.end
        mirror.end(end.result, end.exit_code, checkpoint=self._logger.checkpoint)

    def _warn(self, why: str) -> None:
        study = self._folder.parent
        later = with_runs(f"img2gps sync {study.name} --to mlflow", study.parent)
        log.warning("MLflow: %s; upload later: %s", why, later)
