"""Confidence intervals of RMSE, and of differences of RMSE, in metres.

Spots are resampled, and each resample is studentised by its own cluster-robust standard error
(bootstrap-t: Efron & Tibshirani 1993, ch. 12.5). The seeds widen the interval: the variances of
the two crossed factors are added, and their interaction, which both contain, is subtracted
(Cameron, Gelbach & Miller 2011, J. Bus. Econ. Stat. 29(2)), with Satterthwaite's degrees of
freedom. Spots with unequal numbers of photos count for fewer (places.py). With fewer than 30 spots
the bootstrap's quantiles are unstable, and Student's t replaces them.

`python -m benchmarks coverage` measures how often the intervals hold the truth, and
docs/statistics.md has the figures: of a cell 93 to 97 %, and 90 % where errors are alike over
60 m. A plain percentile interval had 88 to 94 %. The interval of a single run includes luck that is
assumed or borrowed (luck.py), and counts on the run having gone astray if it stands out (alone.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from img2gps.analysis.stats.alone import EXCESS
from img2gps.analysis.stats.luck import NO_LUCK, Luck, luck_of, seed_variances
from img2gps.analysis.stats.places import (
    OF_DIFFERENCES,
    OF_LEVELS,
    OF_TESTS,
    Correlation,
    Places,
)
from img2gps.analysis.stats.sample import (
    LEVEL,
    MIN_SPOTS,
    N_RESAMPLES,
    TINY_M,
    Floats,
    Sample,
    mean_over_seeds,
)
from img2gps.analysis.stats.strays import Strays
from img2gps.core.counted import counted

ROUNDING = 1e-9  # the weights of a contrast sum to 0, but for this
ASTRAY_NOTE = "a single run errs more than the other cells, may have gone astray: interval widened"
MIDDLES = (np.arange(N_RESAMPLES) + 0.5) / N_RESAMPLES  # of equally likely parts
COMBINATIONS = 400  # steps to which sums over runs that may have gone astray are rounded
MIN_FREEDOM = 8  # of correlated spots; with fewer, an interval is called unreliable


@dataclass(frozen=True)
class Interval:
    """A figure in metres with its confidence interval and where the uncertainty comes from."""

    estimate: float
    low: float
    high: float
    se_photos: float  # standard error from which spots were photographed
    se_seeds: float  # standard error from initialisation and order
    n_seeds: int
    n_spots: int
    n_photos: int
    luck: Luck | None = None  # from which `se_seeds` is taken with one seed
    p_value: float = math.nan  # of no difference, two-sided; of differences only
    alike_m: float = 0.0  # distance over which errors are alike; 0 where that is not shown
    freedom: float = math.inf  # degrees of freedom of `se_photos`
    may_be_astray: bool = False  # whether a cell's only run stands out, so that an end reaches on

    @property
    def luck_unseen(self) -> bool:
        """Whether a cell has one run, so that its luck is that of other cells, or assumed."""
        return self.luck not in (None, NO_LUCK)

    @property
    def notes(self) -> list[str]:
        """What the reader must know before believing the interval."""
        few = f"interval unreliable: {counted(self.n_spots, 'spot')}, fewer than {MIN_SPOTS}"
        return [*self._of_seeds, *([few] if self.n_spots < MIN_SPOTS else []), *self._of_places]

    @property
    def own_notes(self) -> list[str]:
        """The notes but for that on the number of spots, which all intervals on them share."""
        return [*self._of_seeds, *self._of_places]

    @property
    def _of_seeds(self) -> list[str]:
        one = [f"one seed, {self.luck.text}"] if self.luck and self.luck_unseen else []
        return [*one, *([ASTRAY_NOTE] if self.may_be_astray else [])]

    @property
    def _of_places(self) -> list[str]:
        if not self.alike_m:
            if self.n_spots < MIN_SPOTS or self.freedom >= MIN_FREEDOM:
                return []
            count = f"{self.n_spots} spots count as {self.freedom + 1:.0f}"
            return [f"interval unreliable: {count}, because few of them have most of the photos"]
        text = f"errors alike over about {self.alike_m:.0f} m: interval widened"
        few = f", but unreliable, as of only {self.freedom + 1:.0f} independent places"
        return [text + (few if self.freedom < MIN_FREEDOM else "")]


def cell_interval(
    error: ArrayLike,
    spot: ArrayLike | Places,
    *,
    luck: Luck | None = None,
    strays: Strays | None = None,
    seed: int = 0,
) -> Interval:
    """Return the interval of one cell's RMSE on other photos and with other seeds.

    It is computed on the log scale, which stabilises the variance (Efron & Tibshirani, ch. 12.6).

    Args:
        error: of the cell's runs (s, p), in metres; NaN for a seed that is missing.
        spot: of each photo.
        luck: of a seed; estimated from this cell's runs if it is not given.
        strays: of this cell alone. Where none of its runs went astray, the upper end counts on the
            share that is expected to; where one did, its own variance is large enough.
        seed: of the resamples.
    """
    cell = np.asarray(error, dtype=np.float64)[None]
    luck = luck or luck_of(cell, spot)
    found = _interval(Sample(cell, spot), np.array([1.0]), luck, seed, log=True, strays=strays)
    if strays is None or strays.runs.any():
        return found
    return replace(found, high=found.high * float(strays.factor[0]))


def difference_interval(
    error_a: ArrayLike,
    error_b: ArrayLike,
    spot: ArrayLike | Places,
    *,
    luck: Luck | None = None,
    strays: Strays | None = None,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return the interval of RMSE(a) - RMSE(b), paired on the same photos.

    The errors have the shapes (s, p) and (s', p), and `strays` are those of these two cells. The
    interval holds for one pair chosen beforehand; `confidence_set` compares many cells.
    """
    a, b = np.atleast_2d(np.asarray(error_a)), np.atleast_2d(np.asarray(error_b))
    both = np.full((2, max(len(a), len(b)), a.shape[1]), np.nan)
    both[0, : len(a)], both[1, : len(b)] = a, b
    return contrast_interval(
        both, [1.0, -1.0], spot, luck=luck, strays=strays, seed=seed, level=level
    )


def above_baseline(
    error: ArrayLike,
    baseline: ArrayLike,
    spot: ArrayLike | Places,
    *,
    luck: Luck | None = None,
    seed: int = 0,
) -> Interval:
    """Return the interval of the RMSE of a cell (s, p) less that of a baseline (p,)."""
    own = np.atleast_2d(np.asarray(error, dtype=np.float64))
    twice = np.tile(np.asarray(baseline, dtype=np.float64), (2, 1))  # no seed changes it
    found = difference_interval(own, twice, spot, luck=luck, seed=seed)
    return replace(found, n_seeds=int((~np.isnan(own).any(axis=1)).sum()))


def contrast_interval(
    error: ArrayLike,
    weights: ArrayLike,
    spot: ArrayLike | Places,
    *,
    luck: Luck | None = None,
    strays: Strays | None = None,
    seed: int = 0,
    level: float = LEVEL,
    wider: bool = False,
) -> Interval:
    """Return the interval of a weighted sum of the cells' RMSE, for one question asked beforehand.

    `error` has the shape (c, s, p), `weights` (c,). Seeds of different cells are independent. Where
    `strays` of these cells are given, the interval counts on single runs that may have gone astray.
    With `wider`, spots are expected to err as for a joint test, and each end is the outer one of
    the bootstrap's and of Student's t.
    """
    signs = np.asarray(weights, dtype=np.float64)
    luck, sample = luck or luck_of(error, spot), Sample(error, spot)
    return _interval(sample, signs, luck, seed, log=False, level=level, wider=wider, strays=strays)


@dataclass(frozen=True)
class Spread:
    """Standard errors of an estimate, and Satterthwaite's degrees of freedom."""

    se_spots: float
    se_seeds: float
    freedom: float
    correlation: Correlation  # between spots

    @property
    def total(self) -> float:
        """The standard error from spots and seeds together."""
        return math.hypot(self.se_spots, self.se_seeds)


def _interval(
    sample: Sample,
    sign: Floats,
    luck: Luck,
    seed: int,
    *,
    log: bool,
    level: float = LEVEL,
    wider: bool = False,
    strays: Strays | None = None,
) -> Interval:
    """Return the bootstrap-t interval of sum(sign * RMSE of cell)."""
    estimate = float(estimates(sample, sign, sample.once)[0][0])
    spread = spread_of(sample, sign, luck, wider=wider)
    n_seeds = int(sample.n_seeds.min())
    counts = n_seeds, sample.n_spots, sample.n_photos
    facts = (spread.se_spots, spread.se_seeds, *counts, None if n_seeds > 1 else luck)
    if sample.n_spots < 2 or spread.se_spots < TINY_M:  # equal errors everywhere
        return Interval(estimate, math.nan, math.nan, *facts)
    tail = (1 + level) / 2
    widening = special.stdtrit(spread.freedom, tail) / special.stdtrit(sample.n_spots - 1, tail)
    step = spread.total * float(widening)

    reach_t = float(special.stdtrit(sample.n_spots - 1, tail))
    quantile = student = np.array([-reach_t, reach_t])
    pivots = _pivots(sample, sign, seed, log=log)
    if sample.n_spots >= MIN_SPOTS:
        quantile = np.quantile(pivots, [1 - tail, tail])
    if wider:
        quantile = np.array([min(quantile[0], student[0]), max(quantile[1], student[1])])

    def truths(centre: Floats, pivot: Floats) -> Floats:
        with np.errstate(over="ignore"):  # of a few spots with nearly all photos: no upper end
            return centre * np.exp(-pivot * step / estimate) if log else centre - pivot * step

    high, low = truths(np.array(estimate), quantile)
    p = 2 * float(stats.t.sf(abs(estimate) / spread.total, spread.freedom))
    chances = np.zeros(1) if strays is None else strays.alone_astray[sign != 0]
    if strays is not None and chances.any():
        centre, chance = _without_excess(sample, sign, strays)
        values = truths(centre[:, None], pivots).ravel()
        order = values.argsort()
        share = np.repeat(chance / len(pivots), len(pivots))[order].cumsum()
        ends = values[order][share.searchsorted([1 - tail, tail])]
        low, high = min(low, ends[0]), max(high, ends[1])
        sides = (stats.t.sf(side * centre / spread.total, spread.freedom) for side in (1, -1))
        p = max(p, 2 * min(float(chance @ side) for side in sides))
    return replace(
        Interval(estimate, float(low), float(high), *facts),
        p_value=math.nan if log else p,
        alike_m=spread.correlation.range_m,
        freedom=spread.correlation.freedom,
        may_be_astray=bool(chances.max() > 1 - tail),
    )


def _pivots(sample: Sample, sign: Floats, seed: int, *, log: bool) -> Floats:
    """Draw (estimate - truth) / standard error: by the bootstrap, or Student's t for few spots."""
    if sample.n_spots < MIN_SPOTS:
        return np.asarray(special.stdtrit(sample.n_spots - 1, MIDDLES))
    drawn, se = estimates(sample, sign, sample.draw(N_RESAMPLES, seed))
    estimate = estimates(sample, sign, sample.once)[0][0]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.log(drawn / estimate) * drawn / se if log else (drawn - estimate) / se
    return np.asarray(t[np.isfinite(t)])


def _without_excess(sample: Sample, sign: Floats, strays: Strays) -> tuple[Floats, Floats]:
    """Return what sum(sign * RMSE) may be without what single runs err too much, and how likely.

    Both are (k,): all combinations of the runs in doubt; those that hardly differ are merged.
    """
    own = sign * sample.cell_rmse()
    cells = np.flatnonzero((strays.alone_astray > 0) & (sign != 0))
    finest = float(np.abs(own[cells]).sum()) / COMBINATIONS
    shift, chance = np.zeros(1), np.ones(1)
    for cell in cells:
        sums = shift[:, None] + own[cell] * (1 / (1 + EXCESS) - 1)
        both = (chance[:, None] * strays.alone[cell]).ravel()
        steps, place = np.unique(np.round(sums.ravel() / finest), return_inverse=True)
        shift, chance = steps * finest, np.bincount(place, both).astype(np.float64)
    return own.sum() + shift, chance


def spread_of(sample: Sample, sign: Floats, luck: Luck, *, wider: bool = False) -> Spread:
    """Return the standard errors of sum(sign * RMSE of cell).

    With `wider`, a difference expects of spots what joint tests do.
    """
    is_contrast = abs(float(sign.sum())) < ROUNDING
    of_difference = OF_TESTS if wider else OF_DIFFERENCES
    expected = of_difference if is_contrast else OF_LEVELS
    alike = sample.correlation(influences(sample, sign, sample.once), expected)
    se_spots = alike.factor * float(estimates(sample, sign, sample.once)[1][0])
    found = seed_variances(sample, luck)
    # What both factors contain is subtracted once, so their sum is no less than either. Without
    # that bound, few seeds with much of the photos' noise would leave a fraction of a degree of
    # freedom, and an interval of any width.
    total = max(se_spots**2 + float(sign**2 @ found.variance), float(sign**2 @ found.with_noise))
    below = se_spots**4 / alike.freedom + found.doubt_of(sign)
    freedom = float(total**2 / below) if below else 1.0
    return Spread(se_spots, math.sqrt(total - se_spots**2), freedom, alike)


def estimates(sample: Sample, sign: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return sum(sign * RMSE) of each resample and its cluster-robust standard error, both (r,)."""
    rmse = sample.rmse(counts)
    influence = _influences(sample, sign, rmse)
    factor = sample.n_spots / max(sample.n_spots - 1, 1)
    n_drawn = counts @ sample.sizes
    variance = factor * np.einsum("rg,rg,rg->r", counts, influence, influence) / n_drawn**2
    return mean_over_seeds(rmse) @ sign, np.sqrt(variance)


def influences(sample: Sample, sign: Floats, counts: Floats) -> Floats:
    """Return by how much each spot moves sum(sign * RMSE) in each resample, (r, g), x photos."""
    return _influences(sample, sign, sample.rmse(counts))


def _influences(sample: Sample, sign: Floats, rmse: Floats) -> Floats:
    slope = sign[:, None] / (2 * sample.n_seeds[:, None] * np.maximum(rmse, TINY_M))
    slope = np.where(sample.present, slope, 0.0)  # of the estimate in each run's mean square
    square = np.where(sample.present, rmse**2, 0.0)
    influence = np.tensordot(slope, sample.sums, axes=([1, 2], [0, 1]))
    return np.asarray(influence - (slope * square).sum(axis=(1, 2))[:, None] * sample.sizes)
