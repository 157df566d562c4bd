"""Copying a finished study, without weights and paths, to where it can be committed.

Reports and resumed studies look for such copies below `results/`. `--moved` also hides where the
photos were taken; all that a report says of errors stays true.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.files import read_csv, write_csv
from img2gps.runs.folder import (
    BASELINES,
    HISTORY,
    PREDICTIONS,
    PREDICTIONS_TEST,
    find_result,
    read_config_plain,
    write_config,
)
from img2gps.runs.records import (
    StudyRecord,
    StudyRun,
    read_result,
    read_study,
    write_result,
    write_study,
)
from img2gps.runs.states import RunState
from img2gps.runs.winner import Winner, read_winner, write_winner
from img2gps.study.hiding import Hider
from img2gps.study.moving import Shift, shifts
from img2gps.study.rounding import rounded

PREDICTED = (PREDICTIONS, PREDICTIONS_TEST)


@dataclass(frozen=True)
class Published:
    """What was written; `left_out` counts planned runs without a result."""

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
            the photos' names and times. Runs that other studies published are copied then, too,
            because each study has a middle of its own. Those that this one published before stay,
            and the others are moved to where their photos are in them.

    Raises:
        BadInput: there is no such study, none of its runs has ended, finished ones are nowhere, or
            its runs cannot be moved alike.
    """
    if root.resolve() == out.resolve():
        raise BadInput(f"--out {out}: is where the study lies; give another folder")
    study = read_study(root, name)
    sources = _sources(study, root, out)
    ended = [run for run in study.runs if run.path in sources]
    if not ended:
        raise BadInput(f"{name}: none of its runs has ended; go on with: {study.command}")
    hider = Hider.of(study, moved=moved)
    stays = {
        path: _is_published(source, out / name / source.name, root, moved=moved)
        for path, source in sources.items()
    }
    moves = _moves(sources, stays, out / name, root) if moved else {}
    copied: dict[str, StudyRun] = {}
    for run in ended:
        there = None if moved else find_result(run.run_id, [out])
        if there is None or there.parent == out / name:
            there = out / name / run.run_id
            if not stays[run.path]:
                source = sources[run.path]
                _copy_run(source, there, hider, moves.get(_frame(source, root)))
        path = there.relative_to(out)
        copied[run.path] = replace(run, path=path.as_posix(), linked=path.parts[0] != name)
    runs = [copied.get(run.path, run) for run in study.runs]
    write_study(out, hider.study(replace(study, runs=runs)))
    if winner := read_winner(root / name):
        write_winner(out / name, hider.winner(_relocated(winner, copied)))
    size = sum(path.stat().st_size for path in (out / name).rglob("*") if path.is_file())
    planned = sum(not run.never_begun for run in study.runs)
    return Published(out / name, len(ended), planned - len(ended), size)


def _sources(study: StudyRecord, root: Path, out: Path) -> dict[str, Path]:
    """Return the folders of the runs that have ended, by the paths that the study has for them.

    A link may lead to the results of a checkout that is gone; the same run is taken from `out`.
    """
    found, gone = {}, []
    for run in study.runs:
        folder = run.folder(root) if run.path else None
        if folder and read_result(folder):
            found[run.path] = folder
        elif run.state is RunState.finished:
            if same := find_result(run.run_id, [out]):
                found[run.path] = same
            else:
                gone.append(run)
    if gone:
        raise BadInput(
            f"{study.study}: {counted(len(gone), 'finished run')} cannot be found where the study "
            f"says or below {out}, such as {gone[0].folder(root)}; bring that folder back, or let "
            f"the study's command make them anew after: img2gps studies forget {study.study} "
            f"{gone[0].run_id}"
        )
    return found


def _relocated(winner: Winner, copied: Mapping[str, StudyRun]) -> Winner:
    """Return the winner with the paths that its runs have in the copy."""
    paths = {path: run.path for path, run in copied.items()}
    return replace(
        winner,
        path=paths.get(winner.path, winner.path),
        average=[paths.get(path, path) for path in winner.average],
    )


def _is_published(source: Path, target: Path, root: Path, *, moved: bool) -> bool:
    """Whether a run is in the copy already, and the study at hand only links it."""
    if not target.exists():
        return False
    is_linked = moved and _frame(source, root) != root and read_result(target) is not None
    return is_linked or target.samefile(source)


def _moves(
    sources: Mapping[str, Path], stays: Mapping[str, bool], target: Path, root: Path
) -> dict[Path, Shift]:
    """Return how the runs that do not stay are moved, by the frame of their positions."""
    frames: defaultdict[Path, list[Path]] = defaultdict(list)
    for path, source in sorted(sources.items(), key=lambda item: _frame(item[1], root) != root):
        if not stays[path]:
            frames[_frame(source, root)].append(source)
    return shifts(frames, [target / sources[path].name for path in sources if stays[path]])


def _frame(source: Path, root: Path) -> Path:
    """Return what names the frame of a run's positions: published runs may have been moved."""
    return root if source.resolve().is_relative_to(root.resolve()) else source.parent


def _copy_run(source: Path, target: Path, hider: Hider, move: Shift | None) -> None:
    """Copy a run's figures. result.json comes last, because with it a run counts as finished."""
    target.mkdir(parents=True, exist_ok=True)
    write_config(target, hider.config(read_config_plain(source)))
    if (source / HISTORY).is_file():
        shutil.copyfile(source / HISTORY, target / HISTORY)
    for file in (BASELINES, *PREDICTED):
        if (source / file).is_file():
            columns, rows = read_csv(source / file)
            moved = [move.row(row) for row in rows] if move and file in PREDICTED else rows
            write_csv(target / file, columns, [rounded(row) for row in moved])
    if result := read_result(source):
        write_result(target, hider.result(result))
