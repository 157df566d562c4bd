"""The winner of a study, by the rule that the study file wrote down before anything ran."""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.runs import study_record as record
from img2gps.runs.folder import PREDICTIONS, RESULT, without_fold

AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
}

DIRECTIONS = ("minimize", "maximize")
KEYS = ("by", "aggregate", "direction")
FOLD = "split.fold"
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
    study: Mapping[str, Any],
    root: str | Path,
    before: Mapping[str, Any] | None = None,
    where: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """winner.json: the cell that is best over all its seeds, and its first seed's run.

    Only cells with every planned seed and fold finished take part: a cell with one lucky seed must
    not win, nor a cell by the easiest of its folds. In a searched study each trial has one seed.
    Looks at the test part and earlier winners are carried over from `before`.

    Raises:
        BadInput: no cell is complete, a rule that the study does not allow, or cells that were
            validated on different photos or splits (`where`, knob to value, takes some of them).
    """
    from img2gps.analysis.contrast import fits  # here, as a study's start does not wait for it

    chosen = rule(study["select"], study["monitor"], study["direction"])
    where = where or {}
    if unknown := set(where) - {knob for run in study["cells"] for knob in run["params"]}:
        raise BadInput(f"--where {min(unknown)}=...: {study['study']} does not vary it")
    cells: dict[str, list[dict[str, Any]]] = {}
    for run in study["cells"]:
        matches = (fits(run["params"].get(k), value) is not None for k, value in where.items())
        if run["cell"] and all(matches):
            cells.setdefault(without_fold(run["cell"]), []).append(run)
    if where and not cells:
        asked = ", ".join(f"{knob}={value}" for knob, value in where.items())
        raise BadInput(f"--where {asked}: no such cell in {study['study']}; see img2gps studies")
    complete = {
        cell: found
        for cell, found in cells.items()
        if all(run["state"] == "finished" for run in found)
    }
    if not complete:
        among = "".join(f", {knob}={value}" for knob, value in where.items())
        raise BadInput(
            f"study={study['study']}{among}: no cell has all its seeds finished; go on with: "
            f"{study['command']}"
        )
    results = {
        run["run_id"]: read_json(record.run_folder(root, run) / RESULT) or {}
        for found in complete.values()
        for run in found
    }
    _check_same_question(study["study"], root, complete, results)

    def value(run: Mapping[str, Any]) -> float:
        if chosen["by"] == study["monitor"]:
            return float(run["value"])
        figures = results[run["run_id"]].get("metrics", {})
        if figures.get(chosen["by"]) is None:
            known = ", ".join(sorted(figures))
            raise BadInput(f"select.by={chosen['by']}: not among the metrics; one of: {known}")
        return float(figures[chosen["by"]])

    def by_seed(found: Sequence[Mapping[str, Any]]) -> dict[int, float]:
        folds: dict[int, list[Mapping[str, Any]]] = {}
        for run in found:
            folds.setdefault(run["seed"], []).append(run)
        return {
            seed: record.pooled(
                chosen["by"], [value(run) for run in own], [weight(run) for run in own]
            )
            for seed, own in folds.items()
        }

    def weight(run: Mapping[str, Any]) -> float:
        return float((results[run["run_id"]].get("data") or {}).get("n_val") or 1)

    aggregate = AGGREGATES[chosen["aggregate"]]
    each = {cell: by_seed(found) for cell, found in complete.items()}
    values = {cell: aggregate(list(seeds.values())) for cell, seeds in each.items()}
    better = min if chosen["direction"] == "minimize" else max
    best = better(values, key=lambda cell: values[cell])
    first = next((seed for seed in study["seeds"] if seed in each[best]), next(iter(each[best])))
    of_first = [run for run in complete[best] if run["seed"] == first]
    deployed = min(of_first, key=lambda run: run["params"].get(FOLD, 0))
    of_mean = (results[run["run_id"]].get("mean_predictor/rmse_m") for run in of_first)
    means = [float(rmse) for rmse in of_mean if rmse is not None]
    result = results[deployed["run_id"]]
    starts = {r.get("weights", {}).get("resolved") for r in results.values()} - {None}
    before = before or {}
    changed = bool(before) and before["cell"] != best
    return {
        "schema": record.SCHEMA,
        "study": study["study"],
        "cell": best,
        "name": deployed["name"],
        "where": dict(where),
        "params": deployed["params"],
        "by": chosen["by"],
        "aggregate": chosen["aggregate"],
        "value": values[best],
        "values": list(each[best].values()),
        "seeds": list(each[best]),
        "folds": len(of_first) if FOLD in deployed["params"] else 0,
        "seed": first,
        "run_id": deployed["run_id"],
        "path": deployed["path"],
        "run_value": value(deployed),
        "mean_predictor": record.pooled("rmse_m", means, [weight(run) for run in of_first])
        if len(means) == len(of_first)
        else None,
        "candidates": len(complete),
        "left_out": len(cells) - len(complete),
        "weights": sorted(starts),
        "n_test": (result.get("data") or {}).get("n_test") or 0,
        "test": before.get("test") if not changed else None,
        "test_looks": before.get("test_looks", 0),
        "selections": before.get("selections", 0) + 1,
        "frozen_at": record.now(),
    }


def _check_same_question(
    study: str,
    root: str | Path,
    complete: Mapping[str, Sequence[Mapping[str, Any]]],
    results: Mapping[str, Mapping[str, Any]],
) -> None:
    """The lowest figure of different photos, or of known and of new spots, is no winner."""
    params_of: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for found in complete.values():
        photos = frozenset(photo for run in found for photo in _validated(root, run))
        kind = (results[found[0]["run_id"]].get("split") or {}).get("kind")
        params_of.setdefault((kind, photos), []).append(found[0]["params"])
    if len(params_of) < 2:
        return
    sets = list(params_of.values())
    told = (knob for knob in sets[0][0] if knob != FOLD and _tells_apart(knob, sets))
    example = next((f"such as --where {knob}={sets[0][0][knob]}" for knob in told), "one split")
    raise BadInput(
        f"study={study}: its cells were validated in {len(sets)} ways (photos, labels, split), and "
        f"the lowest figure of different questions is no winner; choose with --where, {example}"
    )


def _validated(root: str | Path, run: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The photos and their labels."""
    path = record.run_folder(root, run) / PREDICTIONS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            return [(row["content"], row["lat_deg"], row["lon_deg"]) for row in rows]
    except (OSError, KeyError):
        return []


def _tells_apart(knob: str, sets: Sequence[Sequence[Mapping[str, Any]]]) -> bool:
    """Whether no two sets of cells share a value of the knob."""
    values = [{str(params.get(knob)) for params in each} for each in sets]
    return len(set.union(*values)) == sum(map(len, values))
