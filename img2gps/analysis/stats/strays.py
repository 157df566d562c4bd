"""Runs that go astray: which share of a cell's runs to expect, and by how much they err more.

A cell none of whose few runs went astray looks better than it is if one run in twenty does. The
share is therefore estimated from all runs of a study (empirical Bayes): that of a cell is drawn
from a beta distribution around the common share and seen in its own runs. How far cells differ in
it, such as by their batch size, a few runs cannot decide, so distributions are averaged that count
for 1, 4 or 16 runs of the cell or for any number, weighted by how likely each one makes the counts
of all cells. Where no run went astray, the share is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln

from img2gps.analysis.stats.alone import excess_chances
from img2gps.analysis.stats.luck import Luck, astray, not_hopeless
from img2gps.analysis.stats.sample import SURE, TINY_M, Bools, Floats, mean_where

Counts = NDArray[np.int64]

MOST_EXCESS = 1.0  # of one run: who gets one that errs more than twice as much runs it again
WEIGHTS = np.array([1.0, 4.0, 16.0, SURE])  # runs of a cell that what others show counts for


@dataclass(frozen=True)
class Strays:
    """The runs that went astray, and what they say of other runs of the same cells.

    Attributes:
        runs: which ones did, (c, s).
        share: of a cell's runs that is expected to, (c,).
        doubt: standard deviation of what is known of that share, (c,).
        excess: by how much their RMSE is larger than that of the cell's other runs, as part of it,
            at most `MOST_EXCESS`.
        alone: how likely a cell's only run errs by each of `alone.EXCESS` more than usual, as far
            as it stands out from the other cells, (c, e).
    """

    runs: Bools
    share: Floats
    doubt: Floats
    excess: float
    alone: Floats

    def of(self, cells: ArrayLike) -> Strays:
        """Return what holds for some of the cells."""
        index = np.asarray(cells)
        share, doubt = self.share[index], self.doubt[index]
        return Strays(self.runs[index], share, doubt, self.excess, self.alone[index])

    @property
    def alone_astray(self) -> Floats:
        """How likely a cell has a single run and this went astray, (c,)."""
        return 1 - self.alone[:, 0]

    @property
    def doubt_below(self) -> Floats:
        """The same towards lower shares, (c,): no share is below 0.

        An interval's end is two standard deviations away.
        """
        return np.minimum(self.doubt, self.share / 2)

    @property
    def factor(self) -> Floats:
        """By what the mean RMSE of a cell's other runs is multiplied to count on them, (c,)."""
        return 1 + self.excess * self.share


def strays_of(error: ArrayLike, luck: Luck, solved: ArrayLike | None = None) -> Strays:
    """Return which runs went astray, and how many others may.

    Args:
        error: of runs (c, s, p), in metres; NaN where a cell lacks a seed.
        luck: of a seed.
        solved: cells that no seed changes, (c,): none of their runs goes astray. Runs of cells that
            err far more than most do not count.
    """
    errors = np.asarray(error, dtype=np.float64)
    may = np.ones(len(errors), dtype=bool) if solved is None else ~np.asarray(solved, dtype=bool)
    rmse = np.sqrt(np.square(errors).mean(axis=-1))
    present = ~np.isnan(rmse)
    runs = np.asarray(astray(errors, luck), dtype=bool) & may[:, None]
    usual = mean_where(rmse, present & ~runs)
    tell = may & not_hopeless(usual) & (usual > TINY_M)  # beside runs without error, none is astray
    runs &= tell[:, None]
    count = present.sum(axis=1)
    share = doubt = np.zeros(len(errors))
    excess = 0.0
    if runs.any():
        larger = rmse / np.maximum(usual, TINY_M)[:, None] - 1
        excess = float(np.minimum(larger, MOST_EXCESS)[runs].mean())
        # A single run has no others beside it, so it says nothing.
        found = _shares(runs.sum(axis=1), np.where(tell & (count > 1), count, 0))
        share, doubt = (np.where(may, part, 0.0) for part in found)
    alone = excess_chances(usual, may & (count == 1))
    return Strays(runs, share, doubt, excess, alone)


def _shares(gone: Counts, runs: Counts) -> tuple[Floats, Floats]:
    """Return the expected share of each cell and its standard deviation, both (c,).

    Args:
        gone: how many runs of each cell went astray, (c,).
        runs: how many runs of each cell would show it, (c,).
    """
    common = gone.sum() / runs.sum()
    weight = WEIGHTS[:, None]
    first, second = weight * common, weight * (1 - common)  # the beta distributions
    evidence = (betaln(first + gone, second + runs - gone) - betaln(first, second)).sum(axis=1)
    likely = np.exp(evidence - evidence.max())
    likely /= likely.sum()
    total = weight + runs
    mean = (first + gone) / total  # of each distribution, given the cell's own runs
    own = mean * (1 - mean) / (total + 1)
    of_common = (weight / total) ** 2 * common * (1 - common) / runs.sum()
    share = likely @ mean
    return share, np.sqrt(likely @ (own + of_common + (mean - share) ** 2))
