"""The rules of a race: after each look, which cells drop out, who runs next, and when it ends.

Pure functions on errors in metres. The engine, the replay and the simulations all use them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from img2gps.analysis.stats import Luck, Places, luck_of
from img2gps.analysis.stats.race import (
    Outlook,
    Pairs,
    against,
    equivalent,
    outlook,
    pairs,
    worse,
)
from img2gps.runs.race import Rules

FEWEST_RUNS = 2  # of the leader, before a race may end: no verdict rests on one seed
FIRST_LOOK_RELATIVE = 0.06  # luck assumed where no cell has two seeds yet: more than usual
NEXT_SHARE = 1 / 3  # of the cells still in the race: as many get a seed before the next look


class End(StrEnum):
    """Why a race has ended."""

    one = "one cell is left"
    equivalent = "the cells left are shown to be equivalent"
    spent = "every cell left has all its seeds and folds"
    undecided = "more seeds are not likely to tell the cells left apart"
    none = "no cell is left: every one has a run that did not finish"


@dataclass(frozen=True)
class Course:
    """How far a race has come.

    Attributes:
        look: the number of this look, from 1.
        started: how many cells have started.
        seeds: how many seeds a cell may have.
        fold: how many folds every cell still in the race has with its first seed.
        folds: how many there are; 1 without a k-fold split.
    """

    look: int
    started: int
    seeds: int
    fold: int = 1
    folds: int = 1

    @property
    def in_folds(self) -> bool:
        """Whether folds are left: they show other photos, so they come before other seeds."""
        return self.fold < self.folds


@dataclass(frozen=True)
class Shown:
    """A cell that is shown to be worse than a rival; both are indices."""

    cell: int
    rival: int
    difference_m: float


@dataclass(frozen=True)
class Verdict:
    """What a look says; cells are indices into the errors that it was given.

    Attributes:
        rmse_m: of every cell.
        dropped: cells shown to be worse than another by more than the margin.
        kept: the others, the lowest RMSE first.
        end: why the race ends; None if it goes on.
        following: the cells that run next, the most informative first.
        chance: the largest chance of a cell to be dropped by all the seeds that are left.
    """

    rmse_m: list[float]
    dropped: list[Shown]
    kept: list[int]
    end: End | None
    following: list[int]
    chance: float


def judge(
    error: NDArray[np.float64], spot: NDArray[np.int64] | Places, course: Course, rules: Rules
) -> Verdict:
    """Judge the cells that are still in a race.

    `error` has the shape (cells, seeds, photos), in metres; runs that are missing are NaN.
    """
    found = _compared(error, spot, course)
    lost = worse(found, course.look, rules.margin_m, course.started)
    kept = np.flatnonzero(~lost.any(axis=1))
    dropped = [_shown(found, lost, int(cell)) for cell in np.flatnonzero(lost.any(axis=1))]
    left = _compared(error[kept], spot, course)
    view = outlook(
        left,
        course.look,
        rules.margin_m,
        course.started,
        seeds=course.seeds,
        photos=course.folds / course.fold,
    )
    end = _end(left, view, course, rules)
    following = [] if end else [int(kept[i]) for i in _following(left, view, course)]
    order = [int(kept[i]) for i in left.rmse.argsort(kind="stable")]
    chance = float(view.chances.max())
    return Verdict(found.rmse.tolist(), dropped, order, end, following, chance)


@dataclass(frozen=True)
class Doubt:
    """How much worse than the lowest cell another may be, as a look sees it, in metres."""

    difference_m: float
    low_m: float
    high_m: float


def doubts(
    error: NDArray[np.float64], spot: NDArray[np.int64] | Places, course: Course
) -> list[Doubt]:
    """Return the doubt that a look leaves about each cell; the lowest one has none.

    `error` has the shape (cells, seeds, photos), in metres; runs that are missing are NaN.
    """
    found = _compared(error, spot, course)
    low, high = against(found, found.leader, course.look, course.started)
    low[found.leader] = high[found.leader] = 0.0
    ends = zip(found.difference[:, found.leader], low, high, strict=True)
    return [Doubt(*(float(value) for value in cell)) for cell in ends]


@dataclass(frozen=True)
class Finish:
    """A race that was run to its end on recorded errors; cells are indices."""

    dropped: list[int]
    kept: list[int]  # the lowest RMSE first
    end: End
    looks: int
    runs: list[int]  # by cell


def replay(error: NDArray[np.float64], spot: NDArray[np.int64] | Places, rules: Rules) -> Finish:
    """Race cells all of whose seeds are recorded; seeds are taken in the order given.

    `error` has the shape (cells, seeds, photos), in metres.
    """
    cells, seeds, _ = error.shape
    known = np.ones(cells, dtype=np.int64)
    alive, dropped = list(range(cells)), list[int]()
    for look in itertools.count(1):
        seen = np.where((np.arange(seeds) < known[:, None])[..., None], error, np.nan)[alive]
        found = judge(seen, spot, Course(look, cells, seeds), rules)
        dropped += [alive[shown.cell] for shown in found.dropped]
        kept = [alive[i] for i in found.kept]
        if found.end:
            break
        known[[alive[i] for i in found.following]] += 1
        alive = sorted(kept)
    return Finish(dropped, kept, found.end or End.spent, look, known.tolist())


def _compared(
    error: NDArray[np.float64], spot: NDArray[np.int64] | Places, course: Course
) -> Pairs:
    luck = luck_of(error, spot)
    if not luck.cells:  # assumed for one training, and the folds are trained apart
        assumed = FIRST_LOOK_RELATIVE / math.sqrt(course.fold)
        luck = Luck(assumed, math.inf)
    return pairs(error, spot, luck)


def _shown(found: Pairs, lost: NDArray[np.bool_], cell: int) -> Shown:
    """Name the lowest of the rivals that a cell is shown to be worse than."""
    rival = min(np.flatnonzero(lost[cell]), key=lambda other: found.rmse[other])
    return Shown(cell, int(rival), float(found.difference[cell, rival]))


def _end(left: Pairs, view: Outlook, course: Course, rules: Rules) -> End | None:
    runs = left.n_seeds[left.leader] * course.fold
    if runs >= FEWEST_RUNS:
        if len(left.rmse) == 1:
            return End.one
        if equivalent(left, course.look, rules.margin_m).all():
            return End.equivalent
    if not course.in_folds and (left.n_seeds >= course.seeds).all():
        return End.spent
    hopeless = view.chances.max() < rules.give_up_below and not view.equivalent
    return End.undecided if hopeless and runs >= FEWEST_RUNS else None


def _following(left: Pairs, view: Outlook, course: Course) -> Sequence[int]:
    """Return who runs next.

    A seed of the leader counts in every comparison, so the leader comes first, and then those that
    more seeds are likely to drop. A fold is for all: it shows other photos, on which all cells
    that are left must be compared.
    """
    order = np.lexsort((left.n_seeds, -view.chances))
    ranked = [left.leader, *(int(i) for i in order if i != left.leader)]
    if course.in_folds:
        return ranked
    unspent = [i for i in ranked if left.n_seeds[i] < course.seeds]
    return unspent[: max(2, math.ceil(len(ranked) * NEXT_SHARE))]
