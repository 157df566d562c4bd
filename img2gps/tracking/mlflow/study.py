"""What MLflow shows of a study beside its runs: how it ended, and its winner as a model."""

from __future__ import annotations

import logging
from pathlib import Path

from img2gps.analysis.winner import best_cell
from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.advice import with_runs
from img2gps.runs.folder import CHECKPOINT, CONFIG, WINNER
from img2gps.runs.states import RunState
from img2gps.runs.winner import Winner
from img2gps.tracking import content
from img2gps.tracking.mlflow import store
from img2gps.tracking.mlflow.mirror import RUN_ID, STUDY, find_run, parent_run, upload

ALIAS = "winner"
PLACE = "model"  # folder of the deployed run's artifacts

log = logging.getLogger(__name__)


def end_study(study_folder: Path) -> None:
    """End the study's own run with its best cell. What goes wrong becomes one line of warning."""
    logger = logger_of(study_folder)
    study = content.find_study(study_folder)
    if logger is None or study is None or store.recently_unreachable():
        return
    try:
        opened = store.open_store(study_folder.parent, logger)
        with opened.lock:
            run = parent_run(opened, study_folder).info.run_id
            best = best_cell(study)
            if best is not None:
                opened.client.set_tag(run, "best_cell", best.cell)
                opened.client.log_metric(run, f"best/{study.monitor}", best.value)
            counts = study.counts()
            for state in RunState:
                if counts[state]:
                    opened.client.set_tag(run, f"runs.{state}", str(counts[state]))
            opened.client.set_terminated(run)
    except Exception as error:  # a study must not fail because of its mirror
        later = with_runs(f"img2gps sync {study_folder.name} --to mlflow", study_folder.parent)
        log.warning("MLflow: %s; upload later: %s", store.said(error), later)


def register_winner(study_folder: Path, winner: Winner) -> str:
    """Make the winner a new version of the study's registered model, and return its name.

    Nothing is done, and "" returned, where the runs are not mirrored. What goes wrong becomes one
    line of warning.
    """
    logger = logger_of(study_folder)
    if logger is None:
        return ""
    try:
        store.check_installed()
        opened = store.open_store(study_folder.parent, logger)
        return _register(opened, study_folder, winner, logger)
    except Exception as error:  # the winner is frozen in any case
        log.warning("MLflow: the winner is not registered: %s", store.said(error))
        return ""


def _register(opened: store.Store, study_folder: Path, winner: Winner, logger: LoggerConfig) -> str:
    folder = study_folder.parent / winner.path
    upload(opened, folder, content.describe(folder, content.find_study(study_folder)), logger)
    client, name = opened.client, f"img2gps-{winner.study}"
    with opened.writing():
        run = find_run(opened, {RUN_ID: folder.name, STUDY: folder.parent.name})
        assert run is not None  # it has just been uploaded
        for file in (folder / CHECKPOINT, folder / CONFIG, study_folder / WINNER):
            if file.is_file():
                client.log_artifact(run.info.run_id, str(file), PLACE)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=f"Winners of {winner.study}")
        source = f"{run.info.artifact_uri}/{PLACE}"
        tags = {"cell": winner.cell, winner.by: f"{winner.value:.6g}"}
        made = client.create_model_version(name, source, run.info.run_id, tags=tags)
        client.set_registered_model_alias(name, ALIAS, made.version)
    return f"{name}, version {made.version}"


def logger_of(study_folder: Path) -> LoggerConfig | None:
    """Return the `logger` group of a study's runs where MLflow mirrors them; else None."""
    first = content.first_run(study_folder)
    logger = None if first is None else first.logger()
    return logger if logger is not None and LoggerKind.mlflow in logger.kinds else None
