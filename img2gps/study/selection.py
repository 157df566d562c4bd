"""Freezing the winner of a study, by the rule that its file gave before anything ran."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from img2gps.analysis.choices import ABSENT, Choice, fits
from img2gps.analysis.front import points
from img2gps.analysis.winner import (
    FOLD_AXIS,
    Candidate,
    Rule,
    Scoring,
    complete_cells,
    ordered,
    read_rule,
)
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.runs.folder import PREDICTIONS
from img2gps.runs.names import without_fold
from img2gps.runs.records import RESULT, RunResult, StudyRecord, StudyRun, now, read_result
from img2gps.runs.states import RunState
from img2gps.runs.winner import Winner
from img2gps.study.averaging import averaged

log = logging.getLogger(__name__)

Cells = Mapping[str, Sequence[StudyRun]]
Results = Mapping[str, RunResult]


@dataclass(frozen=True)
class Asked:
    """What is asked of a selection beside the study's rule.

    Attributes:
        where: knob to value; limits the selection to the cells that have these values.
        prefer: of a study with several aims, the one that decides among the cells of the front.
        average: whether all runs of the winning cell answer together.
        top: how many of the best cells answer together; 0 for as many as the rule says.
    """

    where: Choice = field(default_factory=dict)
    prefer: str = ""
    average: bool = False
    top: int = 0


NOTHING = Asked()
SIZE = "image_size"
SIZES_APART = (
    f"{SIZE}: photos are told apart by their pixels, so each size has a split of its own, and "
    "cells of different sizes cannot be compared photo by photo"
)


def select(
    study: StudyRecord, root: Path, before: Winner | None = None, asked: Asked = NOTHING
) -> Winner:
    """Return the cell that is best over all its seeds, and its first seed's run.

    The winner answers with the average of several cells where the rule or the caller says so.

    Looks at the test part and the number of selections are carried over from `before`.

    Args:
        study: the record of the study.
        root: the runs root.
        before: the winner that was frozen before.
        asked: what the caller wants beside the study's rule.

    Raises:
        BadInput: no cell is complete, fewer cells than are to answer together, the rule is not
            valid, the cells were validated on different photos or splits, or the best cells of a
            search are still being run again.
    """
    where, prefer = asked.where, asked.prefer
    rule = _rule(study, prefer)
    runs = _asked_for(replace(study, runs=_choosable(study)), where)
    complete = complete_cells(runs)
    cells = {cell: own for cell, own in complete.items() if study.may_win(cell)}
    if not cells:
        among = "".join(f", {knob}={value}" for knob, value in where.items())
        raise BadInput(
            f"study={study.study}{among}: no cell has all its seeds finished; go on with: "
            f"{study.command}"
        )
    results = _results(cells, root)
    _check_same_question(study.study, root, cells, results)
    scoring = Scoring(rule, study.monitor, results)
    complete_runs = replace(study, runs=[run for own in cells.values() for run in own])
    front = [point for point in points(complete_runs, results) if point.on_front]
    if prefer:
        cells = {point.cell: cells[point.cell] for point in front}
    top = asked.top or rule.top
    if top > len(cells):
        raise BadInput(
            f"{'--top ' if asked.top else 'select.top='}{top}: {counted(len(cells), 'cell')} of "
            f"{study.study} can win; give --top {len(cells)}, or fewer"
        )
    best, *others = ordered(cells, scoring)[:top]
    planned = len({without_fold(run.cell) for run in runs})
    first = _first_seed(study, best)
    deployed = min(first, key=lambda run: run.params.get(FOLD_AXIS, 0))
    starts = {result.weights.resolved for result in results.values()} - {""}
    winner = Winner(
        study=study.study,
        cell=best.cell,
        name=deployed.name,
        where=dict(where),
        params=deployed.params,
        by=rule.by,
        prefer=prefer,
        front=[{"cell": point.cell, **point.figures} for point in front],
        aggregate=rule.aggregate,
        value=best.value,
        values=list(best.by_seed.values()),
        seeds=list(best.by_seed),
        folds=len(first) if FOLD_AXIS in deployed.params else 0,
        seed=deployed.seed,
        run_id=deployed.run_id,
        path=deployed.path,
        run_value=scoring.value(deployed),
        top=top,
        cells=[best.cell, *(cell.cell for cell in others)] if others else [],
        mean_predictor=scoring.mean_predictor(first),
        candidates=len(complete),
        left_out=planned - len(complete),
        weights=sorted(starts),
        n_test=results[deployed.run_id].data.n_test if deployed.run_id in results else 0,
        test_looks=before.test_looks if before else 0,
        selections=(before.selections if before else 0) + 1,
        frozen_at=now(),
    )
    if asked.average or others:
        winner = averaged(winner, cells, rule, Path(root))
    same = ("cell", "run_id", "average", "cells")
    if before is not None and all(getattr(before, k) == getattr(winner, k) for k in same):
        return replace(winner, test=before.test)  # the same answer
    return winner


def _choosable(study: StudyRecord) -> list[StudyRun]:
    """Return the runs among which the rule chooses: of a confirmed search, the fresh ones.

    Raises:
        BadInput: a search's best cells are still being run again. Which of them wins is then
            open, and a winner is frozen once.
    """
    standing, found = study.standing, study.confirmation
    if standing is None or found is None:
        return study.runs
    if standing.pending:
        left = "all" if standing.left is None else str(standing.left)
        spent = " (with a larger budget, if it is spent)" if "budget" in study.command else ""
        raise BadInput(
            f"study={study.study}: the confirmation of its best cells has not ended (fresh runs "
            f"left: {left}), so which of them wins is open; go on{spent} with: {study.command}"
        )
    if not standing.confirmed:
        return study.deciding
    return [run for run in study.runs if found.has(run.cell, run.seed)]


def _rule(study: StudyRecord, prefer: str) -> Rule:
    """Return the rule of the study, or one that takes the best in the preferred aim."""
    rule = read_rule(study.select, study.monitor, study.direction)
    if not prefer:
        return rule
    if not study.aims:
        raise BadInput(
            f"--prefer {prefer}: {study.study} has one aim, {study.monitor}; leave it out, or give "
            f"the study several: monitor=[{study.monitor},{prefer}] study=NAME"
        )
    if prefer not in study.aims:
        aims = ", ".join(study.aims)
        raise BadInput(f"--prefer {prefer}: no aim of {study.study}; give one of {aims}")
    return Rule(prefer, "mean", study.aims[prefer])


def _asked_for(study: StudyRecord, where: Choice) -> list[StudyRun]:
    """Return the runs whose cell is known and has the values asked for."""
    knobs = dict.fromkeys(knob for run in study.runs for knob in run.params)
    if unknown := set(where) - set(knobs):
        remedy = f"name one of {', '.join(knobs)}" if knobs else "leave --where out"
        raise BadInput(f"--where {min(unknown)}=...: {study.study} does not vary it; {remedy}")
    found = [
        run
        for run in study.runs
        if run.cell
        and all(
            fits(run.params.get(knob, ABSENT), value) is not None for knob, value in where.items()
        )
    ]
    if where and not found:
        asked = ", ".join(f"{knob}={value}" for knob, value in where.items())
        raise BadInput(f"--where {asked}: no such cell in {study.study}; see img2gps studies")
    return found


def _results(cells: Cells, root: str | Path) -> dict[str, RunResult]:
    found = {run.run_id: read_result(run.folder(root)) for runs in cells.values() for run in runs}
    ended = {r.run_id for runs in cells.values() for r in runs if r.state is RunState.finished}
    for run_id in sorted(id_ for id_ in ended if found[id_] is None):
        log.warning(
            "run %s: no readable %s; it is left out, and so may be its cell", run_id, RESULT
        )
    return {run_id: result for run_id, result in found.items() if result is not None}


def _first_seed(study: StudyRecord, best: Candidate) -> list[StudyRun]:
    """Return the cell's runs with the first of the study's seeds, one for each fold."""
    seeds = [seed for seed in study.seeds if seed in best.by_seed] or list(best.by_seed)
    return [run for run in best.runs if run.seed == seeds[0]]


def _check_same_question(study: str, root: str | Path, cells: Cells, results: Results) -> None:
    """Refuse cells that were validated on different photos, or on different kinds of split.

    Figures that answer different questions cannot be compared.
    """
    params_of: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    validated = {run.run_id: _validated(root, run) for runs in cells.values() for run in runs}
    if any(validated.values()):
        for run_id in sorted(run_id for run_id, photos in validated.items() if not photos):
            log.warning("run %s: no %s; img2gps report leaves it out", run_id, PREDICTIONS)
    for runs in cells.values():
        photos = frozenset(photo for run in runs for photo in validated[run.run_id])
        result = results.get(runs[0].run_id)
        params_of.setdefault((result and result.split.kind, photos), []).append(runs[0].params)
    if len(params_of) < 2:
        return
    sets = list(params_of.values())
    first = sets[0][0]
    separating = (knob for knob in first if knob != FOLD_AXIS and _separates(knob, sets))
    knob = next(separating, None)
    example = "one split" if knob is None else f"such as --where {knob}={first[knob]}"
    raise BadInput(
        f"study={study}: its cells were validated in {len(sets)} ways (photos, labels, split), and "
        f"figures of different ways cannot be compared; choose one with --where, {example}"
        + (f" ({SIZES_APART})" if knob == SIZE else "")
    )


def _validated(root: str | Path, run: StudyRun) -> list[tuple[str, str, str]]:
    """Return a run's validation photos with their labels; none where it has no such file.

    Raises:
        BadInput: the file is no table, or lacks a column, a position or its end.
    """
    path = run.folder(root) / PREDICTIONS
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError:
        return []
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is no text; repeat the run") from error
    if not text.endswith("\n"):
        raise BadInput(f"{path}: the end of the file is missing; repeat the run")
    try:
        rows = csv.DictReader(text.splitlines())
        photos = [(row["content"], row["lat_deg"], row["lon_deg"]) for row in rows]
    except KeyError as error:
        raise BadInput(f"{path}: no column {error.args[0]}; repeat the run") from error
    except csv.Error as error:
        raise BadInput(f"{path}: is no table ({error}); repeat the run") from error
    if not all(all(photo) for photo in photos):
        raise BadInput(f"{path}: a photo lacks its content or position; repeat the run")
    return photos


def _separates(knob: str, sets: Sequence[Sequence[Mapping[str, Any]]]) -> bool:
    """Return whether no two sets of cells share a value of the knob."""
    values = [{str(params.get(knob)) for params in each} for each in sets]
    return len(set.union(*values)) == sum(map(len, values))
