"""The cells of a study as the live page lists and draws them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from img2gps.analysis.choices import NAME
from img2gps.analysis.study import Study
from img2gps.analysis.winner import FOLD_AXIS, Rule, Scoring
from img2gps.analysis.wording import knob_name, knob_value
from img2gps.runs.names import without_fold
from img2gps.runs.records import StudyRecord, StudyRun
from img2gps.runs.states import RunState
from img2gps.study.display import metres, run_name

WIDE = 8  # an axis whose largest value is so many times its smallest one is logarithmic


@dataclass(frozen=True)
class CellRow:
    """One cell with all its seeds and folds.

    Attributes:
        knobs: by axis, as people write them; axes that the cell does not have are not there.
        numbers: of these, what can be placed on a scale of numbers.
        metric: the monitored metric, mean over the finished runs; before that, after the last
            epochs of those under way.
        final: whether no run of the cell is queued or running.
        shown: the metric in words.
        states: how many runs are in which state.
        curve: the monitored metric by epoch, mean over the runs that reached it.
    """

    cell: str
    knobs: dict[str, str]
    numbers: dict[str, float]
    metric: float | None
    final: bool
    shown: str
    states: str
    curve: list[float]


@dataclass(frozen=True)
class AxisColumn:
    """One axis of the parallel coordinates; `levels` are the values of one that has no numbers."""

    key: str
    title: str
    log: bool
    levels: list[str]


@dataclass(frozen=True)
class Ended:
    """Runs that ended otherwise than finished, or a cell that is out of the race, and why."""

    what: str
    state: str
    reason: str


def cell_rows(study: Study) -> list[CellRow]:
    """Return the cells that have been chosen, the best metric first."""
    by_cell: dict[str, list[StudyRun]] = {}
    for run in study.record.runs:
        if run.cell:  # a search has not chosen all cells yet
            by_cell.setdefault(without_fold(run.cell), []).append(run)
    curves = _curves(study)
    rows = [_row(c, runs, curves.get(c, []), study.record) for c, runs in by_cell.items()]
    sign = 1 if study.record.direction == "minimize" else -1
    return sorted(rows, key=lambda row: math.inf if row.metric is None else sign * row.metric)


def _row(cell: str, runs: list[StudyRun], curve: list[float], record: StudyRecord) -> CellRow:
    knobs = {key: value for key, value in runs[0].params.items() if key != FOLD_AXIS}
    if runs[0].name:
        knobs = {NAME: runs[0].name, **knobs}
    metric = _metric(cell, runs, record)
    if metric is None and curve:
        metric = curve[-1]
    states = Counter(run.state for run in runs)
    return CellRow(
        cell,
        {key: knob_value(value) for key, value in knobs.items()},
        {key: float(value) for key, value in knobs.items() if _is_number(value)},
        metric,
        all(run.state.has_ended for run in runs),
        metres(metric, record.monitor),
        ", ".join(f"{states[state]} {state}" for state in RunState if states[state]),
        curve,
    )


def _metric(cell: str, runs: list[StudyRun], record: StudyRecord) -> float | None:
    """Return the metric of the finished runs, as the best cell's is computed; None without any."""
    done = [run for run in runs if run.state is RunState.finished and run.value is not None]
    if record.standing is not None:
        done = [run for run in done if record.standing.decides(cell, run.seed)]
    rule = Rule(record.monitor, "mean", record.direction)
    return Scoring(rule, record.monitor).candidate(cell, done).value if done else None


def _curves(study: Study) -> dict[str, list[float]]:
    history, monitor = study.history, study.record.monitor
    if history.empty or monitor not in history:
        return {}
    runs = study.runs
    shown = study.deciding(runs)  # those that the metric is of
    history = history[history["run"].isin(shown.index)]
    metric = pd.to_numeric(history[monitor], errors="coerce")
    cells = runs["rank_cell"].loc[history["run"]].to_numpy()
    mean = metric.groupby([cells, history["epoch"].to_numpy()]).mean().dropna()
    found: dict[str, list[float]] = {}
    for (cell, _), value in mean[np.isfinite(mean)].to_dict().items():
        found.setdefault(str(cell), []).append(float(value))
    return found


def axis_columns(record: StudyRecord, rows: list[CellRow]) -> list[AxisColumn]:
    """Return the axes whose values differ between cells, in the study's order after their names."""
    columns = []
    for key in (NAME, *record.axes):
        texts = list(dict.fromkeys(row.knobs[key] for row in rows if key in row.knobs))
        if key == FOLD_AXIS or len(texts) < 2:
            continue
        own = [row for row in rows if key in row.knobs]
        numbers = [row.numbers[key] for row in own if key in row.numbers]
        if len(numbers) < len(own):
            columns.append(AxisColumn(key, knob_name(key), log=False, levels=texts))
            continue
        declared = record.intervals.get(key, {}).get("log")
        wide = min(numbers) > 0 and max(numbers) >= WIDE * min(numbers)
        log = wide if declared is None else bool(declared) and min(numbers) > 0
        columns.append(AxisColumn(key, knob_name(key), log, []))
    return columns


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def ended_otherwise(record: StudyRecord) -> list[Ended]:
    """Return what was dropped, pruned, given up or failed, and why; the same reason once a cell."""
    drops = [drop for look in record.race.looks for drop in look.dropped] if record.race else []
    found = [Ended(drop.cell, "dropped", drop.reason) for drop in drops]
    alike: dict[tuple[str, str, str], list[StudyRun]] = {}
    for run in record.runs:
        if run.state.has_ended and run.state is not RunState.finished:
            state = "given up" if run.never_begun else str(run.state)
            alike.setdefault((run.cell, state, run.reason), []).append(run)
    for (_, state, reason), runs in alike.items():
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        found.append(Ended(run_name(runs[0]) + more, state, reason))
    return found
