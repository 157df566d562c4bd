"""Making an MLflow run equal to a run folder, however much of it MLflow has already."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.config.schema import LoggerConfig
from img2gps.core.nested import flat
from img2gps.runs.folder import CHECKPOINT, CONFIG, HISTORY, History
from img2gps.runs.records import RunResult, read_result
from img2gps.runs.states import RunState
from img2gps.tracking import content
from img2gps.tracking.mlflow.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

# Tags by which runs are found again. A study's own run has no run id, but a kind.
RUN_ID, STUDY, KIND = "img2gps.run_id", "img2gps.study", "img2gps.kind"
PARENT = "mlflow.parentRunId"
EPOCH = "epoch"  # sent with every row, so that it tells which rows are there
_RUNNING, _FINISHED, _FAILED, _KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"  # MLflow's words
_MOST_PARAMS, _MOST_METRICS = 100, 1_000  # that MLflow takes in one request
_MOST_CHARACTERS = 5_000  # of a parameter's or a tag's value


@dataclass
class Mirror:
    """A run of MLflow that is being made equal to a run folder.

    Attributes:
        id: MLflow's own id of the run.
        sent: the last epoch that MLflow has.
    """

    store: Store
    folder: Path
    id: str
    sent: int
    mean_predictor_m: float | None

    @classmethod
    def open(
        cls, store: Store, folder: Path, about: content.Description, mean_predictor_m: float | None
    ) -> Mirror:
        """Find the run at MLflow, or make it, with its parameters."""
        with store.lock:  # two processes must not make the study's run twice
            parent = parent_run(store, folder.parent)
        with store.writing():
            tags = {RUN_ID: about.run_id, STUDY: about.study}
            run = find_run(store, tags)
            tags[PARENT] = parent.info.run_id
            if run is None:
                run = store.client.create_run(store.experiment_id, tags=tags, run_name=about.name)
            else:
                store.client.update_run(run.info.run_id, status=_RUNNING)
            _send_params(store, run, about)
        sent = int(run.data.metrics.get(EPOCH, 0))
        return cls(store, folder, run.info.run_id, sent, mean_predictor_m)

    def send(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Send the rows of history.csv that MLflow lacks, with their epoch as its step."""
        from mlflow.entities import Metric

        new = [row for row in rows if row["epoch"] > self.sent]
        if not new:
            return
        at = int(1000 * time.time())
        metrics = [
            Metric(key, float(value), at, int(row["epoch"]))
            for row in content.rows(new, self.mean_predictor_m)
            for key, value in row.items()
            if math.isfinite(value)
        ]
        with self.store.writing():
            for part in _parts(metrics, _MOST_METRICS):
                self.store.client.log_batch(self.id, metrics=part)
        self.sent = max(int(row["epoch"]) for row in new)

    def end(self, result: RunResult | None, exit_code: int, *, checkpoint: bool) -> None:
        """Send what a run shows when it has ended: flat figures, its state, its files."""
        history = History(self.folder / HISTORY).rows()
        figures = content.summary(result, history)
        own = {key: value for key, value in figures.items() if not history or key not in history[0]}
        with self.store.writing():
            self._send_summary(own)
            if result is not None and result.state.is_final:
                names = (CONFIG, CHECKPOINT) if checkpoint else (CONFIG,)
                for file in (self.folder / name for name in names):
                    if file.is_file():
                        self.store.client.log_artifact(self.id, str(file))
            self.store.client.set_terminated(self.id, _status(result, exit_code))

    def _send_summary(self, figures: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, RunTag

        at = int(1000 * time.time())
        known = self.store.client.get_run(self.id).data.metrics
        numbers = {key: float(v) for key, v in figures.items() if _is_number(v)}
        metrics = [
            Metric(key, value, at, self.sent)
            for key, value in numbers.items()
            if known.get(key) != value
        ]
        tags = [
            RunTag(key, str(value)[:_MOST_CHARACTERS])
            for key, value in figures.items()
            if key not in numbers
        ]
        for tagged in _parts(tags, _MOST_PARAMS):
            self.store.client.log_batch(self.id, tags=tagged)
        for part in _parts(metrics, _MOST_METRICS):
            self.store.client.log_batch(self.id, metrics=part)


def upload(store: Store, folder: Path, about: content.Description, logger: LoggerConfig) -> int:
    """Make the MLflow run equal to the run folder, and return how many epochs it lacked.

    Raises:
        Exception: whatever MLflow raises. Repeating goes on from there.
    """
    result = read_result(folder)
    mirror = Mirror.open(store, folder, about, content.mean_predictor_m(folder, result))
    before = mirror.sent
    mirror.send(History(folder / HISTORY).rows())
    mirror.end(result, 0 if result else 130, checkpoint=logger.checkpoint)
    return mirror.sent - before


def is_complete(store: Store, folder: Path, about: content.Description) -> bool:
    """Return whether MLflow has all epochs of a run folder, and how the run ended."""
    run = find_run(store, {RUN_ID: about.run_id, STUDY: about.study})
    if run is None:
        return False
    result = read_result(folder)
    epochs = len(History(folder / HISTORY).rows())
    state = str(result.state) if result else None
    known = run.data.tags.get("state"), run.data.tags.get("finished_at")
    ended = (state, result.finished_at if result else None)
    return int(run.data.metrics.get(EPOCH, 0)) >= epochs and known == ended


def parent_run(store: Store, study_folder: Path) -> Run:
    """Return the run of MLflow that stands for the study; the caller holds the store's lock."""
    name = study_folder.name
    found = find_run(store, {STUDY: name, KIND: "study"})
    study = content.find_study(study_folder)
    if found is not None:
        if study is not None and study.is_running and found.info.status != _RUNNING:
            store.client.update_run(found.info.run_id, status=_RUNNING)  # it goes on
        return found
    note = {"mlflow.note.content": study.question} if study and study.question else {}
    tags = {STUDY: name, KIND: "study", **note}
    made = store.client.create_run(store.experiment_id, tags=tags, run_name=name)
    if study is None:  # single runs, which no engine ends
        store.client.set_terminated(made.info.run_id, _FINISHED)
    return made


def find_run(store: Store, tags: Mapping[str, str]) -> Run | None:
    """Return the run that has these tags; None where there is none."""
    asked = " and ".join(f"tags.`{key}` = '{_quoted(value)}'" for key, value in tags.items())
    found = store.client.search_runs([store.experiment_id], asked, max_results=1)
    return found[0] if found else None


def _quoted(text: str) -> str:
    return text.replace("'", "")  # names of studies have none


def _send_params(store: Store, run: Run, about: content.Description) -> None:
    """Send the parameters that MLflow lacks; it refuses another value of one that it has."""
    from mlflow.entities import Param

    known = run.data.params
    params = [
        Param(key, str(value)[:_MOST_CHARACTERS])
        for key, value in flat(about.flat_config()).items()
        if value is not None and key not in known
    ]
    for part in _parts(params, _MOST_PARAMS):
        store.client.log_batch(run.info.run_id, params=part)


def _status(result: RunResult | None, exit_code: int) -> str:
    if result is not None:
        ended_well = result.state in (RunState.finished, RunState.pruned)
        return _FINISHED if ended_well else _FAILED
    return _KILLED if exit_code > 128 else _FAILED  # 128 and more: by a signal


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parts(items: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
