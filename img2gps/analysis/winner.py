"""The winner of a study: the cell that the study's rule chooses.

Loads neither numpy nor pandas, so that `img2gps studies` answers at once.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.runs.names import without_fold
from img2gps.runs.records import RunResult, StudyRecord, StudyRun
from img2gps.runs.states import RunState

AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
}
DIRECTIONS = ("minimize", "maximize")
RMSE = "val/rmse_m"
FOLD_AXIS = "split.fold"  # its values are one cell
HIGHER_IS_BETTER = re.compile(r"val/within_\d+m|skill")


@dataclass(frozen=True)
class Rule:
    """How a winner is chosen, and how many of the best cells answer together.

    Attributes:
        by: the metric.
        aggregate: how it is averaged over seeds.
        direction: which end of it is best.
        top: how many cells answer with their average; 1 for the winner's first seed alone.
    """

    by: str = RMSE
    aggregate: str = "mean"
    direction: str = "minimize"
    top: int = 1

    def aggregated(self, values: Sequence[float]) -> float:
        """Return one figure for the values of several seeds."""
        return AGGREGATES[self.aggregate](values)

    def ordered(self, seeds: Mapping[str, Sequence[float]]) -> list[str]:
        """Return the cells, the winner first, given each cell's figures by seed.

        >>> Rule().ordered({"b": [50.0, 80.0], "a": [60.0, 62.0]})
        ['a', 'b']
        """
        figures = {cell: self.aggregated(values) for cell, values in seeds.items()}
        return sorted(figures, key=figures.__getitem__, reverse=self.direction == "maximize")


def read_rule(given: Mapping[str, Any], monitor: str, direction: str) -> Rule:
    """Read the rule that a study file gives under `select`, and check it before anything runs.

    The direction is the study's own where the rule uses the monitored metric. For another metric
    it follows from the name (more photos within 25 m are better, more metres are not), unless the
    rule gives it.

    Raises:
        BadInput: an unknown key or value.
    """
    known = ("by", "aggregate", "direction", "top")
    by = str(given.get("by", monitor))
    rule = Rule(
        by,
        str(given.get("aggregate", "mean")),
        str(given.get("direction", direction if by == monitor else direction_of(by))),
        given.get("top", 1),
    )
    if unknown := set(given) - set(known):
        raise BadInput(f"select.{min(unknown)}: no such key; one of {', '.join(known)}")
    if rule.aggregate not in AGGREGATES:
        raise BadInput(f"select.aggregate={rule.aggregate}: give one of {', '.join(AGGREGATES)}")
    if rule.direction not in DIRECTIONS:
        raise BadInput(f"select.direction={rule.direction}: give minimize or maximize")
    if type(rule.top) is not int or rule.top < 1:
        raise BadInput(f"select.top={rule.top}: give the number of cells to average, such as 3")
    return rule


def direction_of(metric: str) -> str:
    """Return which end of a metric is better, as far as its name tells.

    >>> direction_of("val/within_25m"), direction_of("cost/seconds")
    ('maximize', 'minimize')
    """
    return "maximize" if HIGHER_IS_BETTER.fullmatch(metric) else "minimize"


@dataclass(frozen=True)
class Candidate:
    """A cell that may win, with all its runs and its figure for each seed."""

    cell: str
    runs: list[StudyRun]
    by_seed: dict[int, float]  # the folds of a seed are pooled
    value: float  # aggregated over the seeds


@dataclass(frozen=True)
class Scoring:
    """Turns the runs of a cell into figures.

    Attributes:
        rule: which figure, and how it is aggregated.
        monitor: the metric that the runs' own `value` holds.
        results: by run id. Only needed for other metrics, and to weight folds by their photos.
    """

    rule: Rule
    monitor: str
    results: Mapping[str, RunResult] = field(default_factory=dict)

    def candidate(self, cell: str, runs: Sequence[StudyRun]) -> Candidate:
        """Score one cell."""
        by_seed = {
            seed: self.pooled([run for run in runs if run.seed == seed])
            for seed in dict.fromkeys(run.seed for run in runs)
        }
        return Candidate(cell, list(runs), by_seed, self.rule.aggregated(list(by_seed.values())))

    def pooled(self, folds: Sequence[StudyRun]) -> float:
        """Return one figure for the folds of a seed."""
        return pooled(self.rule.by, list(map(self.value, folds)), list(map(self.photos, folds)))

    def value(self, run: StudyRun) -> float:
        """Return one run's figure.

        Raises:
            BadInput: the run has no such metric.
        """
        if self.rule.by == self.monitor and run.value is not None:
            return run.value
        metrics = self.results[run.run_id].metrics if run.run_id in self.results else {}
        found = run.aims.get(self.rule.by, metrics.get(self.rule.by))
        if found is None:
            raise BadInput(
                f"select.by={self.rule.by}: not among the metrics; one of: "
                f"{', '.join(sorted(metrics))}"
            )
        return found

    def photos(self, run: StudyRun) -> float:
        """Return how many photos a run was validated on; 1 where that is unknown."""
        result = self.results.get(run.run_id)
        return float((result.data.n_val if result else run.n_val) or 1)

    def mean_predictor(self, folds: Sequence[StudyRun]) -> float | None:
        """Return the mean predictor's RMSE over the folds of a seed; None where one lacks it."""
        results = [self.results.get(run.run_id) for run in folds]
        means = [
            result.mean_predictor_rmse_m if result else run.mean_predictor
            for run, result in zip(folds, results, strict=True)
        ]
        known = [mean for mean in means if mean is not None]
        if len(known) < len(folds):
            return None
        return pooled(RMSE, known, list(map(self.photos, folds)))


def complete_cells(runs: Sequence[StudyRun]) -> dict[str, list[StudyRun]]:
    """Return the cells all of whose planned runs are finished, with these runs.

    Other cells cannot win: neither by one lucky seed, nor by the easiest of their folds.
    """
    cells: dict[str, list[StudyRun]] = {}
    for run in runs:
        if run.cell:  # a search has not chosen the others yet
            cells.setdefault(without_fold(run.cell), []).append(run)
    return {
        cell: own
        for cell, own in cells.items()
        if all(run.state == RunState.finished and run.value is not None for run in own)
    }


def ordered(cells: Mapping[str, Sequence[StudyRun]], scoring: Scoring) -> list[Candidate]:
    """Return the cells by the rule, the winner first."""
    found = {cell: scoring.candidate(cell, runs) for cell, runs in cells.items()}
    order = scoring.rule.ordered({c: list(one.by_seed.values()) for c, one in found.items()})
    return [found[cell] for cell in order]


def best_cell(study: StudyRecord) -> Candidate | None:
    """Return the cell with the best mean of the monitored metric; None where none is complete."""
    found = complete_cells(study.deciding)
    cells = {cell: runs for cell, runs in found.items() if study.may_win(cell)}
    rule = Rule(study.monitor, "mean", study.direction)
    return ordered(cells, Scoring(rule, study.monitor))[0] if cells else None


def pooled(metric: str, values: Sequence[float], n_val: Sequence[float]) -> float:
    """Return one figure for several folds, weighted by their photos; RMSE through the squares.

    >>> pooled("val/rmse_m", [30.0, 40.0], [1, 1]), pooled("val/mean_m", [30.0, 40.0], [1, 3])
    (35.35533905932738, 37.5)
    """
    if len(values) == 1:
        return float(values[0])
    power = 2 if metric.endswith("rmse_m") else 1
    total = sum(n * value**power for value, n in zip(values, n_val, strict=True))
    return float((total / sum(n_val)) ** (1 / power))
