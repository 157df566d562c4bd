"""Completing a W&B run from its run folder, and what says that this has been done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.config.schema import LoggerConfig
from img2gps.core.files import read_json, write_json
from img2gps.runs.folder import CHECKPOINT, FINAL_STATES, HISTORY, RESULT, History
from img2gps.tracking import media, mirror, session

if TYPE_CHECKING:
    import wandb

RECEIPT = "wandb.json"  # in the run folder
FILE_SECONDS = 300  # for one offline file; `wandb sync` itself would try for hours
STUMP_BYTES = 7  # an offline file with a header and no record


@dataclass(frozen=True)
class Receipt:
    """Where a run is at W&B, and how much of it; `wandb.json` in the run folder."""

    server: str
    entity: str
    project: str
    id: str
    url: str
    state: str  # of result.json; "" = the run was not over
    epochs: int
    finished_at: str  # of result.json

    @classmethod
    def of(cls, run: wandb.Run, result: Mapping[str, Any], epochs: int) -> Receipt:
        """The receipt of a run whose upload is complete."""
        return cls(
            run.settings.base_url,
            run.entity,
            run.project,
            run.id,
            run.url or "",
            str(result.get("state") or ""),
            epochs,
            str(result.get("finished_at") or ""),
        )

    @classmethod
    def begun(cls, logger: LoggerConfig, run_id: str) -> Receipt:
        """The receipt of a run that was begun, before W&B has told anything about it."""
        return cls(session.server(), logger.entity or "", logger.project, run_id, "", "", 0, "")

    @classmethod
    def find(cls, folder: Path, logger: LoggerConfig) -> Receipt | None:
        """The run folder's receipt of this project at the present server; None without one."""
        for receipt in cls._read(folder):
            here = (receipt.server, receipt.project) == (session.server(), logger.project)
            if here and receipt.entity in ("", logger.entity or receipt.entity):
                return receipt
        return None

    @classmethod
    def _read(cls, folder: Path) -> list[Receipt]:
        saved = read_json(folder / RECEIPT) or {}
        names = {item.name for item in fields(cls)}
        return [cls(**one) for one in saved.get("uploads", []) if one.keys() == names]

    def write(self, folder: Path) -> None:
        """Put it into the run folder, in place of an earlier one of the same run there."""
        others = [
            receipt
            for receipt in self._read(folder)
            if (receipt.server, receipt.project, receipt.id) != (self.server, self.project, self.id)
        ]
        uploaded = [asdict(receipt) for receipt in (*others, self)]
        write_json(folder / RECEIPT, {"uploads": uploaded})

    def covers(self, result: Mapping[str, Any], epochs: int) -> bool:
        """Whether W&B has all that the run folder has."""
        told = (self.state, self.finished_at, self.epochs)
        return told == (
            str(result.get("state") or ""),
            str(result.get("finished_at") or ""),
            epochs,
        )


def show_end(run: wandb.Run, folder: Path, result: Mapping[str, Any], logger: LoggerConfig) -> None:
    """Send what a run shows when it is over: flat summary, scatter, error table, checkpoint.

    An offline file gets the summary alone: pictures would make the run wait, and the upload draws
    them from the run folder anyway.
    """
    history = History(folder / HISTORY).rows()
    run.summary.update(mirror.summary(result, history))
    if run.offline or result.get("state") not in FINAL_STATES:
        return  # a run that may go on must find the next step free
    shown = media.of_run(folder)
    if shown:
        last = max((int(row["epoch"]) for row in history), default=0)
        run.log(shown, step=last + 1)
    if logger.checkpoint and (folder / CHECKPOINT).is_file():
        import wandb

        artifact = wandb.Artifact(f"model-{result['run_id']}", type="model")
        artifact.add_file(str(folder / CHECKPOINT))
        run.log_artifact(artifact)


def from_folder(
    folder: Path, about: mirror.Description, logger: LoggerConfig, run_id: str | None = None
) -> Receipt:
    """Make the W&B run equal to the run folder: whole where it is missing, else what lacks.

    Raises:
        Exception: whatever the SDK raises; nothing is spoilt then, and repeating goes on.
    """
    result = read_json(folder / RESULT) or {}
    history = History(folder / HISTORY).rows()
    study_folder = folder.parent
    run = session.start(
        about,
        logger,
        study_folder,
        online=True,
        name=about.name(study_folder),
        run_id=run_id,
    )
    exit_code = 0 if result.get("state") in ("finished", "pruned") else 1
    try:
        session.log_rows(run, mirror.rows(history, mirror.mean_predictor_m(folder, result)))
        show_end(run, folder, result, logger)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=exit_code)
    receipt = Receipt.of(run, result, len(history))
    receipt.write(folder)
    for file in local_files(study_folder, about.run_id):
        file.with_name(file.name + ".synced").touch()  # `wandb sync` would send it all again
    return receipt


def local_files(study_folder: Path, run_id: str) -> list[Path]:
    """W&B's own files of a run, online and offline, the newest last."""
    return sorted((study_folder / "wandb").glob(f"*run-*-{run_id}/run-{run_id}.wandb"))


def drop_offline_files(study_folder: Path, run_id: str) -> None:
    """Forget a predecessor's offline files: the next one starts with its epochs."""
    for file in local_files(study_folder, run_id):
        if file.parent.name.startswith("offline-run-"):
            shutil.rmtree(file.parent, ignore_errors=True)


def is_stump(file: Path) -> bool:
    """Whether an offline file was begun and never written to; `wandb sync` chokes on those."""
    return file.stat().st_size <= STUMP_BYTES


def is_synced(file: Path) -> bool:
    """Whether W&B's own mark says that the file was uploaded."""
    return file.with_name(file.name + ".synced").exists()


def from_file(file: Path, logger: LoggerConfig) -> bool:
    """Let `wandb sync` upload one offline file; True if it did.

    Its exit status says nothing: it is 0 also where nothing was uploaded.
    """
    session.quiet()
    given = {"--project": logger.project, "--entity": logger.entity}
    place = [word for option, value in given.items() if value for word in (option, value)]
    environment = {**os.environ, "WANDB_DIR": str(file.parent.parent.parent)}  # for its own log
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(  # noqa: S603 - our own interpreter and a path
            [sys.executable, "-m", "wandb", "sync", *place, str(file.parent)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FILE_SECONDS,
            check=False,
        )
    return is_synced(file)
