"""The winner of a study, by the rule that the study file wrote down before anything ran."""

from __future__ import annotations

import re
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

DIRECTIONS = ("minimize", "maximize")
KEYS = ("by", "aggregate", "direction")
HIGHER_IS_BETTER = re.compile(r"val/within_\d+m|skill")


def rule(given: Mapping[str, Any], monitor: str, direction: str) -> dict[str, str]:
    """The whole rule from what a study file says of it, checked before anything runs.

    The direction is the study's where the monitored metric decides; of another metric it follows
    from its name (more photos within 25 m are better, more metres are not), or is given.

    Raises:
        BadInput: an unknown key, aggregate or direction.
    """
    by = str(given.get("by", monitor))
    usual = "maximize" if HIGHER_IS_BETTER.fullmatch(by) else "minimize"
    found = {
        "by": by,
        "aggregate": str(given.get("aggregate", "mean")),
        "direction": str(given.get("direction", direction if by == monitor else usual)),
    }
    if unknown := set(given) - set(KEYS):
        raise BadInput(f"select.{min(unknown)}: no such key; one of {', '.join(KEYS)}")
    if found["aggregate"] not in AGGREGATES:
        known = ", ".join(AGGREGATES)
        raise BadInput(f"select.aggregate={found['aggregate']}: give one of {known}")
    if found["direction"] not in DIRECTIONS:
        raise BadInput(f"select.direction={found['direction']}: give minimize or maximize")
    return found


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
    chosen = rule(study["select"], study["monitor"], study["direction"])
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
        if chosen["by"] == study["monitor"]:
            return float(run["value"])
        figures = results[run["run_id"]].get("metrics", {})
        if figures.get(chosen["by"]) is None:
            known = ", ".join(sorted(figures))
            raise BadInput(f"select.by={chosen['by']}: not among the metrics; one of: {known}")
        return float(figures[chosen["by"]])

    aggregate = AGGREGATES[chosen["aggregate"]]
    values = {cell: aggregate([value(run) for run in found]) for cell, found in complete.items()}
    better = min if chosen["direction"] == "minimize" else max
    best = better(values, key=lambda cell: values[cell])
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
        "by": chosen["by"],
        "aggregate": chosen["aggregate"],
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
