"""What a search would have cost on a grid that is finished: its recorded curves, replayed.

Nothing is trained. The sampler and the pruner are those of a real study, they see the recorded
metric epoch by epoch, and every replay draws anew. A cell that is drawn again costs nothing, as in
a study, and one that was cut short goes on from where it was.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from img2gps.analysis import collect
from img2gps.analysis.overview import analyse
from img2gps.analysis.study import Study
from img2gps.analysis.winner import best_cell
from img2gps.config.schema import SchedulerConfig, SchedulerName
from img2gps.core.errors import BadInput
from img2gps.core.files import write_json
from img2gps.runs.records import STUDY, read_study_file
from img2gps.study import search
from img2gps.study.space import Axis, Space, cell_id
from img2gps.study.spec import Spec

TIMES = 200
DRAWS = 20  # times the number of cells, after which a search that only repeats itself ends
STRATEGIES = {  # name: (sampler, pruner), as hydra.sweeper.sampler and .pruner name them
    "random": ("random", "none"),
    "tpe": ("tpe", "none"),
    "random + successive_halving": ("random", "successive_halving"),
    "tpe + hyperband": ("tpe", "hyperband"),
}

Curve = Sequence[float]


@dataclass(frozen=True)
class Grid:
    """A finished grid.

    Attributes:
        spec: its axes, monitor and first rung, as a search over them would have.
        curves: cell to one curve a seed: the monitored metric after each epoch.
        winner: the cell that is best over its seeds.
        good: the winner and the cells that cannot be told from it.
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
    """Epochs until a search's best cell so far was a good one, over all replays.

    `found` is the share of replays that got there before they had spent as much as the grid; the
    quantiles count the others as the grid's epochs.
    """

    strategy: str
    goal: str  # "winner" or "best set"
    found: float
    median: float
    quartile: float  # upper
    tenth: float  # one replay in ten takes longer
    grid: int  # epochs of the whole grid


def read(folder: Path, roots: Sequence[Path]) -> Grid:
    """The grid in a study's folder.

    Raises:
        BadInput: not a grid, or not finished.
    """
    study = collect.load_study(folder, roots)
    facts = study.facts
    if facts.get("kind") != "grid" or len(study.axes) == 0:
        raise BadInput(f"{folder}: not a grid (kind {facts.get('kind')}); replay one that is")
    unfinished = len(study.runs) - len(study.finished)
    rankings = analyse(study).rankings
    if unfinished or len(rankings) != 1:
        raise BadInput(
            f"{folder}: {unfinished} runs have no final figure and {len(rankings)} rankings "
            "exist; finish the study first, with one kind of start"
        )
    names = {cell_id(params) for params in _spec(study, "").space.grid()}
    if names != set(study.cells):
        raise BadInput(
            f"{folder}: its {len(study.cells)} cells are not all combinations of its axes "
            f"({len(names)}), so a search over these would ask for cells that never ran; replay a "
            "full grid"
        )
    monitor = str(facts.get("monitor", "val/rmse_m"))
    curves: dict[str, list[Curve]] = {}
    for run, row in study.finished.iterrows():
        own = study.history[study.history["run"] == run].sort_values("epoch")
        curves.setdefault(str(row["cell"]), []).append(own[monitor].astype(float).tolist())
    cells = {cell.cell: cell for cell in rankings[0].cells}
    winner = _winner(folder)
    close = {name for name, cell in cells.items() if cell.in_best_set}
    notes = [] if close else ["one seed a cell: only the winner itself counts as found"]
    return Grid(_spec(study, monitor), curves, winner, frozenset(close | {winner}), tuple(notes))


def _winner(folder: Path) -> str:
    best = best_cell(read_study_file(folder / STUDY))
    if best is None:
        raise BadInput(f"{folder}: no cell has all its seeds finished; finish the study first")
    return best.cell


def _spec(study: Study, monitor: str) -> Spec:
    base = study.facts.get("base_config") or {}
    epochs = int(base.get("max_epochs") or study.history["epoch"].max())
    plain = base.get("scheduler") or {}
    scheduler = SchedulerConfig(**{**plain, "name": SchedulerName(plain.get("name", "step"))})
    return Spec(
        name=study.name,
        kind="random",
        space=Space(tuple(Axis(name, tuple(values)) for name, values in study.axes.items())),
        root="",
        monitor=monitor,
        direction=str(study.facts.get("direction", "minimize")),
        max_epochs=epochs,
        first_rung=search.first_rung(scheduler, epochs),
    )


def prices(grid: Grid, *, times: int = TIMES, strategies: Sequence[str] = ()) -> list[Price]:
    """Replay each strategy `times` times."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # TPE's group
    found = []
    for name in strategies or STRATEGIES:
        sampler, pruner = STRATEGIES[name]
        spec = replace(grid.spec, sampler=sampler, pruner=pruner)
        spent = [replay(grid, spec, number) for number in range(times)]
        for goal in ("winner", "best set"):
            epochs = [each.get(goal, grid.epochs) for each in spent]
            found.append(
                Price(
                    strategy=name,
                    goal=goal,
                    found=statistics.fmean(goal in each for each in spent),
                    median=float(np.median(epochs)),
                    quartile=float(np.quantile(epochs, 0.75)),
                    tenth=float(np.quantile(epochs, 0.9)),
                    grid=grid.epochs,
                )
            )
    return found


def replay(grid: Grid, spec: Spec, number: int) -> dict[str, int]:
    """Epochs that one search spends until its best cell is the winner, and one of the best set.

    A goal that is not reached before the grid's own epochs are spent is left out.
    """
    study = optuna.create_study(
        sampler=search.sampler(spec, number, 0),
        pruner=search.pruner(spec),
        direction=optuna.study.StudyDirection[spec.direction.upper()],
        study_name=f"replay-{number}",  # Hyperband draws its brackets by the study's name
    )
    better: Callable[[float, float], bool] = (
        float.__lt__ if spec.direction == "minimize" else float.__gt__
    )
    done: dict[str, int] = {}  # epochs of each cell so far
    best: tuple[float, str] | None = None
    spent, reached = 0, dict[str, int]()
    for _ in range(DRAWS * len(grid.curves)):
        trial = study.ask()
        cell = cell_id(search.draw(spec, trial))
        curves = grid.curves[cell]
        curve = curves[number % len(curves)]
        epoch, pruned = 0, False
        while epoch < len(curve) and not pruned:
            epoch += 1
            trial.report(curve[epoch - 1], epoch)
            pruned = epoch < len(curve) and trial.should_prune()
        spent += max(0, epoch - done.get(cell, 0))
        if spent > grid.epochs:
            break
        done[cell] = max(epoch, done.get(cell, 0))
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, curve[-1])
        if best is None or better(curve[-1], best[0]):
            best = curve[-1], cell
        if best[1] == grid.winner:
            reached.setdefault("winner", spent)
        if best[1] in grid.good:
            reached.setdefault("best set", spent)
        if len(reached) == 2:
            break
    return reached


def table(found: Sequence[Price]) -> list[str]:
    """Lines for a person."""
    lines = [
        f"{'search':<28} {'until its best is':<18} {'found':>6} {'median':>7} {'3 of 4':>7} "
        f"{'9 of 10':>8}  of {found[0].grid} epochs"
    ]
    for price in found:
        what = "the winner" if price.goal == "winner" else "in the best set"
        lines.append(
            f"{price.strategy:<28} {what:<18} {price.found:>6.0%} {price.median:>7.0f} "
            f"{price.quartile:>7.0f} {price.tenth:>8.0f}"
        )
    return lines


def report(folder: Path, roots: Sequence[Path], *, times: int = TIMES) -> dict[str, Any]:
    """Prices of a study's grid, as plain values."""
    grid = read(folder, roots)
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


def write(path: Path, found: dict[str, Any]) -> None:
    """The report as JSON."""
    write_json(path, found)
