"""A radius around each position that holds a stated share of the true positions.

Split conformal prediction on errors of photos that the model did not learn from. Photos of one
spot are not independent, so each spot counts as one, whatever its number of photos (Lee, Barber &
Willett 2023, "Distribution-free inference with hierarchical data"): a photo of another spot of the
same kind then lies within the radius with at least the stated probability, whatever the model and
the distribution of its errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.9

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Sorted scores of held-out photos and what each weighs; a score is an error in metres."""

    values: list[float]
    weights: list[float]  # of G spots, each has 1/(G+1); the rest is for the spot to come

    def quantile(self, level: float = LEVEL) -> float:
        """Return the score that a new one stays below with this probability.

        Infinite where there are too few spots to say: 9 are the fewest for a level of 0.9.
        """
        if not 0 < level < 1:
            raise ValueError(f"level={level}: must lie between 0 and 1")
        reached = np.cumsum(self.weights) >= level - 1e-12  # rounding of the weights' sum
        return float(self.values[int(np.argmax(reached))]) if reached.any() else math.inf


def scores(values: ArrayLike, spot: ArrayLike) -> Scores:
    """Return the scores of held-out photos, weighted by spot.

    >>> scores([5.0, 30.0, 10.0], [0, 0, 1]).weights
    [0.16666666666666666, 0.3333333333333333, 0.16666666666666666]
    """
    found = np.asarray(values, dtype=np.float64)
    _, index, sizes = np.unique(np.asarray(spot), return_inverse=True, return_counts=True)
    order = np.argsort(found, kind="stable")
    weights = 1 / ((len(sizes) + 1) * sizes[index].astype(np.float64))
    return Scores(found[order].tolist(), weights[order].tolist())


@dataclass(frozen=True)
class Coverage:
    """The share of photos whose true position lies within the radius."""

    share: float
    n_photos: int
    n_spots: int


def coverage(error_m: ArrayLike, radius_m: ArrayLike, spot: ArrayLike) -> Coverage:
    """Measure how many errors lie within the radius."""
    errors = np.asarray(error_m, dtype=np.float64)
    within = errors <= np.asarray(radius_m, dtype=np.float64)
    return Coverage(float(within.mean()), len(errors), len(np.unique(np.asarray(spot))))
