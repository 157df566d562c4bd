"""Run folders that no study.json plans, taken as a study: cells are told apart by what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2gps.analysis.folders import dotted, flatten, read_config
from img2gps.analysis.study import DONE
from img2gps.core.files import read_json
from img2gps.runs.folder import RESULT
from img2gps.runs.swept import swept

DEFAULT_AXES = ("model", "lr", "batch_size")


def single_runs(name: str, folders: Sequence[Path]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts and rows of run folders that no study.json plans."""
    rows = []
    for folder in folders:
        result = read_json(folder / RESULT)
        if result is None:
            config = read_config(folder)
            row = {**swept(config), "seed": config.get("seed", 0), "state": "running"}
            row["reason"] = "no result.json: running or interrupted"
        else:
            row = {**flatten(result), "state": result.get("state", DONE)}
            row["reason"] = result.get("reason") or ""
        knobs = {**swept(read_config(folder)), **((result or {}).get("swept") or {})}
        row |= {"run_id": folder.name, "folder": str(folder), "_swept": knobs}
        row["_identity"] = _identity(result or {}, read_config(folder))
        row["value"] = row.get("val/rmse_m")
        row["epochs"] = row.get("cost/epochs")
        row["seconds"] = row.get("cost/seconds")
        rows.append(row)
    keys = dict.fromkeys(key for row in rows for key in row["_swept"] if key != "seed")
    texts = {
        key: {json.dumps(row["_swept"][key]) for row in rows if key in row["_swept"]}
        for key in keys
    }
    # depth says nothing that model does not say
    varying = [key for key in keys if len(texts[key]) > 1 and key != "depth"]
    shown = varying or [key for key in DEFAULT_AXES if key in keys]
    shown += _told_apart_by(rows, shown)
    axes: dict[str, list[Any]] = {}
    for row in rows:
        params = {key: row["_swept"].get(key, "unknown") for key in shown}
        for key, value in params.items():
            if value != "unknown" and value not in axes.setdefault(key, []):
                axes[key].append(value)
        row |= {**params, "cell": ",".join(f"{key}={value}" for key, value in params.items())}
        row |= {"name": "", "attempts": 1, "linked": False}
        del row["_swept"], row["_identity"]
    axes = {key: sorted(values, key=_sort_key) for key, values in axes.items()}
    facts = {
        "study": name,
        "question": "",
        "kind": "runs",
        "monitor": "val/rmse_m",
        "direction": "minimize",
        "axes": axes,
        "seeds": sorted({int(row["seed"]) for row in rows}),
        "base_config": {},
        "named_cells": {},
        "command": "",
    }
    return facts, rows


def _identity(result: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a run's figures, in dots; the split by its knobs, not by its digests."""
    found = dotted({**(result.get("identity") or {}), "split": config.get("split") or {}})
    return {key: value for key, value in found.items() if key != "seed"}


def _told_apart_by(rows: Sequence[dict[str, Any]], shown: Sequence[str]) -> list[str]:
    """Knobs besides the shown ones in which runs of one seed differ; they join `_swept`."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        place = [row["seed"], *(row["_swept"].get(key) for key in shown)]
        alike.setdefault(json.dumps(place), []).append(row["_identity"])
    keys = dict.fromkeys(key for same in alike.values() for one in same for key in one)
    more = [
        key
        for key in keys
        if any(
            len({json.dumps(one.get(key)) for one in same if one}) > 1 for same in alike.values()
        )
    ]
    for row in rows:
        row["_swept"] |= {key: row["_identity"][key] for key in more if key in row["_identity"]}
    return more


def _sort_key(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float)
    return (0 if is_number else 1, float(value) if is_number else 0.0, str(value))
