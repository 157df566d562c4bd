"""Variance components: how much each source of luck makes runs differ.

Runs that differ in several seeds at once, every value of one with every value of the others, are a
crossed design with random factors: the seeds stand for all seeds that there could be. The variance
of each factor and of their interactions is estimated by the analysis of variance (Searle, Casella &
McCulloch 1992, ch. 4): mean squares are set equal to their expectations and solved for the
variances. Intervals are generalised confidence intervals (Weerahandi 1993): each expected mean
square is drawn as mean square x degrees of freedom / chi squared, and the variances are solved for
again. Which seeds to separate follows Bouthillier et al. 2021, who vary one source at a time;
crossing them also shows what they do together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from img2gps.analysis.stats.sample import LEVEL, Floats

DRAWS = 5_000


@dataclass(frozen=True)
class Component:
    """The variance that one factor, or several only together, give to a run.

    Attributes:
        factors: one for a main effect, several for an interaction, () for all of them summed.
        variance: estimate without bias, so it may lie below 0 where there is next to none.
        low, high: ends of the 95 % interval, at least 0.
    """

    factors: tuple[str, ...]
    variance: float
    low: float
    high: float


def components(values: ArrayLike, factors: Sequence[str], *, seed: int = 0) -> list[Component]:
    """Return the variance of each factor, of the interactions in one, and of all together.

    Args:
        values: one figure a run, of shape (groups, levels of the first factor, of the second, ...).
            Each group has a mean of its own, and all have the same variances.
        factors: names of the factors, each with two levels or more.
        seed: of the draws behind the intervals.
    """
    table = np.asarray(values, dtype=np.float64)
    levels = table.shape[1:]
    sets = [
        chosen
        for size in range(1, len(levels) + 1)
        for chosen in combinations(range(len(levels)), size)
    ]
    freedom = {c: len(table) * math.prod(levels[i] - 1 for i in c) for c in sets}
    squares = {c: _sum_of_squares(table, c) / freedom[c] for c in sets}
    rng = np.random.default_rng(seed)
    drawn = {c: squares[c] * freedom[c] / rng.chisquare(freedom[c], DRAWS) for c in sets}
    names: dict[tuple[tuple[int, ...], ...], tuple[str, ...]]
    names = {(c,): tuple(factors[i] for i in c) for c in sets if len(c) == 1}
    if len(levels) > 1:
        names[tuple(c for c in sets if len(c) > 1)] = tuple(factors)
    found = []
    for terms, named in [*names.items(), (tuple(sets), ())]:
        estimate = sum(_variance(squares, c, levels) for c in terms)
        likely = np.maximum(sum(_variance(drawn, c, levels) for c in terms), 0.0)
        low, high = np.quantile(likely, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found.append(Component(named, float(estimate), float(low), float(high)))
    return found


def _sum_of_squares(table: Floats, chosen: Sequence[int]) -> float:
    """Return the sum of squares of a factor or an interaction, over all runs."""
    part, repeats = table, 1
    for i, levels in enumerate(table.shape[1:]):
        mean = part.mean(axis=i + 1, keepdims=True)
        if i in chosen:
            part = part - mean
        else:
            part, repeats = mean, repeats * levels
    return float(repeats * np.sum(part**2))


def _variance(
    squares: dict[tuple[int, ...], float] | dict[tuple[int, ...], Floats],
    chosen: tuple[int, ...],
    levels: Sequence[int],
) -> Floats:
    """Solve the expected mean squares for the variance of a factor or an interaction.

    That of a set of factors expects the sum, over all sets that hold it, of their variance times
    the number of runs that share a value of it. Signs alternate with the size of the set.
    """
    others = [i for i in range(len(levels)) if i not in chosen]
    total = np.zeros(())
    for size in range(len(others) + 1):
        for more in combinations(others, size):
            total = total + (-1) ** size * squares[tuple(sorted((*chosen, *more)))]
    return np.asarray(total / math.prod(levels[i] for i in others))
