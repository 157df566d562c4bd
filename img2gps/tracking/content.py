"""What W&B gets of a run, as plain values from the run folder. Knows nothing of W&B itself."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from img2gps.config.schema import DataKind, LoggerConfig, LoggerKind
from img2gps.core.errors import BadInput
from img2gps.core.nested import flat
from img2gps.runs.folder import CONFIG, PREDICTIONS_BEST, read_config_plain
from img2gps.runs.records import (
    MEAN_PREDICTOR,
    STUDY,
    RunResult,
    StudyRecord,
    StudyRun,
    read_result,
    read_study_file,
)
from img2gps.runs.swept import swept

TRAIN = "train"  # W&B's job type of a run
FLAT = ("lr", "batch_size", "depth", "model", "seed", "split")  # always at the config's root
DEFAULT_NAME = ("model", "lr", "batch_size", "seed")  # where no study says what differs
_NOT_IN_SUMMARY = (
    *("schema", "run_id", "study", "metrics", "best", "swept", "versions", "absent", "identity"),
)


@dataclass(frozen=True)
class Description:
    """A run as W&B lists it.

    Attributes:
        run_id: its id at W&B.
        study: its group at W&B.
        name: what differs between the runs of the study, such as "lr=0.001, seed=0".
        config: the resolved configuration.
        swept: flat values to group and filter by.
        job_type: the kind of run within its group.
    """

    run_id: str
    study: str
    name: str
    config: dict[str, Any]
    swept: dict[str, Any]
    job_type: str = TRAIN

    @property
    def synthetic(self) -> bool:
        """Whether the photos are the built-in quad's."""
        data = self.config.get("data")
        return isinstance(data, dict) and data.get("kind") == DataKind.quad

    def flat_config(self) -> dict[str, Any]:
        """Return flat keys to group and filter by, and the whole configuration below `config`."""
        knobs = {key: self.swept.get(key) for key in (*FLAT, *self.swept)}
        return {**knobs, "study": self.study, "run_id": self.run_id, "config": self.config}

    def logger(self) -> LoggerConfig:
        """Return group `logger` of the configuration, with defaults for what is not there."""
        saved = self.config.get("logger")
        known = {item.name for item in fields(LoggerConfig)}
        kept = {k: v for k, v in saved.items() if k in known} if isinstance(saved, dict) else {}
        kind = LoggerKind(kept.get("kind", LoggerKind.wandb))
        also = [LoggerKind(name) for name in kept.get("also", [])]
        return LoggerConfig(**{**kept, "kind": kind, "also": also})


def describe(
    folder: Path, study: StudyRecord | None = None, knobs: Mapping[str, Any] | None = None
) -> Description:
    """Return the description of a run from its folder.

    Args:
        folder: the run folder.
        study: the record of its study, which says what differs between the runs.
        knobs: the knobs that people vary; default: what result.json or config.yaml says.

    Raises:
        BadInput: config.yaml cannot be read.
    """
    config = read_config_plain(folder)
    if not config:
        raise BadInput(f"{folder}: no readable {CONFIG}; name a run folder")
    result = read_result(folder)
    values = dict(knobs or (result and result.swept) or swept(config))
    name = _name(folder.name, study, values)
    return Description(folder.name, folder.parent.name, name, config, values)


def find_study(folder: Path) -> StudyRecord | None:
    """Return the record of the study in a folder; None where there is no readable one."""
    try:
        return read_study_file(folder / STUDY)
    except BadInput:
        return None


def first_run(study_folder: Path) -> Description | None:
    """Return the first run with a readable configuration, which speaks for the whole study."""
    for config in sorted(study_folder.glob(f"*/{CONFIG}")):
        try:
            return describe(config.parent)
        except BadInput:
            continue
    return None


def mean_predictor_m(folder: Path, result: RunResult | None) -> float | None:
    """Return the RMSE of the mean predictor, also of a run that has not ended; None if unknown."""
    if result is not None and result.mean_predictor_rmse_m is not None:
        return result.mean_predictor_rmse_m
    try:
        with (folder / PREDICTIONS_BEST).open(encoding="utf-8", newline="") as file:
            errors = [float(row["mean_error_m"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        return None
    return math.hypot(*errors) / math.sqrt(len(errors)) if errors else None


def rows(
    history: Iterable[Mapping[str, float]], mean_predictor_m: float | None
) -> list[dict[str, Any]]:
    """Return history rows as W&B gets them, with the mean predictor as a line beside them."""
    line = {} if mean_predictor_m is None else {MEAN_PREDICTOR: mean_predictor_m}
    return [{**row, "epoch": int(row["epoch"]), **line} for row in history]


def summary(result: RunResult | None, history: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """Return flat figures of a run: `val/rmse_m`, `best/val_rmse_m`, `cost/seconds`, ...

    What is unknown, empty or not finite is left out, because a single NaN spoils W&B's sorting.
    """
    if result is None:
        return _best(history)
    shown = {key: v for key, v in result.to_dict().items() if key not in _NOT_IN_SUMMARY}
    parts = {key.replace("/val/", "/val_"): value for key, value in flat(shown, "/").items()}
    return sound({**_best(history), **parts, **result.metrics})


def sound(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is unknown, empty, a list, or a number that is not finite.

    >>> sound({"a": 1.5, "b": None, "c": "", "d": math.nan})
    {'a': 1.5}
    """
    return {
        key: value
        for key, value in figures.items()
        if value not in (None, "")
        and not isinstance(value, list)
        and not (isinstance(value, float) and not math.isfinite(value))
    }


def _best(history: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    known = [row for row in history if math.isfinite(row.get("val/rmse_m", math.nan))]
    if not known:
        return {}
    best = min(known, key=lambda row: row["val/rmse_m"])
    return {"best/epoch": int(best["epoch"]), "best/val_rmse_m": best["val/rmse_m"]}


def _name(run_id: str, study: StudyRecord | None, knobs: Mapping[str, Any]) -> str:
    runs = study.runs if study else []
    own = next((run for run in runs if run.run_id == run_id), None)
    if own is None:
        values = {key: knobs.get(key) for key in DEFAULT_NAME}
    else:
        every = [_values(run) for run in runs]
        values = _values(own)
        values = {
            key: value
            for key, value in values.items()
            if any(other.get(key) != value for other in every)
        } or values
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _values(run: StudyRun) -> dict[str, Any]:
    return {**run.params, "seed": run.seed}
