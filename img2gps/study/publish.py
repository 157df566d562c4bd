"""Copying a finished study, without weights and paths, to where it can be committed.

Reports and resumed studies look for such copies below `results/`. `--moved` also hides where the
photos were taken; all that a report says of errors stays true.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.files import write_csv
from img2gps.runs.folder import (
    BASELINES,
    HISTORY,
    PREDICTIONS,
    PREDICTIONS_TEST,
    find_result,
    read_config_plain,
    write_config,
)
from img2gps.runs.records import StudyRun, read_result, read_study, write_result, write_study
from img2gps.runs.winner import Winner, read_winner, write_winner
from img2gps.study.hiding import Hider

TABLES = (PREDICTIONS, PREDICTIONS_TEST)
POSITIONS = ("", "pred_", "true_")  # what stands before lat_deg and lon_deg
PRIVATE = ("photo", "taken_at")

LatLon = tuple[float, float]
Row = dict[str, str]


@dataclass(frozen=True)
class Published:
    """What was written; `left_out` counts planned runs that have not ended."""

    folder: Path
    runs: int
    left_out: int
    size_bytes: int


def publish(name: str, root: Path, out: Path, *, moved: bool = False) -> Published:
    """Copy a study to `out/<study>/` with those of its runs that are not published yet.

    Args:
        name: study below `root`.
        root: runs root.
        out: where the copy goes; runs there that belong to other studies are linked.
        moved: shift all positions so that the middle of all photos is at 0 N, 0 E, and leave out
            the photos' names and times. All runs are copied then, because each study has a middle
            of its own.

    Raises:
        BadInput: there is no such study, or none of its runs has ended.
    """
    if root.resolve() == out.resolve():
        raise BadInput(f"--out {out}: is where the study lies; give another folder")
    study = read_study(root, name)
    ended = [run for run in study.runs if run.path and read_result(run.folder(root))]
    if not ended:
        raise BadInput(f"{name}: none of its runs has ended; go on with: {study.command}")
    hider = Hider.of(study, moved=moved)
    origin = _middle([run.folder(root) for run in ended]) if moved else None
    copied: dict[str, StudyRun] = {}
    for run in ended:
        there = None if moved else find_result(run.run_id, [out])
        if there is None or there.parent == out / name:
            there = out / name / run.run_id
            if not (there.exists() and there.samefile(run.folder(root))):  # published, and linked
                _copy_run(run.folder(root), there, hider, origin)
        path = there.relative_to(out)
        copied[run.path] = replace(run, path=path.as_posix(), linked=path.parts[0] != name)
    runs = [copied.get(run.path, run) for run in study.runs]
    write_study(out, hider.study(replace(study, runs=runs)))
    if winner := read_winner(root / name):
        write_winner(out / name, hider.winner(_relocated(winner, copied)))
    size = sum(path.stat().st_size for path in (out / name).rglob("*") if path.is_file())
    planned = sum(not run.never_begun for run in study.runs)
    return Published(out / name, len(ended), planned - len(ended), size)


def _relocated(winner: Winner, copied: Mapping[str, StudyRun]) -> Winner:
    """Return the winner with the paths that its runs have in the copy."""
    paths = {path: run.path for path, run in copied.items()}
    return replace(
        winner,
        path=paths.get(winner.path, winner.path),
        average=[paths.get(path, path) for path in winner.average],
    )


def _copy_run(source: Path, target: Path, hider: Hider, origin: LatLon | None) -> None:
    """Copy a run's figures. result.json comes last, because with it a run counts as finished."""
    target.mkdir(parents=True, exist_ok=True)
    write_config(target, hider.config(read_config_plain(source)))
    for file in (HISTORY, BASELINES, *TABLES):
        if not (source / file).is_file():
            continue
        if origin is None or file not in TABLES:
            shutil.copyfile(source / file, target / file)
        else:
            columns, rows = _read(source / file)
            write_csv(target / file, columns, [_moved(row, origin) for row in rows])
    if result := read_result(source):
        write_result(target, hider.result(result))


def _read(path: Path) -> tuple[Sequence[str], list[Row]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return reader.fieldnames or (), list(reader)


def _middle(folders: Sequence[Path]) -> LatLon:
    """Return the mean position of all photos on which any of the runs was validated."""
    labels = {
        row["content"]: (float(row["lat_deg"]), float(row["lon_deg"]))
        for folder in folders
        if (folder / PREDICTIONS).is_file()
        for row in _read(folder / PREDICTIONS)[1]
    }
    if not labels:
        raise BadInput("no run has predictions, so there are no positions to move")
    return geo.mean_position(*zip(*(labels[key] for key in sorted(labels)), strict=True))


def _moved(row: Mapping[str, str], origin: LatLon) -> dict[str, Any]:
    """Return a row of predictions as far from 0 N, 0 E as it was from `origin`, in metres.

    The photo's name and time are left out.
    """
    out: dict[str, Any] = {**row, **dict.fromkeys(PRIVATE, "")}
    out["photo"] = row["content"][:12]
    for prefix in POSITIONS:
        lat, lon = f"{prefix}lat_deg", f"{prefix}lon_deg"
        if row[lat]:
            east, north = geo.to_east_north_m(float(row[lat]), float(row[lon]), *origin)
            new_lat, new_lon = geo.from_east_north_m(east, north, 0.0, 0.0)
            out |= {lat: repr(float(new_lat)), lon: repr(float(new_lon))}
    return out
