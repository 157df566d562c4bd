"""Mirroring a run to W&B while it trains, in a thread that nothing waits for until the end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.core.advice import with_runs
from img2gps.runs.records import RunResult
from img2gps.tracking import content, session, uploads
from img2gps.tracking.mail import MailTracker

if TYPE_CHECKING:
    import wandb

INTERRUPTED_SECONDS = 5

log = logging.getLogger(__name__)


class WandbTracker(MailTracker):
    """Mirrors to W&B; training waits only in `finish`, and no longer than the timeout allows."""

    def finish(self, result: RunResult | None, exit_code: int) -> None:
        """Send the rest, and wait for it: a few seconds only if the user interrupted the run."""
        self._mail.close(result, exit_code)
        # W&B may take the timeout twice, once to start and once to finish.
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
        uploads.drop_offline_files(self._folder)
        about = content.describe(self._folder, content.find_study(study_folder), self._swept)
        run = session.start(about, self._logger, study_folder, online=online)
        if online:
            uploads.Receipt.of(run, None, 0).write(self._folder)  # in case this process is killed
            log.info("W&B: %s", run.url)
        return run

    def _follow(self, run: wandb.Run) -> None:
        try:
            for rows in self._mail.batches():
                self._send(run, rows)
            uploads.show_end(run, self._folder, self._mail.end.result, self._logger)
        finally:
            run.finish(exit_code=self._mail.end.exit_code)
        if run.offline:
            log.info("W&B: this run is offline; upload it with: %s", _sync(self._folder.parent))
        else:
            epochs = len(self._history.rows())
            uploads.Receipt.of(run, self._mail.end.result, epochs).write(self._folder)

    def _send(self, run: wandb.Run, rows: list[dict[str, float]]) -> None:
        session.log_rows(run, content.rows(rows, self._mean_predictor_m))

    def _warn(self, why: str) -> None:
        log.warning("W&B: %s; upload later: %s", why, _sync(self._folder.parent))


def publish_cells(study_folder: Path) -> None:
    """Send what a study has beyond its runs. What goes wrong becomes one line of warning."""
    try:
        first = content.first_run(study_folder)
        if first is not None and session.wanted(first.logger()):
            from img2gps.tracking import cells

            for name, _ in cells.publish(study_folder, first.logger(), [study_folder.parent]):
                log.info("W&B: %s", name)
    except Exception as error:  # a finished study must not fail because of W&B
        log.warning("W&B: %s; upload later: %s", session.short(error), _sync(study_folder))


def _sync(study_folder: Path) -> str:
    return with_runs(f"img2gps sync {study_folder.name}", study_folder.parent)
