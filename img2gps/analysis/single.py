"""Read run folders without a study.json as a study, whose cells are the values that differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from img2gps.core.nested import flat
from img2gps.runs.folder import read_config_plain
from img2gps.runs.records import RunResult, StudyRecord, StudyRun, read_result
from img2gps.runs.states import RunState
from img2gps.runs.swept import swept

KIND = "runs"
DEFAULT_AXES = ("model", "lr", "batch_size")


@dataclass(frozen=True)
class _Single:
    """A run folder: how the run ended, the knobs that people vary, and all that its id hashes."""

    folder: Path
    seed: int
    result: RunResult | None
    knobs: Mapping[str, Any]
    identity: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        config, result = read_config_plain(folder), read_result(folder)
        knobs = {**swept(config), **(result.swept if result else {})}
        # The split's knobs stand for it, because nobody can read its digests.
        identity = {**(result.identity if result else {}), "split": config.get("split") or {}}
        seed = result.seed if result else config.get("seed", 0)
        return cls(folder, int(seed), result, _unseeded(knobs), _unseeded(flat(identity)))


def single_runs(study: str, folders: Sequence[Path]) -> StudyRecord:
    """Return the record that a study of these run folders would have."""
    runs = [_Single.read(folder) for folder in folders]
    keys = dict.fromkeys(key for run in runs for key in run.knobs)
    values = {key: {_text(run.knobs[key]) for run in runs if key in run.knobs} for key in keys}
    # the depth follows from the model
    varying = [key for key in keys if len(values[key]) > 1 and key != "depth"]
    shown = varying or [key for key in DEFAULT_AXES if key in keys]
    hidden = _hidden(runs, shown)
    planned = [_planned(run, shown, hidden) for run in runs]
    axes: dict[str, list[Any]] = {key: [] for key in (*shown, *hidden)}
    for run in planned:
        for key, value in run.params.items():
            if value not in axes[key]:
                axes[key].append(value)
    return StudyRecord(
        study,
        kind=KIND,
        axes={key: sorted(values, key=_order) for key, values in axes.items()},
        seeds=sorted({run.seed for run in runs}),
        runs=planned,
    )


def _hidden(runs: Sequence[_Single], shown: Sequence[str]) -> list[str]:
    """Return further knobs that differ between runs with the same seed and the same shown knobs."""
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        if run.identity:
            place = [run.seed, *(run.knobs.get(key) for key in shown)]
            alike.setdefault(_text(place), []).append(run.identity)
    keys = dict.fromkeys(key for same in alike.values() for one in same for key in one)
    return [
        key
        for key in keys
        if any(len({_text(one.get(key)) for one in same}) > 1 for same in alike.values())
    ]


def _planned(run: _Single, shown: Sequence[str], hidden: Sequence[str]) -> StudyRun:
    params = {key: run.knobs[key] for key in shown if key in run.knobs}
    params |= {key: run.identity[key] for key in hidden if key in run.identity}
    planned = StudyRun(
        ",".join(f"{key}={value}" for key, value in params.items()) or "unknown",
        run.seed,
        params=params,
        run_id=run.folder.name,
        path=f"{run.folder.parent.name}/{run.folder.name}",
        attempts=1,
    )
    if run.result is None:
        why = "no result.json: running or interrupted"
        return replace(planned, state=RunState.running, reason=why)
    return replace(
        planned,
        state=run.result.state,
        value=run.result.metrics.get("val/rmse_m"),
        epochs=run.result.cost.epochs,
        seconds=run.result.cost.seconds,
    )


def _unseeded(knobs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in knobs.items() if key != "seed"}


def _text(value: Any) -> str:
    return json.dumps(value)


def _order(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float)
    return (0 if is_number else 1, float(value) if is_number else 0.0, str(value))
