"""What a search would have cost on a finished grid: its recorded curves, replayed.

Nothing is trained. The sampler and the pruner are those of a real study and see the recorded
metric epoch by epoch. Every replay draws anew. A cell that is drawn again costs nothing, as in a
study, and a cell that was pruned continues where it stopped.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna

from img2gps.analysis.overview import Analysis
from img2gps.analysis.study import Study
from img2gps.analysis.winner import best_cell
from img2gps.config.schema import SchedulerConfig, SchedulerName
from img2gps.core.errors import BadInput
from img2gps.runs.records import StudyRecord
from img2gps.study import search
from img2gps.study.space import Axis, Space, cell_id
from img2gps.study.spec import Spec
from img2gps.study.storage import quiet

TIMES = 200
DRAWS = 20  # times the number of cells, after which a search that only repeats itself ends
STRATEGIES = {  # name: (sampler, pruner), as hydra.sweeper.sampler and .pruner name them
    "random": ("random", "none"),
    "tpe": ("tpe", "none"),
    "random + successive_halving": ("random", "successive_halving"),
    "tpe + hyperband": ("tpe", "hyperband"),
}
WINNER, BEST_SET = GOALS = ("winner", "best set")

Curve = Sequence[float]


@dataclass(frozen=True)
class Grid:
    """A finished grid.

    Attributes:
        spec: its axes, monitor and first rung, as a search over them would have.
        curves: by cell one curve for each seed: the monitored metric after each epoch.
        winner: the cell that is best over its seeds.
        good: the winner and the cells that are statistically indistinguishable from it.
        notes: what the reader must know.
    """

    spec: Spec
    curves: dict[str, list[Curve]]
    winner: str
    good: frozenset[str]
    notes: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        """Epochs of the whole grid with one seed."""
        return sum(len(curves[0]) for curves in self.curves.values())


@dataclass(frozen=True)
class Price:
    """Epochs until the best cell of a search so far reaches a goal, over all replays.

    `found` is the share of replays that reached it before they had spent as much as the grid; the
    quantiles count the others with the grid's epochs.
    """

    strategy: str
    goal: str
    found: float
    median: float
    quartile: float  # upper
    tenth: float  # one replay in ten takes longer
    grid: int  # epochs of the whole grid


def read(analysis: Analysis) -> Grid:
    """Return the grid of a finished study.

    Raises:
        BadInput: the study is not a grid, or not finished.
    """
    study, rankings = analysis.study, analysis.rankings
    folder = study.folder
    if study.kind != "grid" or not study.axes:
        raise BadInput(f"{folder}: not a grid (kind {study.kind}); replay one that is")
    unfinished = len(study.runs) - len(study.finished)
    best = best_cell(study.record)
    if unfinished or len(rankings) != 1 or best is None:
        raise BadInput(
            f"{folder}: {unfinished} runs have no final figure and {len(rankings)} rankings "
            "exist; finish the study first, with one kind of start"
        )
    spec = _spec(study.record, int(study.history["epoch"].max()))
    names = {cell_id(params) for params in spec.space.grid()}
    if names != set(study.cells):
        raise BadInput(
            f"{folder}: its {len(study.cells)} cells are not all combinations of its axes "
            f"({len(names)}), so a search over these would ask for cells that never ran; replay a "
            "full grid"
        )
    close = {cell.cell for cell in rankings[0].cells if cell.in_best_set}
    notes = () if close else ("one seed a cell: only the winner itself counts as found",)
    return Grid(spec, _curves(study), best.cell, frozenset(close | {best.cell}), notes)


def _curves(study: Study) -> dict[str, list[Curve]]:
    curves: dict[str, list[Curve]] = {}
    for run, row in study.finished.iterrows():
        own = study.history[study.history["run"] == run].sort_values("epoch")
        curves.setdefault(row["cell"], []).append(own[study.record.monitor].astype(float).tolist())
    return curves


def _spec(record: StudyRecord, last_epoch: int) -> Spec:
    """Return the spec of a search over the axes of a grid."""
    epochs = int(record.base_config.get("max_epochs") or last_epoch)
    plain = record.base_config.get("scheduler") or {}
    scheduler = SchedulerConfig(**{**plain, "name": SchedulerName(plain.get("name", "step"))})
    return Spec(
        name=record.study,
        kind="random",
        space=Space(tuple(Axis(name, tuple(values)) for name, values in record.axes.items())),
        root="",
        monitor=record.monitor,
        direction=record.direction,
        max_epochs=epochs,
        first_rung=search.first_rung(scheduler, epochs),
    )


def prices(grid: Grid, *, times: int = TIMES, strategies: Sequence[str] = ()) -> list[Price]:
    """Replay each strategy `times` times."""
    quiet()
    found = []
    for name in strategies or STRATEGIES:
        sampler, pruner = STRATEGIES[name]
        spec = replace(grid.spec, sampler=sampler, pruner=pruner)
        spent = [replay(grid, spec, number) for number in range(times)]
        found += [_price(name, goal, spent, grid.epochs) for goal in GOALS]
    return found


def _price(strategy: str, goal: str, spent: Sequence[dict[str, int]], grid: int) -> Price:
    median, quartile, tenth = np.quantile([s.get(goal, grid) for s in spent], [0.5, 0.75, 0.9])
    return Price(
        strategy=strategy,
        goal=goal,
        found=statistics.fmean(goal in each for each in spent),
        median=float(median),
        quartile=float(quartile),
        tenth=float(tenth),
        grid=grid,
    )


@dataclass
class _Search:
    """A search under way: the epochs of each cell so far, its best cell, the goals reached."""

    grid: Grid
    spent: int = 0
    done: dict[str, int] = field(default_factory=dict)
    best: tuple[float, str] | None = None
    reached: dict[str, int] = field(default_factory=dict)

    def pay(self, cell: str, epoch: int) -> None:
        """Count the epochs of a cell that were not trained before."""
        self.spent += max(0, epoch - self.done.get(cell, 0))
        self.done[cell] = max(epoch, self.done.get(cell, 0))

    def finish(self, cell: str, value: float) -> None:
        """Note the final figure of a cell, and the goals that the best cell reaches."""
        better = operator.lt if self.grid.spec.direction == "minimize" else operator.gt
        if self.best is None or better(value, self.best[0]):
            self.best = value, cell
        if self.best[1] == self.grid.winner:
            self.reached.setdefault(WINNER, self.spent)
        if self.best[1] in self.grid.good:
            self.reached.setdefault(BEST_SET, self.spent)


def replay(grid: Grid, spec: Spec, number: int) -> dict[str, int]:
    """Return the epochs that one search spends until it reaches each goal.

    A goal that is not reached before the grid's own epochs are spent is left out.
    """
    study = optuna.create_study(
        sampler=search.sampler(spec, number),
        pruner=search.pruner(spec),
        direction=optuna.study.StudyDirection[spec.direction.upper()],
        study_name=f"replay-{number}",  # Hyperband draws its brackets by the study's name
    )
    under_way = _Search(grid)
    for _ in range(DRAWS * len(grid.curves)):
        trial = study.ask()
        cell = cell_id(search.draw(spec, trial))
        curves = grid.curves[cell]
        curve = curves[number % len(curves)]
        epoch, pruned = train(trial, curve)
        under_way.pay(cell, epoch)
        if under_way.spent > grid.epochs:
            break
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, curve[-1])
        under_way.finish(cell, curve[-1])
        if len(under_way.reached) == len(GOALS):
            break
    return under_way.reached


def train(trial: optuna.Trial, curve: Curve) -> tuple[int, bool]:
    """Report a curve to the pruner; return the last epoch, and whether the trial was pruned."""
    for epoch, value in enumerate(curve, 1):
        trial.report(value, epoch)
        if epoch < len(curve) and trial.should_prune():
            return epoch, True
    return len(curve), False


def table(found: Sequence[Price]) -> list[str]:
    """Return the prices as lines for the terminal."""
    lines = [
        f"{'search':<28} {'until its best is':<18} {'found':>6} {'median':>7} {'3 of 4':>7} "
        f"{'9 of 10':>8}  of {found[0].grid} epochs"
    ]
    for price in found:
        what = "the winner" if price.goal == WINNER else "in the best set"
        lines.append(
            f"{price.strategy:<28} {what:<18} {price.found:>6.0%} {price.median:>7.0f} "
            f"{price.quartile:>7.0f} {price.tenth:>8.0f}"
        )
    return lines


def report(grid: Grid, *, times: int = TIMES) -> dict[str, Any]:
    """Return the prices of searching a grid, as plain values."""
    return {
        "study": grid.spec.name,
        "cells": len(grid.curves),
        "seeds": min(len(curves) for curves in grid.curves.values()),
        "grid_epochs": grid.epochs,
        "winner": grid.winner,
        "best_set": sorted(grid.good),
        "times": times,
        "notes": list(grid.notes),
        "prices": [vars(price) for price in prices(grid, times=times)],
    }
