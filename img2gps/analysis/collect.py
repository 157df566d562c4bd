"""Studies from disk: every planned run, its state, its curve, its predictions.

Reads `study.json` and run folders (formats: docs/design.md) and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from img2gps.analysis.folders import long_table
from img2gps.analysis.single import single_runs
from img2gps.analysis.study import Study
from img2gps.core.counted import counted, listed
from img2gps.core.errors import BadInput
from img2gps.runs.folder import CONFIG, HISTORY, list_folders
from img2gps.runs.names import without_fold
from img2gps.runs.records import RESULT, STUDY, StudyRun, read_result, read_study_file
from img2gps.runs.states import RunState

_COLUMNS = (
    "run_id",
    "cell",
    "rank_cell",
    "name",
    "params",
    "seed",
    "state",
    "reason",
    "folder",
    "value",
    "epochs",
)


def find_studies(root: Path) -> list[Path]:
    """Return the folders below a runs root that hold a study.json or a run folder, sorted."""
    with_study = {path.parent for path in root.glob(f"*/{STUDY}")}
    return sorted(with_study | {folder.parent for folder in list_folders(root)})


def load_study(folder: Path, roots: Sequence[Path]) -> Study:
    """Load a study from its folder; run folders without a study.json make a study of single runs.

    Args:
        folder: `runs/<study>`.
        roots: where runs of other studies are looked for (`runs`, `results`), for linked runs.

    Raises:
        BadInput: the folder holds neither, or study.json is damaged.
    """
    found = [path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))]
    if (folder / STUDY).is_file():
        record = read_study_file(folder / STUDY)
    elif found:
        record = single_runs(folder.name, found)
    else:
        raise BadInput(
            f"{folder}: neither a {STUDY} nor run folders; name a study below "
            f"{folder.parent}, or run one"
        )
    planned = {run.run_id for run in record.runs}
    runs = pd.DataFrame([_row(run, _find_run(run, folder, roots)) for run in record.runs])
    for column in _COLUMNS:
        if column not in runs:
            runs[column] = pd.Series(dtype=object)
    history = long_table(runs[runs["folder"] != ""], HISTORY, ())
    notes = _unplanned([run for run in found if run.name not in planned]) + _missing(runs)
    searched = tuple(dict.fromkeys([folder.parent, *roots]))
    return Study(record, folder, runs, history, notes, searched)


def _row(run: StudyRun, folder: Path | None) -> dict[str, Any]:
    """Return one row of `Study.runs`.

    The result in the run folder has precedence over study.json, which may be older.
    """
    cell = run.cell or "not yet chosen"  # a search draws its cells one by one
    row = {key: value for key, value in vars(run).items() if key not in ("path", "aims")}
    row |= {"cell": cell, "rank_cell": without_fold(cell), "folder": str(folder or "")}
    result = None if folder is None else read_result(folder)
    if result is not None:
        row = {**result.row(), **row, "state": result.state, "reason": result.reason}
    elif run.state.has_ended and run.state != RunState.failed and not run.never_begun:
        why = f"study.json says {run.state}, but {run.path or run.run_id} has no readable {RESULT}"
        row |= {"state": RunState.missing, "reason": why}
    return {**row, **run.params}


def _find_run(run: StudyRun, study: Path, roots: Sequence[Path]) -> Path | None:
    """Return the run's folder: the one that study.json names, or any study's with this run id."""
    bases = list(dict.fromkeys([study.parent, *roots]))
    named = (base / run.path for base in bases if run.path)
    alike = (path for base in bases if run.run_id for path in sorted(base.glob(f"*/{run.run_id}")))
    return next((path for path in named if path.is_dir()), None) or next(alike, None)


def _missing(runs: pd.DataFrame) -> list[str]:
    """Return a note about runs that have ended and whose result cannot be read."""
    gone = runs.loc[runs["state"] == RunState.missing, "run_id"].tolist()
    if not gone:
        return []
    return [f"{counted(len(gone), 'run')} without a readable {RESULT}, left out: {listed(gone)}"]


def _unplanned(runs: Sequence[Path]) -> list[str]:
    """Return a note about run folders that the study does not plan."""
    if not runs:
        return []
    count, names = counted(len(runs), "run"), listed([run.name for run in runs])
    return [f"{count} in {runs[0].parent} without a planned cell, left out: {names}"]
