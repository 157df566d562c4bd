"""The luck of a seed: how much the RMSE of a cell differs from run to run.

Two or three seeds say little about the luck of one cell, so its variance is moderated by that of
all cells, and that of few cells by what our own studies have: scaled chi-square variances with a
scaled inverse chi-square prior (empirical Bayes: Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3). A
variance that is far larger than the others, because a run went astray, stays out of the common one
(as in Phipson et al. 2016, Ann. Appl. Stat. 10(2)), and counts for its own cell.

The prior's weight was fitted to the 72 cells with several seeds below `results/`: their variances
within a study are most likely with 3 to 8 degrees of freedom, those between studies with 3 to 4.
They are most likely with a typical luck below 3.5 %; more errs on the safe side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import Bools, Floats, Sample

ASSUMED_RELATIVE = 0.06  # of the RMSE, where no cell has several seeds: errs on the safe side
TYPICAL_RELATIVE = 0.035  # what our studies have
PRIOR_FREEDOM = 4.0  # of one study's luck among studies, and of one cell's among cells
OUTLYING = 0.01  # a variance that chance makes so large less often is an outlier
FEWEST_TO_JUDGE = 3  # cells, of which one may be called an outlier
EQUAL = 1e-18  # relative variance between runs that are equal but for rounding
ASTRAY = 4.0  # standard deviations above the median run of its cell, a run went astray


@dataclass(frozen=True)
class Luck:
    """How much a run's RMSE differs from seed to seed.

    Attributes:
        relative: standard deviation on all photos that there could be, as part of the RMSE.
        freedom: its degrees of freedom.
        observed: standard deviation on these photos, which contains their noise.
        cells: with several seeds, from which it was estimated.
    """

    relative: float = ASSUMED_RELATIVE
    freedom: float = math.inf
    observed: float = math.inf
    cells: int = 0

    @property
    def expected(self) -> float:
        """`relative`, with the typical luck instead of an assumption on the safe side."""
        return self.relative if self.cells else min(self.relative, TYPICAL_RELATIVE)

    @property
    def text(self) -> str:
        """Where the luck comes from, for a note."""
        share = f"{100 * self.relative:.1f} %"
        return f"with the other cells' luck of {share}" if self.cells else f"luck assumed: {share}"


ASSUMED = Luck()
NO_LUCK = Luck(0.0)  # of an answer that no seed changes


def luck_of(error: ArrayLike, spot: ArrayLike | Places) -> Luck:
    """Estimate the luck from all cells of errors (c, s, p) that have several seeds.

    Cells whose runs are equal answer alike with every seed, and say nothing of the others.
    """
    sample = Sample(error, spot)
    several = np.flatnonzero(sample.n_seeds > 1)
    shown = [(int(cell), *run_variances(sample, int(cell))) for cell in several]
    differ = np.array([row for row in shown if row[1] > EQUAL])
    if not len(differ):
        return ASSUMED
    cell, between, photos = differ.T
    freedom = sample.n_seeds[cell.astype(np.int64)] - 1.0
    noise = float(photos.mean())
    expected = TYPICAL_RELATIVE**2 + noise
    usual = _usual(between, freedom, expected)
    known = float(freedom[usual].sum())
    total = known + PRIOR_FREEDOM
    common = (float(freedom[usual] @ between[usual]) + PRIOR_FREEDOM * expected) / total
    return Luck(math.sqrt(max(common - noise, 0.0)), total, math.sqrt(common), len(differ))


def _usual(between: Floats, freedom: Floats, expected: float) -> Bools:
    """Return which cells' variances are no outliers, judged by their median."""
    if len(between) < FEWEST_TO_JUDGE:
        return np.ones(len(between), dtype=bool)
    # A variance with k degrees of freedom has its median at this part of its mean.
    middle = float(np.median(between * freedom / stats.chi2.median(freedom)))
    total = float(freedom.sum())
    scale = (total * middle + PRIOR_FREEDOM * expected) / (total + PRIOR_FREEDOM)
    return np.asarray(between <= scale * stats.f.isf(OUTLYING, freedom, total))


@dataclass(frozen=True)
class SeedVariances:
    """The variance of each cell's RMSE that is due to its seeds, in square metres.

    Attributes:
        variance: of the mean over the cell's seeds, (c,).
        with_noise: the same before the part that is only the photos' noise is taken away, (c,).
        freedom: degrees of freedom of what is known about it, (c,).
        doubt: its term in the denominator of Satterthwaite's degrees of freedom, (c,).
    """

    variance: Floats
    with_noise: Floats
    freedom: Floats
    doubt: Floats


def seed_variances(sample: Sample, luck: Luck) -> SeedVariances:
    """Return the variance of each cell's mean that is due to seeds.

    The variance between the runs of a cell is moderated by that of all cells, before the part that
    is only the photos' noise is taken away. A cell with one seed has only the luck of the others;
    runs that are equal to the last digit have none.
    """
    square = sample.cell_rmse() ** 2 / sample.n_seeds
    own = np.full(len(square), luck.relative**2)
    seen = own.copy()  # with the photos' noise
    freedom = np.full(len(square), PRIOR_FREEDOM if luck.cells else luck.freedom)
    for cell in np.flatnonzero(sample.n_seeds > 1):
        between, photos = run_variances(sample, int(cell))
        known = float(sample.n_seeds[cell]) - 1
        freedom[cell] = PRIOR_FREEDOM + known
        common = luck.relative**2 + photos
        seen[cell] = (PRIOR_FREEDOM * common + known * between) / freedom[cell]
        own[cell] = max(seen[cell] - photos, 0.0)
        if between <= EQUAL:
            own[cell] = seen[cell] = 0.0
    return SeedVariances(own * square, seen * square, freedom, (seen * square) ** 2 / freedom)


def run_variances(sample: Sample, cell: int) -> tuple[float, float]:
    """Return the variance between a cell's runs, and the part that is only the photos' noise.

    Both are relative to the square of the cell's RMSE.
    """
    rmse = sample.rmse(sample.once)[0, cell, sample.present[cell]]
    sums = sample.sums[cell, sample.present[cell]]
    slope = 1 / (2 * np.maximum(rmse, 1e-9))
    influence = (sums - np.outer(rmse**2, sample.sizes)) * slope[:, None]
    rest = (influence - influence.mean(axis=0)) / sample.n_photos
    factor = sample.n_spots / max(sample.n_spots - 1, 1)
    photos = factor * (rest**2).sum() / (len(rmse) - 1)
    scale = max(float(rmse.mean()), 1e-9) ** 2
    return float(rmse.var(ddof=1)) / scale, float(photos) / scale


def astray(error: ArrayLike, luck: Luck) -> Floats:
    """Return which runs (c, s) are far worse than the median run of their cell."""
    rmse = np.sqrt(np.square(np.asarray(error, dtype=np.float64)).mean(axis=-1))
    middle = np.array([np.median(runs[~np.isnan(runs)]) for runs in rmse])[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(rmse > middle * (1 + ASTRAY * max(luck.observed, luck.relative)))
