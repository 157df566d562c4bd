"""The records that runs and studies leave, as typed objects: result.json and study.json.

This module alone reads and writes these two files. Everything else takes the objects. Files of
older versions are read too: what they do not say has its default here. docs/design.md shows
both formats.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from img2gps.core import process
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json
from img2gps.core.nested import flat
from img2gps.core.stores import as_typed
from img2gps.runs.confirm import Confirmation, Standing
from img2gps.runs.names import without_fold
from img2gps.runs.race import RaceRecord
from img2gps.runs.states import RunState, count_states

RESULT = "result.json"
STUDY = "study.json"
SCHEMA = 1
LEASE_S = 60.0  # an engine renews its study's record more often than that
MEAN_PREDICTOR = "mean_predictor/rmse_m"  # its key in result.json
PRETRAINED = ("imagenet", "file", "own")  # weights as resolved; all others are from scratch
_AT_THE_ROOT = ("metrics", "swept")  # their keys stand in a flat row without a prefix
_NOT_IN_ROWS = ("identity",)  # repeats the configuration


@dataclass(frozen=True)
class DataFacts:
    """The data set of a run; counts are photos."""

    name: str = ""
    fingerprint: str = ""
    synthetic: bool = False
    n: int = 0
    n_train: int = 0
    n_val: int = 0
    n_test: int = 0
    n_left_out: int = 0
    image_size: int = 0  # px


@dataclass(frozen=True)
class SplitFacts:
    """The split of a run, and how near training photos come to validation photos."""

    kind: str = ""
    seed: int = 0
    fold: int = 0
    leakage: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightsFacts:
    """The weights that a run started from; `resolved` is what it really got."""

    requested: str = ""
    resolved: str = ""  # imagenet, file, own, random (a fallback) or none
    reason: str = ""
    sha256: str = ""

    @property
    def pretrained(self) -> bool:
        """Whether the run did not start from scratch."""
        return self.resolved in PRETRAINED


@dataclass(frozen=True)
class Cost:
    """What a run cost."""

    epochs: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    predict_ms: float | None = None  # from the pixels of one photo to its position


@dataclass(frozen=True)
class RunResult:
    """How a run ended: the content of result.json.

    Attributes:
        metrics: every column of history.csv after the final epoch.
        best: the same after the epoch with the lowest `val/rmse_m`, with `epoch` and a note.
        mean_predictor_rmse_m: RMSE of always answering the mean training coordinate.
        skill: 1 - MSE / MSE of the mean predictor.
        baselines: by name, figures on the validation photos of answers that need no training.
        absent: what could not be computed (baselines, flops), and why.
        swept: the knobs that people vary, flat.
        identity: all that the run id is a hash of.
        extra: keys that this version does not know, kept as they are.
    """

    run_id: str
    study: str
    state: RunState
    reason: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    mean_predictor_rmse_m: float | None = None
    skill: float | None = None
    bias_east_m: float | None = None
    bias_north_m: float | None = None
    spread_ratio: float | None = None
    converged_epoch: int | None = None
    data: DataFacts = DataFacts()
    split: SplitFacts = SplitFacts()
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    swept: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    weights: WeightsFacts = WeightsFacts()
    cost: Cost = Cost()
    code: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    precision: str = ""
    threads: int | None = None  # of each process
    devices: int | None = None  # on each of them a process trained; older records do not say
    strategy: str | None = None  # fsdp where each had only a part of the weights
    seed: int = 0
    absent: dict[str, str] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    started_at: str = ""
    resumed_epoch: int = 0
    finished_at: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what result.json holds.

        Raises:
            ValueError: the state is unknown.
        """
        known = {_key(item.name): item.name for item in fields(cls) if item.name != "extra"}
        given = {known[key]: value for key, value in plain.items() if key in known}
        given = {key: value for key, value in given.items() if value is not None}
        given["state"] = RunState(given.get("state", RunState.failed))
        _check_numbers(given.get("metrics") or {})
        for key in {"swept", "baselines", "identity"} & given.keys():
            given[key] = dict(given[key])
        for key, kind in _FACTS.items():
            given[key] = kind(**_known(kind, given.get(key) or {}))
        extra = {key: value for key, value in plain.items() if key not in (*known, "schema")}
        return cls(**{"run_id": "", "study": "", **given, "extra": extra})

    def to_dict(self) -> dict[str, Any]:
        """Return what result.json holds; the inverse of `from_dict`."""
        found: dict[str, Any] = {"schema": SCHEMA}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "extra":
                found[_key(item.name)] = _plain(value) if item.name in _FACTS else value
        for key in ("predict_ms", "peak_gpu_memory_mb"):
            if found["cost"][key] is None:  # runs from before it was measured have no such key
                del found["cost"][key]
        for name in ("devices", "strategy"):  # likewise
            if found[name] is None:
                del found[name]
        return {**found, "state": str(self.state), **self.extra}

    def figures(self, names: Iterable[str]) -> dict[str, float | None]:
        """Return figures by name, such as `val/rmse_m` or `cost/seconds`; None where unknown."""
        row = self.row() if names else {}
        return {name: row.get(name) for name in names}

    def row(self) -> dict[str, Any]:
        """Return the result as one flat row: keys joined by "/", metrics and swept knobs first.

        >>> RunResult("a1", "s", RunState.finished, cost=Cost(epochs=15)).row()["cost/epochs"]
        15
        """
        plain = self.to_dict()
        nested = {k: v for k, v in plain.items() if k not in (*_AT_THE_ROOT, *_NOT_IN_ROWS)}
        # The swept knobs come last, because a metric called lr is the decayed rate.
        return {**self.metrics, **flat(nested, "/"), **self.swept}


_FACTS: dict[str, type[DataFacts | SplitFacts | WeightsFacts | Cost]] = {
    "data": DataFacts,
    "split": SplitFacts,
    "weights": WeightsFacts,
    "cost": Cost,
}


@dataclass(frozen=True)
class StudyRun:
    """One planned run of a study: a cell with a seed. study.json lists them as `cells`.

    Attributes:
        cell: the cell as a line of overrides, such as `model=resnet18,lr=0.001`.
        name: the study's own name for the cell, or "".
        params: the cell's knobs and values; a knob that does not exist for the cell is not there.
        path: the run folder, relative to the runs root.
        value: the monitored metric after the final epoch.
        aims: of a study with several aims, the run's figure for each.
        mean_predictor: RMSE of the mean predictor on the same photos, in metres.
        n_val: how many photos that are; older records do not say.
        linked: whether the run lies in another study's folder.
    """

    cell: str
    seed: int
    name: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    run_id: str = ""
    path: str = ""
    state: RunState = RunState.queued
    reason: str = ""
    value: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    mean_predictor: float | None = None
    n_val: int | None = None
    attempts: int = 0
    linked: bool = False
    aims: dict[str, float | None] = field(default_factory=dict)

    @property
    def never_begun(self) -> bool:
        """Whether the run is not made because its trial was given up after other runs."""
        return self.state is RunState.pruned and not self.attempts

    def folder(self, root: str | Path) -> Path:
        """Return the run's folder below a runs root; a linked run's lies in another study's."""
        return Path(os.path.normpath(Path(root) / self.path))


@dataclass(frozen=True)
class StudyRecord:
    """The state of a study and of all its runs: the content of study.json.

    Attributes:
        kind: `grid`, `race`, or the name of the sampler that searches.
        aims: of a study with several aims, `minimize` or `maximize` by name, `monitor` first.
        axes: knob to its values in order; of an interval its two ends.
        intervals: of a searched study, knob to `low`, `high` and `log`.
        left_out: which cells the constraints between knobs leave out; "" if none.
        warm_start: of a search, how many runs of which studies its sampler began with.
        base_config: the resolved configuration without what is varied.
        select: the rule by which the winner is chosen.
        reference, figures: what the study file declares for the report (analysis/declared.py).
        engine: the process at work on the study; None when none is.
        left_s: how many seconds it estimates that the study still takes; None where unknown.
        race: what the race has decided; None if the study is no race.
        confirmation: which cells of a search are run again; None as long as none are.
        runs: every planned run, in the study's order.
        extra: keys that this version does not know, kept as they are.
    """

    study: str
    question: str = ""
    kind: str = "grid"
    monitor: str = "val/rmse_m"
    direction: str = "minimize"
    aims: dict[str, str] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    intervals: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    left_out: str = ""
    warm_start: dict[str, int] = field(default_factory=dict)
    pruner: str = "none"
    base_config: dict[str, Any] = field(default_factory=dict)
    select: dict[str, Any] = field(default_factory=dict)
    named_cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)
    command: str = ""
    created_at: str = ""
    updated_at: str = ""
    engine: dict[str, Any] | None = None
    left_s: float | None = None
    race: RaceRecord | None = None
    confirmation: Confirmation | None = None
    runs: list[StudyRun] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what study.json holds.

        Raises:
            ValueError, TypeError, KeyError: it is not a study's record.
        """
        known = {item.name for item in fields(cls)} - {"runs", "extra"}
        given = {key: value for key, value in plain.items() if key in known and value is not None}
        if any(not isinstance(given.get(key, ""), str) for key in ("study", "kind", "updated_at")):
            raise TypeError("a text that is none")
        given["runs"] = [_study_run(entry) for entry in plain["cells"]]
        if "confirmation" in given:
            given["confirmation"] = Confirmation.from_dict(given["confirmation"])
        if "race" in given:
            given["race"] = RaceRecord.from_dict(given["race"])
        extra = {k: v for k, v in plain.items() if k not in (*known, "cells", "schema")}
        return cls(**given, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Return what study.json holds; the inverse of `from_dict`."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        for key in ("left_out", "warm_start"):
            if not found[key]:
                del found[key]
        cells, extra = [_plain(run) for run in found.pop("runs")], found.pop("extra")
        for plain in (found, *cells):
            if not plain["aims"]:  # most studies have one
                del plain["aims"]
        for plain in cells:
            if plain["n_val"] is None:
                del plain["n_val"]
        if self.left_s is None:
            del found["left_s"]
        for key in ("race", "confirmation"):
            decided = found.pop(key)
            if decided is not None:
                found[key] = decided.to_dict()
        return {"schema": SCHEMA, **found, "cells": cells, **extra}

    def counts(self) -> dict[RunState, int]:
        """Return the number of runs in each state, every state in a fixed order."""
        return count_states(run.state for run in self.runs)

    @property
    def is_running(self) -> bool:
        """Whether an engine is at work on the study, as far as this machine can tell.

        The engine of another machine is taken for gone when it has not renewed the record lately.
        """
        if not self.engine or process.known_dead(self.engine):
            return False
        if process.is_local(self.engine):
            return True
        age = datetime.now(UTC) - datetime.fromisoformat(self.updated_at)
        return age.total_seconds() < LEASE_S

    @property
    def searched(self) -> bool:
        """Whether a sampler chose the cells."""
        return self.kind not in ("grid", "race")

    @cached_property
    def standing(self) -> Standing | None:
        """What the confirmation of a search has come to; None where there is none."""
        if self.confirmation is None:
            return None
        return self.confirmation.standing((run.cell, run.seed, run.state) for run in self.runs)

    def may_win(self, cell: str) -> bool:
        """Whether a cell, without its fold, may win: the race has not dropped it, for example."""
        if self.standing is not None:
            return self.standing.may_win(cell)
        return self.race is None or not self.race.kept or cell in self.race.kept

    @property
    def deciding(self) -> list[StudyRun]:
        """The runs that rank the cells; see `Standing` for those of a search that is confirmed."""
        standing = self.standing
        if standing is None:
            return self.runs
        return [run for run in self.runs if standing.decides(without_fold(run.cell), run.seed)]


def read_result(folder: Path) -> RunResult | None:
    """Read a run folder's result.json; None where there is no readable one."""
    plain = read_json(folder / RESULT)
    try:
        return None if plain is None else RunResult.from_dict(plain)
    except (TypeError, ValueError):
        return None


def write_result(folder: Path, result: RunResult) -> None:
    """Write a run folder's result.json, whole or not at all."""
    write_json(folder / RESULT, result.to_dict())


def read_study(root: str | Path, name: str) -> StudyRecord:
    """Read the record of a study below a runs root.

    Raises:
        BadInput: there is no such study, or its record cannot be read.
    """
    path = Path(root) / name / STUDY
    if not path.exists():
        known = ", ".join(study_names(root)) or "none"
        raise BadInput(
            f"{name}: no such study below {as_typed(root)}; studies there: {known} (see img2gps "
            "studies)"
        )
    return read_study_file(path)


def read_study_file(path: Path) -> StudyRecord:
    """Read a study.json.

    Raises:
        BadInput: it cannot be read.
    """
    plain = read_json(path)
    try:
        if plain is not None:
            return StudyRecord.from_dict(plain)
    except (KeyError, TypeError, ValueError):
        pass
    raise BadInput(f"{path}: not a readable study.json; run the study again, which rewrites it")


def write_study(root: str | Path, study: StudyRecord) -> None:
    """Replace a study's record in one step."""
    write_json(Path(root) / study.study / STUDY, study.to_dict())


def study_names(root: str | Path) -> list[str]:
    """Return the names of all studies below a runs root, sorted."""
    return sorted(path.parent.name for path in Path(root).glob(f"*/{STUDY}"))


def now() -> str:
    """Return the present moment, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _key(name: str) -> str:
    return MEAN_PREDICTOR if name == "mean_predictor_rmse_m" else name


def _known(kind: type, plain: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {k: v for k, v in dict(plain).items() if k in names and v is not None}


def _plain(record: Any) -> dict[str, Any]:
    values = {item.name: getattr(record, item.name) for item in fields(record)}
    return {k: str(v) if isinstance(v, RunState) else v for k, v in values.items()}


def _check_numbers(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if not isinstance(value, int | float | None):
            raise TypeError(f"{key} is no number")


def _study_run(plain: Mapping[str, Any]) -> StudyRun:
    given = _known(StudyRun, plain)
    numbers = ("seed", "value", "epochs", "seconds", "mean_predictor", "n_val", "attempts")
    _check_numbers({key: given.get(key) for key in numbers})
    _check_numbers(given.get("aims") or {})
    return StudyRun(**{**given, "state": RunState(given.get("state", RunState.queued))})
