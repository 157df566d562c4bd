"""Errors of runs as resampling needs them: squared, and summed by spot.

Axes are called c (cells), s (seeds), p (photos), g (spots) and r (resamples). NaN stands for a
run that is missing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from img2gps.analysis.stats.places import OF_TESTS, Correlation, Expected, Places
from img2gps.photos.spots import FEW_SPOTS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEVEL = 0.95
N_RESAMPLES = 2000
SURE = 1e6  # degrees of freedom of what is taken for certain
TINY_M = 1e-9  # metres: rounding, not a difference
MIN_SPOTS = FEW_SPOTS  # with fewer, an interval is called unreliable


class Sample:
    """Squared errors of cells and seeds on the same photos, summed by spot."""

    def __init__(self, error: ArrayLike, spot: ArrayLike | Places) -> None:
        """Take errors of shape (c, s, p).

        Where positions are given with the spots, correlation between spots is measured.
        """
        square = np.square(np.asarray(error, dtype=np.float64))
        self._places = spot if isinstance(spot, Places) else Places(np.asarray(spot))
        _, index = np.unique(self._places.spot, return_inverse=True)
        self.n_photos = len(index)
        self.index = index  # of each photo's spot
        self.sizes = np.bincount(index).astype(np.float64)  # (g,)
        self.n_spots = len(self.sizes)
        indicator = np.zeros((self.n_photos, self.n_spots))
        indicator[np.arange(self.n_photos), index] = 1.0
        self.present = np.asarray(~np.isnan(square).any(axis=2))  # (c, s)
        self.n_seeds = self.present.sum(axis=1)
        self.sums = np.where(self.present[..., None], square, 0.0) @ indicator  # (c, s, g)

    @property
    def once(self) -> Floats:
        """Counts (1, g) that take every spot once."""
        return np.ones((1, self.n_spots))

    def rmse(self, counts: ArrayLike) -> Floats:
        """Return the RMSE of every run, (r, c, s), with each spot taken `counts` (r, g) times."""
        drawn = np.asarray(counts, dtype=np.float64)
        mse = np.tensordot(drawn, self.sums, axes=(1, 2)) / (drawn @ self.sizes)[:, None, None]
        return np.asarray(np.where(self.present, np.sqrt(mse), np.nan))

    def cell_rmse(self) -> Floats:
        """Return the RMSE of every cell, (c,): the mean over its seeds."""
        return np.asarray(mean_over_seeds(self.rmse(self.once))[0])

    def correlation(self, influence: Floats, expected: Expected = OF_TESTS) -> Correlation:
        """Return how far influences (g,) or (k, g) on an estimate are alike."""
        return self._places.correlation(influence, expected)

    def draw(self, n: int, seed: int) -> Floats:
        """Return how often each spot is drawn in each of n resamples, (n, g)."""
        return _spot_counts(self.n_spots, n, seed)


@lru_cache(maxsize=8)  # every cell of a study asks for the same
def _spot_counts(n_spots: int, n: int, seed: int) -> Floats:
    p = np.full(n_spots, 1 / n_spots)
    counts = np.random.default_rng(seed).multinomial(n_spots, p, n).astype(np.float64)
    counts.flags.writeable = False
    return counts


def mean_over_seeds(rmse: Floats) -> Floats:
    """Return the mean over the last axis without the runs that are missing (NaN)."""
    return mean_where(rmse, ~np.isnan(rmse))


def mean_where(values: Floats, wanted: Bools) -> Floats:
    """Return the mean of the wanted values over the last axis."""
    return np.asarray(np.where(wanted, values, 0.0).sum(axis=-1) / wanted.sum(axis=-1))


def cell_rmse(error: ArrayLike) -> Floats:
    """Return the RMSE of cells from errors (c, s, p): the mean over the seeds' RMSE."""
    square = np.square(np.asarray(error, dtype=np.float64))
    return mean_over_seeds(np.sqrt(square.mean(axis=-1)))


def ratio(a: Floats, b: Floats) -> Floats:
    """Return a / b, and 0 where b is 0: cells with equal errors do not differ."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)


def wider(freedom: Floats | float) -> Floats:
    """Return how much wider 95 % intervals of Student's t are than those of a normal."""
    tail = (1 + LEVEL) / 2
    return np.asarray(special.stdtrit(np.minimum(freedom, SURE), tail) / special.ndtri(tail))
