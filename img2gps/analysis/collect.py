"""Studies from disk: every planned run, its state, its curve, its predictions.

Reads `study.json` and run folders (formats: docs/design.md) and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from img2gps.analysis.folders import flatten, long_table
from img2gps.analysis.single import single_runs
from img2gps.analysis.study import DONE, Study
from img2gps.analysis.wording import count_of_runs
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.runs.folder import CONFIG, HISTORY, RESULT, list_folders, without_fold

STUDY = "study.json"
_COLUMNS = (
    "run_id",
    "cell",
    "rank_cell",
    "name",
    "seed",
    "state",
    "reason",
    "folder",
    "value",
    "epochs",
)


def find_studies(root: Path) -> list[Path]:
    """Folders below a runs root that hold a study.json or at least one run folder, sorted."""
    with_study = {path.parent for path in root.glob(f"*/{STUDY}")}
    return sorted(with_study | {folder.parent for folder in list_folders(root)})


def load_study(folder: Path, roots: Sequence[Path]) -> Study:
    """A study from its folder; run folders without a study.json make a study of single runs.

    Args:
        folder: `runs/<study>`.
        roots: where runs of other studies are looked for (`runs`, `results`), for linked cells.

    Raises:
        BadInput: the folder holds neither, or study.json is damaged.
    """
    notes: list[str] = []
    path = folder / STUDY
    if path.is_file():
        facts = read_json(path)
        if facts is None or not isinstance(facts.get("cells"), list):
            raise BadInput(f"{path}: not a study.json; run the study again, which rewrites it")
        entries = [_planned(entry, folder, roots) for entry in facts["cells"]]
        listed = {row["run_id"] for row in entries}
        unlisted = [run.parent for run in sorted(folder.glob(f"*/{CONFIG}"))]
        unlisted = [run for run in unlisted if run.name not in listed]
        if unlisted:
            names = ", ".join(run.name for run in unlisted[:5])
            notes.append(
                f"{count_of_runs(len(unlisted))} in {folder} without a planned cell, left out: "
                f"{names}{', ...' if len(unlisted) > 5 else ''}"
            )
        facts = {key: value for key, value in facts.items() if key != "cells"}
    else:
        found = [run.parent for run in sorted(folder.glob(f"*/{CONFIG}"))]
        if not found:
            raise BadInput(
                f"{folder}: neither a {STUDY} nor run folders; name a study below "
                f"{folder.parent}, or run one"
            )
        facts, entries = single_runs(folder.name, found)
    for row in entries:
        row["cell"] = row["cell"] or "not yet chosen"  # a search draws its cells one by one
        row["rank_cell"] = without_fold(row["cell"])
    table = pd.DataFrame(entries)
    for column in _COLUMNS:
        if column not in table:
            table[column] = pd.Series(dtype=object)
    history = long_table(table[table["folder"] != ""], HISTORY, ())
    return Study(str(facts.get("study", folder.name)), folder, facts, table, history, notes)


def _planned(entry: Mapping[str, Any], folder: Path, roots: Sequence[Path]) -> dict[str, Any]:
    """One row of `Study.runs` from an entry of study.json and the run folder it names."""
    run_id, path = str(entry.get("run_id") or ""), str(entry.get("path") or "")
    found = _find_run(run_id, path, folder, roots)
    row = {key: value for key, value in entry.items() if key not in ("params", "path")}
    row |= {"reason": row.get("reason") or "", "name": row.get("name") or ""}
    row |= entry.get("params") or {}
    row |= {"folder": "" if found is None else str(found), "cell": str(entry["cell"])}
    result = None if found is None else read_json(found / RESULT)
    if result is not None:  # the run's own word outweighs a study.json that was not updated
        row = flatten(result) | row
        row |= {"state": result.get("state", DONE), "reason": result.get("reason") or ""}
    elif row.get("state") not in ("queued", "running", "failed"):
        where = path or run_id
        row |= {
            "reason": f"study.json says {row.get('state')}, but {where} has no result.json",
            "state": "missing",
        }
    return row


def _find_run(run_id: str, path: str, folder: Path, roots: Sequence[Path]) -> Path | None:
    """The run's folder: where study.json says, or any study's with this run id."""
    bases = list(dict.fromkeys([folder.parent, *roots]))
    if path:
        for base in bases:
            if (base / path).is_dir():
                return base / path
    if run_id:
        for base in bases:
            for found in sorted(base.glob(f"*/{run_id}")):
                return found
    return None
