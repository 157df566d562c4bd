"""How many photos and seeds would answer a question of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from img2gps.analysis import stats
from img2gps.analysis.choices import Choice
from img2gps.analysis.contrast import pair_of
from img2gps.analysis.errors import Errors
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.stats import POWER, Power
from img2gps.analysis.study import Study
from img2gps.core.errors import BadInput

TIMES_PHOTOS = (1, 2, 4, 8)
MORE_SEEDS = (0, 2, 7)
JOINT_SIMULATIONS = 100  # of many cells at once, which take longer; 80 % is known to 4 points


@dataclass(frozen=True)
class Needs:
    """The power of a study with more photos and seeds.

    Attributes:
        question: what would be answered.
        rows: for each number of photos and seeds.
        photos: that the study has.
        seeds: that each of its cells has, at least; those that no seed changes do not count.
        runs: that one more seed takes: one for each cell and fold of the study, or of what a
            search has confirmed.
        seconds: that a run takes.
        spread: whether more photos mean more ground, because spots near each other may err alike.
        observed: whether cells are taken to differ as observed, and not by what the user gave.
        marks: whether the answer takes a ranking's marks, which cells with one seed do not get.
        in_doubt: cells of the question whose single run may have gone astray.
    """

    question: str
    rows: Sequence[Power]
    photos: int
    seeds: int
    runs: int
    seconds: float
    spread: bool = False
    observed: bool = True
    marks: bool = False
    in_doubt: Sequence[str] = ()

    @property
    def sure_of_nothing(self) -> bool:
        """Whether there are too few spots to say how surely the noise is known."""
        return all((row.low, row.high) == (0.0, 1.0) for row in self.rows)

    @property
    def enough(self) -> list[Power]:
        """The fewest seeds that reach 80 % with each number of photos that makes them fewer."""
        found: list[Power] = []
        for row in sorted(self.rows, key=lambda row: (row.photos, row.seeds)):
            if row.power >= POWER and not (found and row.seeds >= found[-1].seeds):
                found.append(row)
        return found

    @property
    def by_seeds(self) -> Power | None:
        """The fewest seeds that reach 80 % on the photos that there are; None if none do."""
        return next((row for row in self.enough if row.photos == self.photos), None)

    def minutes(self, row: Power) -> float:
        """Return how long the runs take that are missing, one after the other."""
        return (row.seeds - self.seeds) * self.runs * self.seconds / 60


def one_winner(ranking: Ranking) -> Needs:
    """Return what it takes to show that the lowest cell alone is the best.

    Raises:
        BadInput: there is nothing to compare.
    """
    errors = ranking.errors
    if len(errors.cells) < 2:
        raise BadInput(f"{ranking.study.name}: only one cell has finished; run another to compare")
    first = errors.cells.index(ranking.winner.cell)
    in_doubt = [int(i) for i in ranking.may_win if ranking.cells[i].in_best_set is not False]
    order = [first, *(cell for cell in in_doubt if cell != first)]
    question = f"is {ranking.winner.cell} alone the best of the {len(order)} cells in doubt?"
    if len(order) == 1:
        question = f"is {ranking.winner.cell} alone the best? No other cell is in doubt."
    asked = Asked(question, stats.first_wins_alone, stats.OF_TESTS, JOINT_SIMULATIONS)
    return _needs(asked, ranking.study, errors, order)


def lower_of_two(
    study: Study, this: Choice, that: Choice, where: Choice, difference_m: float | None = None
) -> Needs:
    """Return what it takes to show that the better of two cells is better.

    Args:
        study: as read from disk.
        this: one choice.
        that: the other one.
        where: what both must have besides.
        difference_m: by which the worse one is taken to be worse; None for the difference that was
            observed.

    Raises:
        BadInput: there is no such pair, or there are several.
    """
    errors, pair = pair_of(study, this, that, where)
    order = sorted(pair, key=lambda cell: float(stats.cell_rmse(errors.error_m[[cell]])[0]))
    question = f"is {errors.cells[order[0]]} better than {errors.cells[order[1]]}?"
    if difference_m is not None:
        question += f" (if the difference is {difference_m:g} m)"
    else:
        best, other = stats.cell_rmse(errors.error_m[order])
        question += f" (if the difference is {other - best:.1f} m, as observed, which flatters)"
    asked = Asked(question, stats.first_is_lower, stats.OF_DIFFERENCES, stats.SIMULATIONS)
    return _needs(asked, study, errors, order, difference_m)


@dataclass(frozen=True)
class Asked:
    """A question, and how the report answers it."""

    text: str
    test: stats.Test
    expected: stats.Expected  # of spots
    simulations: int


def _needs(
    asked: Asked,
    study: Study,
    errors: Errors,
    order: Sequence[int],
    difference_m: float | None = None,
) -> Needs:
    own, solved = errors.error_m[list(order)], errors.solved[list(order)]
    if difference_m is not None:
        own = stats.with_difference(own, difference_m)
    runs = (~np.isnan(own).any(axis=2)).sum(axis=1)
    have = int(runs[~solved].min()) if not solved.all() else 1
    n = own.shape[2]
    photos = [n * times for times in TIMES_PHOTOS]
    seeds = [have] if solved.all() else [have + more for more in MORE_SEEDS]
    others, observed = errors.luck_without(order), difference_m is None
    rows = stats.simulated_power(
        own,
        errors.places,
        asked.test,
        photos,
        seeds,
        others=others,
        solved=solved,
        expected=asked.expected,
        observed=observed,
        simulations=asked.simulations,
    )
    seconds = float(study.column("seconds").astype(float).mean())
    fresh = study.runs[study.fresh]
    again = fresh if len(fresh) else study.runs
    spread = errors.places.position_m is not None
    cells, marks = again["cell"].nunique(), asked.test is stats.first_wins_alone
    chance, least = errors.strays.alone_astray, (1 - stats.LEVEL) / 2
    in_doubt = [errors.cells[cell] for cell in order if chance[cell] > least]
    return Needs(asked.text, rows, n, have, cells, seconds, spread, observed, marks, in_doubt)
