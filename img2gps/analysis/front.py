"""The Pareto front of a study with several aims: the cells that no other cell beats in all of them.

Loads neither numpy nor pandas, so that `img2gps studies` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from img2gps.analysis.winner import Rule, Scoring, complete_cells
from img2gps.runs.records import RunResult, StudyRecord, StudyRun

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """A complete cell by its figures.

    Attributes:
        figures: by aim, the mean over the seeds.
        spans: by aim, the lowest and the highest seed.
        on_front: whether no other cell is at least as good in all aims and better in one.
    """

    cell: str
    name: str
    figures: dict[str, float]
    spans: dict[str, tuple[float, float]]
    on_front: bool = True


def points(study: StudyRecord, results: Mapping[str, RunResult] | None = None) -> list[Point]:
    """Return the complete cells of a study with several aims, in order; none where it has one.

    Args:
        study: the record of the study.
        results: by run id; weights the folds of a cell by their photos.
    """
    if not study.aims:
        return []
    cells = {
        cell: runs
        for cell, runs in complete_cells(study.deciding).items()
        if study.may_win(cell) and all(_is_known(run, study.aims) for run in runs)
    }
    found = [_point(cell, runs, study, results or {}) for cell, runs in cells.items()]
    return [
        replace(p, on_front=not any(dominates(o.figures, p.figures, study.aims) for o in found))
        for p in found
    ]


def dominates(one: Figures, other: Figures, aims: Mapping[str, str]) -> bool:
    """Whether one cell is at least as good as another in all aims and better in one.

    >>> aims = {"val/rmse_m": "minimize", "cost/epochs": "minimize"}
    >>> dominates({"val/rmse_m": 60, "cost/epochs": 9}, {"val/rmse_m": 61, "cost/epochs": 9}, aims)
    True
    """
    signs = {aim: 1 if direction == "minimize" else -1 for aim, direction in aims.items()}
    gains = [sign * (other[aim] - one[aim]) for aim, sign in signs.items()]
    return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)


def _is_known(run: StudyRun, aims: Mapping[str, str]) -> bool:
    return all(run.aims.get(aim) is not None for aim in aims)


def _point(
    cell: str, runs: Sequence[StudyRun], study: StudyRecord, results: Mapping[str, RunResult]
) -> Point:
    by_aim = {
        aim: Scoring(Rule(aim, "mean", direction), study.monitor, results).candidate(cell, runs)
        for aim, direction in study.aims.items()
    }
    return Point(
        cell,
        runs[0].name,
        {aim: found.value for aim, found in by_aim.items()},
        {aim: _span(found.by_seed.values()) for aim, found in by_aim.items()},
    )


def _span(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return min(known), max(known)
