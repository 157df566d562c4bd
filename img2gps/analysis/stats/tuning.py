"""How low the best error of a study is after so many runs: tuning curves.

The usual curve resamples the runs with replacement, and is then too high: the lowest run is often
left out. Its bootstrap intervals are too narrow, because no resample has a run that is better than
the best one seen (Dodge et al. 2021, Findings of EMNLP). Here the curve counts all subsets of the
cells exactly, and its band comes from an exact band of the distribution of single runs (Lourie,
Cho & He 2024, NAACL; the package `opda`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from img2gps.analysis.stats.sample import LEVEL, Floats

ORDERS = 0.90  # share of the orders that the range of `in_any_order` holds
MOST_LEVELS = 500  # distinct errors that are told apart
TIGHT = 60  # runs up to which the tighter band takes a second


@dataclass(frozen=True)
class Tuning:
    """The lowest error after 1, 2, ... cells, in metres."""

    expected: Floats
    low: Floats
    high: Floats


def in_any_order(cells: Sequence[ArrayLike]) -> Tuning:
    """Return the lowest error to expect when cells are run in random order, one run of each.

    `cells` holds the errors of every cell's runs, of which one is taken at random. The range holds
    90 % of the orders. Where each cell has one run, the curve is the unbiased estimate for a random
    search that these runs were drawn by.
    """
    runs = [np.asarray(cell, dtype=np.float64) for cell in cells]
    levels = np.unique(np.concatenate(runs))
    if len(levels) > MOST_LEVELS:
        levels = np.quantile(levels, np.linspace(0, 1, MOST_LEVELS))
    above = np.array([(cell[:, None] > levels).mean(axis=0) for cell in runs])  # (c, levels)
    kept = _none_below(above)[1:]  # (k, levels)
    expected = levels[0] + kept[:, :-1] @ np.diff(levels)
    tail = (1 - ORDERS) / 2
    low, high = (levels[(kept <= 1 - share).argmax(axis=1)] for share in (tail, 1 - tail))
    return Tuning(expected, low, high)


def _none_below(above: Floats) -> Floats:
    """Return the probability that k of n cells, drawn without replacement, are all above a level.

    `above` (n, levels) is the probability of each cell; the result is (n + 1, levels).
    """
    found = np.zeros((len(above) + 1, above.shape[1]))
    found[0] = 1.0
    for n, own in enumerate(above, 1):
        share = np.arange(1, n + 1)[:, None] / n  # of the subsets of this size that have cell n
        found[1 : n + 1] = (1 - share) * found[1 : n + 1] + share * own * found[:n]
    return found


def of_random_search(error: ArrayLike, most: float) -> Tuning:
    """Return the lowest error to expect of a random search, with a 95 % band for the whole curve.

    The errors are those of independent draws from one space; errors above `most` count as `most`,
    because an expectation has no upper bound unless the errors have one. The band is exact whatever
    the distribution of the errors. It is about other searches of that space on the same photos.
    """
    from opda.nonparametric import EmpiricalDistribution  # takes a second

    drawn = np.minimum(np.asarray(error, dtype=np.float64), most)
    rarest, _, commonest = EmpiricalDistribution.confidence_bands(
        drawn,
        LEVEL,
        a=0.0,
        b=most,
        generator=np.random.default_rng(0),
        method="ld_equal_tailed" if len(drawn) <= TIGHT else "ks",
        n_jobs=1,  # its worker processes are forks, which hang where this process has threads
    )
    sizes = np.arange(1, len(drawn) + 1)
    low, high = (d.average_tuning_curve(sizes, minimize=True) for d in (commonest, rarest))
    return Tuning(in_any_order(list(drawn[:, None])).expected, low, high)


def as_it_went(error: ArrayLike) -> Tuning:
    """Return the lowest error of a search after each of its trials; it has no band.

    Each trial of a guided search depends on the earlier ones, so a single search cannot say how
    another one would have gone.
    """
    lowest = np.minimum.accumulate(np.asarray(error, dtype=np.float64))
    return Tuning(lowest, np.full_like(lowest, np.nan), np.full_like(lowest, np.nan))
