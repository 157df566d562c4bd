"""The winner of a study, by the rule that the study file wrote down before anything ran."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from img2gps import runs
from img2gps.errors import BadInput
from img2gps.study import record

AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
}


def select(
    study: Mapping[str, Any], root: str | Path, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """winner.json: the cell that is best over all its seeds, and its first seed's run.

    Only cells with every planned seed finished take part: a cell with one lucky seed must not win.
    In a searched study each trial has one seed. Looks at the test part and earlier winners are
    carried over from `before`.

    Raises:
        BadInput: no cell is complete, or a rule that the study does not allow.
    """
    rule = {"by": study["monitor"], "aggregate": "mean", **study["select"]}
    if rule["aggregate"] not in AGGREGATES:
        raise BadInput(f"select.aggregate={rule['aggregate']}: give one of {', '.join(AGGREGATES)}")
    cells: dict[str, list[dict[str, Any]]] = {}
    for run in study["cells"]:
        if run["cell"]:
            cells.setdefault(run["cell"], []).append(run)
    complete = {
        cell: found
        for cell, found in cells.items()
        if all(run["state"] == "finished" for run in found)
    }
    if not complete:
        raise BadInput(
            f"study={study['study']}: no cell has all its seeds finished; go on with: "
            f"{study['command']}"
        )
    results = {
        run["run_id"]: runs.read_json(record.run_folder(root, run) / runs.RESULT) or {}
        for found in complete.values()
        for run in found
    }

    def value(run: Mapping[str, Any]) -> float:
        if rule["by"] == study["monitor"]:
            return float(run["value"])
        figures = results[run["run_id"]].get("metrics", {})
        if figures.get(rule["by"]) is None:
            known = ", ".join(sorted(figures))
            raise BadInput(f"select.by={rule['by']}: not among the metrics; one of: {known}")
        return float(figures[rule["by"]])

    aggregate = AGGREGATES[rule["aggregate"]]
    values = {cell: aggregate([value(run) for run in found]) for cell, found in complete.items()}
    best = (min if study["direction"] == "minimize" else max)(values, key=lambda cell: values[cell])
    seeds = [run["seed"] for run in complete[best]]
    first = next((seed for seed in study["seeds"] if seed in seeds), seeds[0])
    deployed = next(run for run in complete[best] if run["seed"] == first)
    result = results[deployed["run_id"]]
    starts = {r.get("weights", {}).get("resolved") for r in results.values()} - {None}
    before = before or {}
    changed = bool(before) and before["cell"] != best
    return {
        "schema": record.SCHEMA,
        "study": study["study"],
        "cell": best,
        "name": deployed["name"],
        "params": deployed["params"],
        "by": rule["by"],
        "aggregate": rule["aggregate"],
        "value": values[best],
        "values": [value(run) for run in complete[best]],
        "seeds": seeds,
        "seed": first,
        "run_id": deployed["run_id"],
        "path": deployed["path"],
        "run_value": value(deployed),
        "mean_predictor": result.get("mean_predictor/rmse_m"),
        "candidates": len(complete),
        "left_out": len(cells) - len(complete),
        "weights": sorted(starts),
        "n_test": (result.get("data") or {}).get("n_test") or 0,
        "test": before.get("test") if not changed else None,
        "test_looks": before.get("test_looks", 0),
        "selections": before.get("selections", 0) + 1,
        "frozen_at": record.now(),
    }
