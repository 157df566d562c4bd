"""Completing a W&B run from its run folder, and the receipt that says that this was done."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.config.schema import LoggerConfig
from img2gps.core.files import read_json, write_json
from img2gps.runs.fetching import fetch_weights
from img2gps.runs.folder import CHECKPOINT, HISTORY, UPLOADS, History
from img2gps.runs.records import RunResult, read_result
from img2gps.runs.states import RunState
from img2gps.tracking import content, media, session

if TYPE_CHECKING:
    import wandb


@dataclass(frozen=True)
class Receipt:
    """Where a run is at W&B, and how much of it; `wandb.json` in the run folder.

    `state` and `finished_at` are those of result.json, "" as long as the run had not ended.
    """

    server: str
    entity: str
    project: str
    id: str
    url: str
    state: str
    epochs: int
    finished_at: str

    @classmethod
    def of(cls, run: wandb.Run, result: RunResult | None, epochs: int) -> Receipt:
        """Return the receipt of a run whose upload is complete."""
        return cls(
            run.settings.base_url,
            run.entity,
            run.project,
            run.id,
            run.url or "",
            str(result.state) if result else "",
            epochs,
            result.finished_at if result else "",
        )

    @classmethod
    def find(cls, folder: Path, logger: LoggerConfig) -> Receipt | None:
        """Return the run folder's receipt for this project and the present server, if any."""
        for receipt in cls._read(folder):
            here = (receipt.server, receipt.project) == (session.server(), logger.project)
            if here and receipt.entity in ("", logger.entity or receipt.entity):
                return receipt
        return None

    @classmethod
    def _read(cls, folder: Path) -> list[Receipt]:
        saved = read_json(folder / UPLOADS) or {}
        names = {item.name for item in fields(cls)}
        return [cls(**one) for one in saved.get("uploads", []) if one.keys() == names]

    def write(self, folder: Path) -> None:
        """Put the receipt into the run folder, in place of an earlier one of the same W&B run."""
        others = [
            receipt
            for receipt in self._read(folder)
            if (receipt.server, receipt.project, receipt.id) != (self.server, self.project, self.id)
        ]
        uploaded = [asdict(receipt) for receipt in (*others, self)]
        write_json(folder / UPLOADS, {"uploads": uploaded})

    def covers(self, result: RunResult | None, epochs: int) -> bool:
        """Whether W&B has all that the run folder has."""
        ended = (str(result.state), result.finished_at) if result else ("", "")
        return (self.state, self.finished_at, self.epochs) == (*ended, epochs)


def show_end(run: wandb.Run, folder: Path, result: RunResult | None, logger: LoggerConfig) -> None:
    """Send what a run shows when it has ended: flat summary, scatter, error table, checkpoint.

    An offline file gets the summary alone. Pictures would make the run wait, and the upload draws
    them from the run folder anyway.
    """
    history = History(folder / HISTORY).rows()
    run.summary.update(content.summary(result, history))
    if run.offline or result is None or not result.state.is_final:
        return  # a run that may go on must find the next step free
    shown = media.of_run(folder, result)
    if shown:
        last = max((int(row["epoch"]) for row in history), default=0)
        run.log(shown, step=last + 1)
    if logger.checkpoint and (folder / CHECKPOINT).is_file():
        import wandb

        artifact = wandb.Artifact(f"model-{result.run_id}", type="model")
        artifact.add_file(str(folder / CHECKPOINT))
        run.log_artifact(artifact)


def upload(
    folder: Path, about: content.Description, logger: LoggerConfig, run_id: str | None = None
) -> Receipt:
    """Make the W&B run equal to the run folder, whether it is missing there or incomplete.

    Raises:
        Exception: whatever the SDK raises. Repeating goes on from there.
    """
    result = read_result(folder)
    if logger.checkpoint:
        fetch_weights(folder)
    history = History(folder / HISTORY).rows()
    run = session.start(about, logger, folder.parent, online=True, run_id=run_id)
    ended_well = result is not None and result.state in (RunState.finished, RunState.pruned)
    with session.finishing(run, exit_code=0 if ended_well else 1):
        mean_predictor_m = content.mean_predictor_m(folder, result)
        session.log_rows(run, content.rows(history, mean_predictor_m))
        show_end(run, folder, result, logger)
    receipt = Receipt.of(run, result, len(history))
    receipt.write(folder)
    for file in local_files(folder):
        file.with_name(file.name + ".synced").touch()  # `wandb sync` would send it all again
    return receipt


def local_files(folder: Path) -> list[Path]:
    """Return W&B's own files of a run, online and offline, the newest last."""
    run_id = folder.name
    return sorted((folder.parent / "wandb").glob(f"*run-*-{run_id}/run-{run_id}.wandb"))


def drop_offline_files(folder: Path) -> None:
    """Delete a predecessor's offline files, because the next one repeats their epochs."""
    for file in local_files(folder):
        if file.parent.name.startswith("offline-run-"):
            shutil.rmtree(file.parent, ignore_errors=True)
