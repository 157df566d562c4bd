"""How likely one cell beats another, whether two are as good as equal, and curves of errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.intervals import Interval, contrast_interval
from img2gps.analysis.stats.luck import Luck, luck_of, seed_variances
from img2gps.analysis.stats.places import OF_LEVELS, Places
from img2gps.analysis.stats.sample import LEVEL, TINY_M, Floats, Sample, wider

LEAST_SHARE = 0.1  # of photos on either side of a distance at which a profile tells how spots err


@dataclass(frozen=True)
class Chance:
    """The probability that a run of one cell gets a lower RMSE than a run of another."""

    estimate: float
    low: float
    high: float


def chance_of_lower(
    error: ArrayLike,
    weights: ArrayLike,
    spot: ArrayLike | Places,
    *,
    luck: Luck | None = None,
    difference: Interval | None = None,
) -> Chance:
    """Return how likely a weighted sum of single runs' RMSE is below 0 on other photos like these.

    `error` (c, s, p) and `weights` (c,) are those of `contrast_interval`; with the weights 1 and -1
    it is the probability that a run of the first cell beats a run of the second one, each with a
    seed of its own, on as many spots (Bouthillier et al. 2021, Proc. MLSys 3, whose resampled
    trainings are replaced by the variances that photos and seeds have). The interval follows from
    that of the `difference`, which is computed if it is not given.
    """
    luck = luck or luck_of(error, spot)
    signs, sample = np.asarray(weights, dtype=np.float64), Sample(error, spot)
    found = difference or contrast_interval(error, signs, spot, luck=luck)
    spread = math.hypot(found.se_photos, math.sqrt(_of_single_runs(sample, signs, luck)))
    if not spread:
        return Chance(math.nan, math.nan, math.nan)
    values = np.array([found.estimate, found.high, found.low])
    estimate, low, high = stats.norm.cdf(-values / spread)
    return Chance(float(estimate), float(low), float(high))


def _of_single_runs(sample: Sample, signs: Floats, luck: Luck) -> float:
    """Return the variance that single runs add to that of the means over seeds on other photos.

    It is their luck, and the part of their own noise on the photos that the mean takes away.
    """
    found, runs = seed_variances(sample, luck), sample.n_seeds
    noise = found.with_noise - found.variance
    return float(signs**2 @ (runs * found.variance + (runs - 1) * noise))


@dataclass(frozen=True)
class Equivalence:
    """Whether a difference is shown to lie within a margin, in either direction."""

    margin_m: float
    interval: Interval  # of 90 %: both one-sided tests have 5 %

    @property
    def shown(self) -> bool:
        """Whether both one-sided tests reject, or the difference is known for certain.

        Nothing is shown where a cell has a single run.
        """
        own = self.interval
        if own.luck_unseen:
            return False
        if own.n_spots > 1 and math.hypot(own.se_photos, own.se_seeds) < TINY_M:
            return abs(own.estimate) < self.margin_m
        return -self.margin_m < self.interval.low and self.interval.high < self.margin_m


def equivalence(
    error: ArrayLike,
    weights: ArrayLike,
    spot: ArrayLike | Places,
    margin_m: float,
    *,
    luck: Luck | None = None,
    seed: int = 0,
) -> Equivalence:
    """Test whether a weighted sum of the cells' RMSE is within a margin in metres.

    These are two one-sided tests of 5 % each (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15(6)):
    the sum is as good as 0 if its 90 % interval lies within the margin. Each test must reject both
    with the bootstrap's and with Student's quantiles, because either alone rejects too often where
    errors are skewed.
    """
    level = 2 * LEVEL - 1
    found = contrast_interval(error, weights, spot, luck=luck, seed=seed, level=level, wider=True)
    return Equivalence(margin_m, found)


@dataclass(frozen=True)
class Profile:
    """The share of photos with an error of at most so many metres, with a band."""

    at_m: Floats
    share: Floats
    low: Floats
    high: Floats


def profile(
    error: ArrayLike,
    spot: ArrayLike | Places,
    at_m: ArrayLike,
    *,
    n: int = 1000,
    seed: int = 0,
) -> Profile:
    """Return the share of a cell's photos (s, p) within some distances, averaged over its seeds.

    With 95 % probability the band holds the whole curve. Its width is the largest deviation of the
    curve over resampled spots, on the scale of arcsin(sqrt(share)), where the noise is alike
    everywhere (Freeman & Tukey 1950, Ann. Math. Stat. 21(4)). It is wider where spots are few or
    unequal, or err alike, by what that adds to the interval of a share. The seeds' luck is not in
    it.
    """
    runs, at = (
        np.atleast_2d(np.asarray(error, dtype=np.float64)),
        np.asarray(at_m, dtype=np.float64),
    )
    runs = runs[~np.isnan(runs).any(axis=1)]
    within = (runs[:, :, None] <= at).mean(axis=0)  # (p, x)
    sample = Sample(runs[None], spot)
    sums = np.stack([np.bincount(sample.index, column) for column in within.T], axis=1)  # (g, x)
    counts = sample.draw(n, seed)
    share = sums.sum(axis=0) / sample.n_photos
    drawn = counts @ sums / (counts @ sample.sizes)[:, None]
    middle = sums[:, (share > LEAST_SHARE) & (share < 1 - LEAST_SHARE)].T  # (x, g)
    shown = middle - middle.sum(axis=1, keepdims=True) / sample.n_photos * sample.sizes
    alike = sample.correlation(shown, OF_LEVELS)
    scale = math.sqrt(sample.n_spots / max(sample.n_spots - 1, 1))
    scale *= alike.factor * float(wider(alike.freedom))
    deviation = scale * np.abs(_stable(drawn) - _stable(share)).max(axis=1)
    reach = float(np.quantile(deviation, LEVEL))
    ends = np.clip(_stable(share) + reach * np.array([[-1.0], [1.0]]), 0.0, math.pi / 2)
    low, high = np.sin(ends) ** 2
    if sample.n_spots < 2:  # nothing can be resampled
        low, high = np.full((2, len(share)), math.nan)
    return Profile(at, share, low, high)


def _stable(share: Floats) -> Floats:
    """Return shares on a scale on which their variance does not depend on them."""
    return np.asarray(np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0))))
