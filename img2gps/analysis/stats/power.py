"""What a validation set can tell: detectable differences, and photos that would be needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.intervals import spread_of
from img2gps.analysis.stats.luck import Luck, luck_of
from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import LEVEL, Sample, cell_rmse

POWER = 0.80  # the probability with which a detectable difference is detected


@dataclass(frozen=True)
class Detectable:
    """The differences that this validation set can show between the best cell and others."""

    median_m: float  # smallest difference detected with the given power, the middle pair
    low_m: float
    high_m: float
    se_photos_m: float  # of the middle pair: the part that more photos make smaller
    n_photos: int


def detectable(
    error: ArrayLike, spot: ArrayLike | Places, *, luck: Luck | None = None
) -> Detectable | None:
    """Return the smallest difference between the best cell and another that would be noticed.

    It is (t(95 %) + t(80 %)) x the standard error of the paired difference (Cohen 1988, ch. 2).
    Only the better half of the other cells counts, because the errors of cells that went astray are
    of another kind. None with fewer than two cells.
    """
    luck = luck or luck_of(error, spot)
    errors = np.asarray(error, dtype=np.float64)
    best, *others = cell_rmse(errors).argsort()
    sign = np.array([1.0, -1.0])
    found, se_spots = [], []
    for other in others[: math.ceil(len(others) / 2)]:
        spread = spread_of(Sample(errors[[other, best]], spot), sign, luck)
        factor = stats.t.ppf((1 + LEVEL) / 2, spread.freedom) + stats.t.ppf(POWER, spread.freedom)
        found.append(float(factor) * spread.total)
        se_spots.append(spread.se_spots)
    if not found:
        return None
    return Detectable(
        float(np.median(found)),
        min(found),
        max(found),
        float(np.median(se_spots)),
        errors.shape[2],
    )


def photos_needed(difference_m: float, se_photos_m: float, n_photos: int) -> int:
    """Return how many validation photos would tell apart two cells that differ by `difference_m`.

    The seeds' luck is left out. The standard error falls with the square root of the number of
    photos if they come from new spots in the same proportion.

    >>> photos_needed(1.0, 1.0, 100)
    785
    """
    factor = stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(POWER)
    return math.ceil(n_photos * (float(factor) * se_photos_m / difference_m) ** 2)
