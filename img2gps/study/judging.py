"""Ways to find the best cell, judged on finished studies: what they cost and how often they err.

Nothing is trained. Every way sees the recorded errors and curves only as far as it would have run.
Each replay takes the seeds in another order, so that lucky first seeds are drawn as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from img2gps.analysis import racing, stats
from img2gps.analysis.overview import Analysis
from img2gps.analysis.winner import RMSE
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.runs.race import Rules
from img2gps.study import search
from img2gps.study.replay import Curve, train
from img2gps.study.rest import NOTICED_M
from img2gps.study.space import Axis, Space, cell_id
from img2gps.study.spec import Spec
from img2gps.study.storage import quiet

TIMES = 100
CELL = "cell"  # the one axis of a replayed search whose cells are no full grid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """A finished study, photo by photo.

    Attributes:
        error: (cells, seeds, photos), in metres.
        curves: by cell and seed, the RMSE after each epoch, in metres.
        rmse_m: of each cell, by which answers are judged: the truth where it is known, else the
            mean over all seeds.
        names: of the cells.
        space: whose grid the cells are; None where they are no full grid.
        first_rung: epochs before a pruner may judge.
    """

    name: str
    error: Floats
    spot: NDArray[np.int64]
    curves: list[list[Curve]]
    rmse_m: Floats
    names: Sequence[str] = ()
    space: Space | None = None
    first_rung: int = 6

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.error)

    @property
    def seeds(self) -> int:
        """How many seeds each cell has."""
        return int(self.error.shape[1])

    def epochs(self, cell: int, seeds: int = 1) -> int:
        """Return the epochs of a cell's first seeds."""
        return sum(map(len, self.curves[cell][:seeds]))

    def reordered(self, order: Sequence[int]) -> Recorded:
        """Return the study with its seeds in another order."""
        curves = [[own[seed] for seed in order] for own in self.curves]
        return replace(self, error=self.error[:, order], curves=curves)


@dataclass(frozen=True)
class Answer:
    """What one replay chose, and what it spent; `out` are cells that it has given up."""

    chosen: int
    runs: int
    epochs: int
    out: frozenset[int] = frozenset()


Way = Callable[[Recorded, int, Rules], Answer]


def grid(recorded: Recorded, _: int, __: Rules) -> Answer:
    """Run every cell with every seed."""
    return _whole(recorded, recorded.seeds)


def one_seed(recorded: Recorded, _: int, __: Rules) -> Answer:
    """Run every cell with one seed."""
    return _whole(recorded, 1)


def _whole(recorded: Recorded, seeds: int) -> Answer:
    chosen = int(stats.cell_rmse(recorded.error[:, :seeds]).argmin())
    epochs = sum(recorded.epochs(cell, seeds) for cell in range(recorded.cells))
    return Answer(chosen, recorded.cells * seeds, epochs)


def race(recorded: Recorded, _: int, rules: Rules) -> Answer:
    """Race the cells."""
    found = racing.replay(recorded.error, recorded.spot, rules)
    epochs = sum(recorded.epochs(cell, seeds) for cell, seeds in enumerate(found.runs))
    return Answer(found.kept[0], sum(found.runs), epochs, frozenset(found.dropped))


def searched(sampler: str, pruner: str) -> Way:
    """Return a search of as many trials as there are cells, one seed each."""

    def way(recorded: Recorded, number: int, _: Rules) -> Answer:
        return _search(recorded, number, sampler, pruner)

    return way


WAYS: Mapping[str, Way] = {
    "grid": grid,
    "grid, one seed": one_seed,
    "race": race,
    "random + successive_halving": searched("random", "successive_halving"),
    "tpe": searched("tpe", "none"),
}


def _search(recorded: Recorded, number: int, sampler: str, pruner: str) -> Answer:
    space = recorded.space or Space((Axis(CELL, tuple(range(recorded.cells))),))
    names = recorded.names or [cell_id(params) for params in space.grid()]
    index = {name: cell for cell, name in enumerate(names)}
    spec = Spec(
        name=f"{recorded.name}-{number}",
        kind=sampler,
        space=space,
        root="",
        sampler=sampler,
        pruner=pruner,
        max_epochs=max(len(curve) for own in recorded.curves for curve in own),
        first_rung=recorded.first_rung,
    )
    study = optuna.create_study(pruner=search.pruner(spec), study_name=spec.name)
    reached: dict[int, int] = {}  # epochs by cell; a cell drawn again costs nothing
    final: dict[int, float] = {}
    for trial_number in range(recorded.cells):
        study.sampler = search.sampler(spec, trial_number)
        trial = study.ask()
        cell = index[cell_id(search.draw(spec, trial))]
        curve = recorded.curves[cell][0]
        epoch, pruned = train(trial, curve)
        reached[cell] = max(reached.get(cell, 0), epoch)
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, curve[-1])
            final[cell] = curve[-1]
    out = frozenset(reached) - frozenset(final)
    chosen = min(final, key=lambda cell: final[cell])  # the first trial is never pruned
    return Answer(chosen, len(reached), sum(reached.values()), out)


@dataclass(frozen=True)
class Judged:
    """One way on one study; shares are of the replays, `runs` and `epochs` of the whole grid's.

    Attributes:
        median, tenth: share of the grid's epochs that half of, and nine in ten replays need.
        wrong: how often the chosen cell is worse than the best by more than `NOTICED_M`.
        lost: how often a cell was given up that is better than the chosen one by more than the
            margin.
        regret_m: RMSE of the chosen cell above the best, on average.
    """

    study: str
    way: str
    runs: float
    median: float
    tenth: float
    wrong: float
    lost: float
    regret_m: float


def judge(
    recorded: Recorded, *, rules: Rules | None = None, times: int = TIMES, ways: Sequence[str] = ()
) -> list[Judged]:
    """Judge each way on one study, replayed with the seeds in `times` orders."""
    quiet()
    rules = rules or Rules()
    found = []
    for name in ways or WAYS:
        answers = []
        for number in range(times):
            order = np.random.default_rng(number).permutation(recorded.seeds)
            answers.append(WAYS[name](recorded.reordered(order.tolist()), number, rules))
        found.append(summary(recorded, name, answers, rules))
    return found


def summary(recorded: Recorded, way: str, answers: Sequence[Answer], rules: Rules) -> Judged:
    """Return what the answers of one way have cost, and how often they were wrong."""
    rmse, whole = recorded.rmse_m, _whole(recorded, recorded.seeds)
    spent = [answer.epochs / whole.epochs for answer in answers]
    regret = [float(rmse[answer.chosen] - rmse.min()) for answer in answers]
    lost = [
        any(rmse[cell] < rmse[answer.chosen] - rules.margin_m for cell in answer.out)
        for answer in answers
    ]
    return Judged(
        study=recorded.name,
        way=way,
        runs=statistics.median(answer.runs / whole.runs for answer in answers),
        median=statistics.median(spent),
        tenth=float(np.quantile(spent, 0.9)),
        wrong=statistics.fmean(more > NOTICED_M for more in regret),
        lost=statistics.fmean(lost),
        regret_m=statistics.fmean(regret),
    )


def read(analysis: Analysis) -> Recorded:
    """Return a finished study whose cells have the same seeds, on the same photos.

    Raises:
        BadInput: it has runs without a final figure, or cells that cannot be compared.
    """
    study, rankings = analysis.study, analysis.rankings
    folder = study.folder
    unfinished = len(study.runs) - len(study.finished)
    if unfinished:
        without = counted(unfinished, "run") + " without a final figure"
        raise BadInput(f"{folder}: has {without}; finish the study first")
    if len(rankings) != 1:
        raise BadInput(
            f"{folder}: has {len(rankings)} rankings, which answer different questions (their "
            "starts or splits differ); replay a study with one"
        )
    errors = rankings[0].errors
    if len(errors.cells) < 2:
        raise BadInput(f"{folder}: only one of its cells has finished; replay a study of several")
    if np.isnan(errors.error_m).any():
        raise BadInput(f"{folder}: its cells do not all have the same seeds; replay a study whose "
                       "cells have, or run the seeds that are missing")  # fmt: skip
    if rankings[0].group.folds:
        raise BadInput(f"{folder}: has folds, which this replay does not know; replay another")
    runs = {(row["rank_cell"], row["seed"]): run for run, row in study.finished.iterrows()}
    history = study.history.sort_values("epoch")
    by_run: dict[object, Curve] = {run: own[RMSE].tolist() for run, own in history.groupby("run")}
    curves = [[by_run[runs[cell, seed]] for seed in errors.seeds] for cell in errors.cells]
    rmse = stats.cell_rmse(errors.error_m)
    space = _space(study.axes, errors.cells)
    names = errors.cells if space else ()
    return Recorded(study.name, errors.error_m, errors.spot, curves, rmse, names, space)


def _space(axes: Mapping[str, Sequence[Any]], cells: Sequence[str]) -> Space | None:
    """Return the space of a full grid, in which a search has more than names; else None."""
    space = Space(tuple(Axis(name, tuple(values)) for name, values in axes.items()))
    return space if set(map(cell_id, space.grid())) == set(cells) else None


def table(found: Sequence[Judged]) -> list[str]:
    """Return what was judged as lines for the terminal."""
    lines = [
        f"{'way':<28} {'runs':>5} {'epochs':>7} {'9 of 10':>8} {'wrong':>6} {'lost':>5} "
        f"{'above the best':>15}"
    ]
    lines += [
        f"{one.way:<28} {one.runs:>5.0%} {one.median:>7.0%} {one.tenth:>8.0%} {one.wrong:>6.0%} "
        f"{one.lost:>5.0%} {one.regret_m:>13.1f} m"
        for one in found
    ]
    return lines
