"""Means over the folds of a k-fold split."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.sample import LEVEL


@dataclass(frozen=True)
class FoldMean:
    """A mean over folds with its interval."""

    estimate: float
    low: float
    high: float
    se: float
    folds: int


def fold_mean(values: ArrayLike, n_train: float, n_val: float) -> FoldMean:
    """Return the mean over folds, with the interval corrected for shared training photos.

    The variance of the mean is (1/k + n_val/n_train) times that between folds (Nadeau & Bengio
    2003, Machine Learning 52(3)), with Student's t of k - 1 degrees of freedom.
    """
    x = np.asarray(values, dtype=np.float64)
    k = len(x)
    if k < 2:
        return FoldMean(float(x.mean()), math.nan, math.nan, math.nan, k)
    se = math.sqrt((1 / k + n_val / n_train) * x.var(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, k - 1)) * se
    return FoldMean(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, se, k)
