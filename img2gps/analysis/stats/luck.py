"""The luck of a seed: how much the RMSE of a cell differs from run to run.

Two or three seeds say little about the luck of one cell, so its variance is moderated by that of
all cells, and that of few cells by what our own studies have: scaled chi-square variances with a
scaled inverse chi-square prior (empirical Bayes: Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3). A
variance that is far larger than the others, because a run went astray, stays out of the common one,
and the common one moderates it less (as in Phipson et al. 2016, Ann. Appl. Stat. 10(2)).

The prior's weight was fitted to the 72 cells that had several seeds below `results/` at the time:
their variances within a study are most likely with 3 to 8 degrees of freedom, those between studies
with 3 to 4. A smaller typical luck than 3.3 % would be more likely.

Where no cell has several seeds, a luck is assumed. With it, intervals of differences of single runs
hold in simulated studies in 97 % where the luck is 3 %, and in 93 % where it is 4.3 %. Its 3
degrees of freedom are fewer than our studies show: among the 29 studies below `results/` that now
have cells with several seeds, 5 are the likeliest, and 3 are 0.4 times as likely as 4. With 3 in
place of 4 a smaller luck serves, so that intervals are narrower where the photos' part is large,
and wider where luck is most of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import SURE, TINY_M, Bools, Floats, Sample, ratio

TYPICAL_RELATIVE = 0.033  # of the RMSE
ASSUMED_RELATIVE = 0.0322  # where all cells have a single run
ASSUMED_FREEDOM = 3.0  # of that luck among studies
PRIOR_FREEDOM = 4.0  # of the typical luck among studies, and of one cell's among cells
LEAST_FREEDOM = 1.0  # that the other cells' luck keeps, however much a cell's own differs from it
OUTLYING = 0.01  # a variance that chance makes so large less often is an outlier
FEWEST_TO_JUDGE = 3  # cells, of which one may be called an outlier
EQUAL = 1e-18  # relative variance between runs that are equal but for rounding
FAR = 2.0  # times the (lower) median RMSE of cells; those with more say nothing of luck
ASTRAY = 4.0  # standard deviations above the median run of its cell, a run went astray


@dataclass(frozen=True)
class Luck:
    """How much a run's RMSE differs from seed to seed.

    Attributes:
        relative: standard deviation on all photos that there could be, as part of the RMSE.
        freedom: its degrees of freedom.
        observed: standard deviation on these photos, which contains their noise.
        cells: with several seeds, from which it was estimated; without any, it is assumed.
    """

    relative: float
    freedom: float = PRIOR_FREEDOM
    observed: float = math.inf
    cells: int = 0

    @property
    def text(self) -> str:
        """Where the luck comes from, for a note."""
        share = f"{100 * self.relative:.1f} %"
        return f"with the other cells' luck of {share}" if self.cells else f"luck assumed: {share}"

    def possible(self, n: int) -> Floats:
        """Return n equally likely standard deviations, from the largest to the smallest."""
        noise = max(self.observed**2 - self.relative**2, 0.0) if self.cells else 0.0
        square = stats.chi2.ppf((np.arange(n) + 0.5) / n, self.freedom)
        total = (self.relative**2 + noise) * self.freedom / square
        return np.sqrt(np.maximum(total - noise, 0.0))


TYPICAL = Luck(TYPICAL_RELATIVE)
ASSUMED = Luck(ASSUMED_RELATIVE, ASSUMED_FREEDOM)
NO_LUCK = Luck(0.0)  # of an answer that no seed changes


def luck_of(error: ArrayLike, spot: ArrayLike | Places, before: Luck = ASSUMED) -> Luck:
    """Estimate the luck from all cells of errors (c, s, p) that have several seeds.

    Cells whose runs are equal answer alike with every seed, and say nothing of the others; nor do
    cells that err far more than most, whose runs diverged or learned nothing.

    Args:
        error: in metres; NaN where a cell lacks a seed.
        spot: of each photo.
        before: what is known of the luck beforehand, such as what other cells show. Where it is
            assumed, runs that differ are moderated by the typical luck.
    """
    sample = Sample(error, spot)
    variances = np.array(run_variances(sample))
    differ = (sample.n_seeds > 1) & (variances[0] > EQUAL)
    if not differ.any():
        return before
    between, photos = variances[:, differ]
    freedom = sample.n_seeds[differ] - 1.0
    if before == ASSUMED:
        before = TYPICAL
    near = not_hopeless(sample.cell_rmse()[differ])
    noise = float(photos[near].mean())
    expected = before.relative**2 + noise
    usual = _usual(between, freedom, expected, before.freedom) & near
    known = float(freedom[usual].sum())
    total = known + before.freedom
    common = (float(freedom[usual] @ between[usual]) + before.freedom * expected) / total
    relative, cells = math.sqrt(max(common - noise, 0.0)), before.cells + int(differ.sum())
    return Luck(relative, total, math.sqrt(common), cells)


def not_hopeless(rmse: Floats) -> Bools:
    """Return which cells do not err far more than most, as cells do that learned nothing."""
    return np.asarray(rmse <= FAR * np.nanquantile(rmse, 0.5, method="lower"))


def _usual(between: Floats, freedom: Floats, expected: float, sure: float) -> Bools:
    """Return which cells' variances are no outliers, judged by their median.

    `expected` is the variance expected beforehand, and `sure` its degrees of freedom.
    """
    if len(between) < FEWEST_TO_JUDGE:
        return np.ones(len(between), dtype=bool)
    # A variance with k degrees of freedom has its median at this part of its mean.
    middle = float(np.median(between * freedom / stats.chi2.median(freedom)))
    total = float(freedom.sum())
    scale = (total * middle + sure * expected) / (total + sure)
    return np.asarray(between <= scale * stats.f.isf(OUTLYING, freedom, total))


@dataclass(frozen=True)
class SeedVariances:
    """The variance of each cell's RMSE that is due to its seeds, in square metres.

    Attributes:
        variance: of the mean over the cell's seeds, (c,).
        with_noise: the same before the part that is only the photos' noise is taken away, (c,).
        freedom: degrees of freedom of what is known about it, (c,).
        doubt: its term in the denominator of Satterthwaite's degrees of freedom, (c,).
        assumed: cells whose luck is assumed, so that all of them have more or all have less, (c,).
    """

    variance: Floats
    with_noise: Floats
    freedom: Floats
    doubt: Floats
    assumed: Bools

    def doubt_of(self, sign: Floats) -> float:
        """Return the term of sum(sign * RMSE of cell) in that denominator."""
        together = sign[self.assumed] ** 2 @ np.sqrt(self.doubt[self.assumed])
        return float(together**2 + sign[~self.assumed] ** 4 @ self.doubt[~self.assumed])


def seed_variances(sample: Sample, luck: Luck) -> SeedVariances:
    """Return the variance of each cell's mean that is due to seeds.

    The variance between the runs of a cell is moderated by that of all cells, the less the less
    likely it is beside theirs, before the part that is only the photos' noise is taken away. A cell
    with one seed has only the luck of the others; runs that are equal to the last digit have none.
    """
    square = sample.cell_rmse() ** 2 / sample.n_seeds
    between, photos = run_variances(sample)
    known = sample.n_seeds - 1.0
    common = luck.relative**2 + photos
    unlikely = special.fdtrc(
        np.maximum(known, 1.0), min(luck.freedom, SURE), ratio(between, common)
    )
    weight = np.maximum(PRIOR_FREEDOM * np.minimum(unlikely / OUTLYING, 1.0), LEAST_FREEDOM)
    freedom = weight + known
    seen = (weight * common + known * between) / freedom  # with the photos' noise
    own = np.maximum(seen - photos, 0.0)
    equal = (known > 0) & (between <= EQUAL)
    own[equal] = seen[equal] = 0.0
    single = known < 1
    freedom[single] = PRIOR_FREEDOM if luck.cells else luck.freedom
    doubt = (seen * square) ** 2 / freedom
    assumed = single & (luck.cells == 0)
    return SeedVariances(own * square, seen * square, freedom, doubt, assumed)


def run_variances(sample: Sample) -> tuple[Floats, Floats]:
    """Return the variance between the runs of each cell, and the part that is photos' noise, (c,).

    Both are relative to the square of the cell's RMSE, and 0 for a cell with one seed.
    """
    present = sample.present
    rmse = np.where(present, sample.rmse(sample.once)[0], 0.0)
    slope = np.where(present, 1 / (2 * np.maximum(rmse, TINY_M)), 0.0)
    influence = (sample.sums - (rmse**2)[..., None] * sample.sizes) * slope[..., None]  # (c, s, g)
    runs = np.maximum(sample.n_seeds, 1)
    common = influence.sum(axis=1, keepdims=True) / runs[:, None, None]
    rest = np.where(present[..., None], influence - common, 0.0) / sample.n_photos
    factor = sample.n_spots / max(sample.n_spots - 1, 1)
    mean = rmse.sum(axis=1) / runs
    apart = np.where(present, rmse - mean[:, None], 0.0)
    scale = np.maximum(runs - 1, 1) * np.maximum(mean, TINY_M) ** 2
    return (apart**2).sum(axis=1) / scale, factor * (rest**2).sum(axis=(1, 2)) / scale


def astray(error: ArrayLike, luck: Luck) -> Floats:
    """Return which runs (c, s) are far worse than the median run of their cell."""
    rmse = np.sqrt(np.square(np.asarray(error, dtype=np.float64)).mean(axis=-1))
    middle = np.array([np.median(runs[~np.isnan(runs)]) for runs in rmse])[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(rmse > middle * (1 + ASTRAY * max(luck.observed, luck.relative)))
