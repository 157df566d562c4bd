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
KNOWN, NEW = "known spots", "new spots"  # of a test part: near a training photo, or not

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Sorted scores of held-out photos and what each weighs; a score is an error in metres."""

    values: list[float]
    weights: list[float]  # of G spots, each has 1/(G+1); the rest is for the spot to come

    def quantile(self, level: float = LEVEL, rounding: float = 1e-12) -> float:
        """Return the score that a new one stays below with this probability.

        `rounding` is that of the weights' sum. Infinite where there are too few spots to say: 9
        are the fewest for a level of 0.9.
        """
        if not 0 < level < 1:
            raise ValueError(f"level={level}: must lie between 0 and 1")
        reached = np.cumsum(self.weights) >= level - rounding
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


@dataclass(frozen=True)
class Promise:
    """A radius, what it rests on, and whether it held on photos that selected nothing.

    Attributes:
        radius_m: infinite where there are too few spots.
        mean_predictor_m: the radius around the one answer of the mean predictor.
        n_photos, n_spots: of the photos that calibrated it.
        ranked_cells: cells that these photos chose among; above 1 the radius is too small.
        held: the coverage on the test part, for all photos, known and new spots; empty without one.
    """

    radius_m: float
    mean_predictor_m: float
    n_photos: int
    n_spots: int
    ranked_cells: int
    held: dict[str, Coverage]


def promise(
    error_m: ArrayLike,
    mean_error_m: ArrayLike,
    spot: ArrayLike,
    ranked_cells: int,
    test: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
) -> Promise:
    """Return the radius that a run's held-out errors give, and how it held on a test part.

    Args:
        error_m: of held-out photos, in metres.
        mean_error_m: the mean predictor's on the same photos.
        spot: of each of these photos.
        ranked_cells: cells that these photos chose among.
        test: errors, spots and whether the spot is known (1 or 0) of the photos of a test part.
    """
    spots = np.asarray(spot)
    radius_m = scores(error_m, spots).quantile(LEVEL)
    held = {}
    if test is not None and math.isfinite(radius_m):
        errors, places, known = (np.asarray(column, dtype=np.float64) for column in test)
        groups = {"all": np.ones(len(errors), np.bool_), KNOWN: known == 1, NEW: known == 0}
        held = {
            name: coverage(errors[chosen], radius_m, places[chosen])
            for name, chosen in groups.items()
            if chosen.any()
        }
    mean_m = scores(mean_error_m, spots).quantile(LEVEL)
    return Promise(radius_m, mean_m, len(spots), len(np.unique(spots)), ranked_cells, held)
