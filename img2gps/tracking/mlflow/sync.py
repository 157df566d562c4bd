"""Uploading what MLflow lacks, run by run. Safe to repeat, and to interrupt at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from img2gps.config.schema import LoggerKind
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.progress import watched
from img2gps.runs.folder import HISTORY, History, open_folder
from img2gps.runs.records import StudyRecord
from img2gps.tracking import content
from img2gps.tracking.mlflow import store
from img2gps.tracking.mlflow.mirror import is_complete, upload
from img2gps.tracking.mlflow.study import end_study
from img2gps.tracking.sync import GIVE_UP_AFTER, Line, Options, Result, choose_studies


def sync_mlflow(root: Path, name: str | None, options: Options) -> Iterator[Line]:
    """Upload what MLflow lacks of a study, or of all studies below `root`, a line for each run.

    Raises:
        BadInput: there is no such study, or MLflow is not installed.
    """
    store.check_installed()
    in_vain = 0
    for study_folder, runs in choose_studies(root, name).items():
        study = content.find_study(study_folder)
        for folder in watched(runs, len(runs), f"MLflow: {study_folder.name}"):
            if in_vain >= GIVE_UP_AFTER:
                why = "MLflow does not answer"
                yield Line(study_folder.name, folder.name, "", Result.not_tried, why)
                continue
            line = _run(root, folder, study, options)
            in_vain = in_vain + 1 if line.outcome is Result.failed else 0
            yield line
        if not options.dry_run and not in_vain:
            end_study(study_folder)


def _run(root: Path, folder: Path, study: StudyRecord | None, options: Options) -> Line:
    line = Line(folder.parent.name, folder.name, "", Result.skipped)
    try:
        about = content.describe(folder, study)
    except BadInput as error:
        return replace(line, detail=str(error))
    line, logger = replace(line, name=about.name), options.logger(about)
    if not (options.every or LoggerKind.mlflow in logger.kinds):
        return replace(line, detail=f"logger={logger.kind}; --all uploads it too")
    epochs = len(History(folder / HISTORY).rows())
    if epochs == 0:
        return replace(line, detail="no epoch yet")
    try:
        opened = store.open_store(root, logger)
        if is_complete(opened, folder, about):
            return replace(line, outcome=Result.up_to_date)
        if options.dry_run:
            detail = counted(epochs, "epoch")
            return replace(line, outcome=Result.would_upload, detail=detail)
        with open_folder(folder):
            sent = upload(opened, folder, about, logger)
    except BadInput as error:  # it is running now
        return replace(line, detail=store.said(error))
    except Exception as error:  # MLflow raises all sorts
        return replace(line, outcome=Result.failed, detail=store.said(error))
    return replace(line, outcome=Result.uploaded, detail=f"{counted(sent, 'epoch')} added")
