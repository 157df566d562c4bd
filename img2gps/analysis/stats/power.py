"""What a validation set can tell: detectable differences, and photos that would be needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from img2gps.analysis.stats.comparisons import Resamples, resample
from img2gps.analysis.stats.intervals import spread_of
from img2gps.analysis.stats.luck import Luck, luck_of
from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import LEVEL, TINY_M, Bools, Floats, Sample, cell_rmse, ratio

POWER = 0.80  # the probability with which a detectable difference is detected
DRAWS = 400  # simulated studies; a power of 80 % is then known to 2 points
MOST_CELLS = 100  # of more, so many are compared
MOST_SE = 12.0  # standard errors of a difference that is surely detected


@dataclass(frozen=True)
class Detectable:
    """The differences that this validation set can show between the best cell and others."""

    median_m: float  # smallest difference detected with the given power, the middle pair
    low_m: float
    high_m: float
    se_photos_m: float  # of the middle pair: the part that more photos make smaller
    n_photos: int


def detectable(
    error: ArrayLike, spot: ArrayLike | Places, *, luck: Luck | None = None, seed: int = 0
) -> Detectable | None:
    """Return the smallest difference between the best cell and another that would be noticed.

    A cell counts as noticed if it leaves the confidence set, which is the test behind the marks of
    a table. Of two cells, the difference is (t(97.5 %) + t(80 %)) x the standard error of the
    paired difference (Cohen 1988, ch. 2). Of more, studies are simulated in which all other cells
    are worse by as many standard errors, from the resamples of the photos and the seeds' luck.
    Only the better half of the other cells counts, because the errors of cells that went astray are
    of another kind. None with fewer than two cells.
    """
    luck = luck or luck_of(error, spot)
    errors = np.asarray(error, dtype=np.float64)
    best, *others = cell_rmse(errors).argsort()
    if not others:
        return None
    others = others[:: math.ceil(len(others) / MOST_CELLS)]
    nearest = others[: math.ceil(len(others) / 2)]
    sign = np.array([1.0, -1.0])
    spreads = [spread_of(Sample(errors[[o, best]], spot), sign, luck) for o in nearest]
    if len(others) == 1:
        tails = ((1 + LEVEL) / 2, POWER)
        reach = sum(stats.t.ppf(tail, spreads[0].freedom) for tail in tails)
        found = np.array([float(reach) * spreads[0].total])
    else:
        drawn = resample(errors[[best, *others]], spot, luck=luck, n=DRAWS, seed=seed)
        found = _noticed(drawn, len(nearest))
    return Detectable(
        float(np.median(found)),
        float(found.min()),
        float(found.max()),
        float(np.median([spread.se_spots for spread in spreads])),
        errors.shape[2],
    )


def detectable_in(studies: Sequence[Resamples]) -> float:
    """Return by how many metres cells must be worse than the first one to be noticed.

    The studies are simulated ones whose cells are all equally good. Each is judged by its own
    resamples, as a real one is.
    """
    judged = [(study.estimate, *_limit(study.deviation)) for study in studies]

    def missed(metres: float) -> float:
        dropped = []
        for estimate, se, limits in judged:
            worse = estimate + metres * (np.arange(len(estimate)) > 0)
            dropped.append(_dropped(worse, se, limits)[1:].mean())
        return float(np.mean(dropped)) - POWER

    most = MOST_SE * max(float(se.max()) for _, se, _ in judged)
    return float(optimize.brentq(missed, 0.0, most, rtol=0.002))


def _noticed(resamples: Resamples, nearest: int) -> Floats:
    """Return by how many metres cells must be worse for the confidence set to drop them.

    The first cell is the best one, and the `nearest` cells after it are those that count.
    """
    deviation = resamples.deviation
    se, limits = _limit(deviation)

    def missed(reach: float) -> float:
        estimate = deviation + reach * se[0]
        dropped = [_dropped(own, se, limits)[1 : nearest + 1].mean() for own in estimate]
        return float(np.mean(dropped)) - POWER

    reach = float(optimize.brentq(missed, 0.0, MOST_SE, xtol=0.02))
    return np.asarray(reach * se[0, 1 : nearest + 1])


def _limit(deviation: Floats) -> tuple[Floats, list[float]]:
    """Return the standard errors of all differences, and the limits of the confidence set."""
    covariance = np.cov(deviation, rowvar=False)
    variance = np.diag(covariance)
    se = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 0.0))
    se[se < TINY_M] = 0.0
    return se, _limits(deviation, se)


def _limits(deviation: Floats, se: Floats) -> list[float]:
    """Return the largest studentised difference that chance allows among the first 2, 3, ... cells.

    The list begins with two values that stand for no cell and one cell.
    """
    largest = np.zeros(len(deviation))
    found = [math.inf, math.inf]
    for last in range(1, deviation.shape[1]):
        apart = np.abs(deviation[:, last, None] - deviation[:, :last])
        np.maximum(largest, ratio(apart, se[last, :last]).max(axis=1), out=largest)
        found.append(float(np.quantile(largest, LEVEL)))
    return found


def _dropped(estimate: Floats, se: Floats, limits: Sequence[float]) -> Bools:
    """Return which cells (c,) leave the confidence set; its limit depends on how many are left."""
    worst = ratio(estimate[:, None] - estimate, se).max(axis=1)
    kept = len(estimate)
    while kept > 1 and (left := int((worst <= limits[kept]).sum())) < kept:
        kept = left
    return np.asarray(worst > limits[max(kept, 2)])


def photos_needed(difference_m: float, se_photos_m: float, n_photos: int) -> int:
    """Return how many validation photos would tell apart two cells that differ by `difference_m`.

    The seeds' luck is left out. The standard error falls with the square root of the number of
    photos if they come from new spots in the same proportion.

    >>> photos_needed(1.0, 1.0, 100)
    785
    """
    factor = stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(POWER)
    return math.ceil(n_photos * (float(factor) * se_photos_m / difference_m) ** 2)
