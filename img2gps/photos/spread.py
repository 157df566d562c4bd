"""Choose blocks that are spread over the ground like all photos.

A few blocks drawn at random may lie in one corner. The mean predictor then errs more, or less, than
on the whole ground, and so does every model: the figure measures the luck of the draw. Of many
draws, the one is therefore taken whose positions resemble those of all photos most
(rerandomisation: Morgan and Rubin 2012). Only positions are compared, so the choice knows nothing
of what a model can tell from the photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from img2gps.photos.picking import Groups, Mask, Rows

DRAWS = 100
HASHED = (
    500_000  # block names in all draws, at most: of so many blocks any draw resembles the whole
)
TOLERANCE = 0.05  # of the number of photos asked for; a draw that misses it by more ranks behind
FAR_TIMES = 1.5  # photos further from the middle than so many widths of the ground count as nearer

Floats = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Layout:
    """Where photos are, as far as two parts of a data set are compared by it.

    Attributes:
        features: one row a photo, scaled by the size of the ground and centred on the mean of all
            photos: east, north and their products, so that their means over a part are its mean
            position and its spread.
    """

    features: Floats

    @classmethod
    def of(cls, east_m: Floats, north_m: Floats) -> Self:
        """Return the layout of photos at these positions."""
        east, north = (_without_outliers(axis) for axis in (east_m, north_m))
        scale = np.sqrt(np.mean(east**2 + north**2)) or 1.0
        east, north = east / scale, north / scale
        features = np.stack([east, north, east**2, north**2, np.sqrt(2) * east * north], axis=-1)
        return cls(features - features.mean(axis=0))

    def at(self, photos: Mask) -> Layout:
        """Return the layout of some of the photos, still centred on the mean of all."""
        return Layout(self.features[photos])

    def take(self, groups: Groups, seed: int, target: int, key: str) -> Mask:
        """Return as many groups as hold about `target` photos and resemble all photos most."""
        sums = self._sums(groups)

        def cost(taken: Mask) -> tuple[float, float]:
            miss = abs(int(groups.sizes[taken].sum()) - target)
            return max(miss, TOLERANCE * target), _unlike(groups.sizes, sums, taken)

        return _best(lambda drawn: groups.take(drawn, target, key), _seeds(seed, groups), cost)

    def folds(self, groups: Groups, seed: int, folds: int) -> Rows:
        """Return the fold of each group so that even the fold that is least like all is alike."""
        sums = self._sums(groups)

        def cost(fold: Rows) -> float:
            return max(_unlike(groups.sizes, sums, fold == part) for part in range(folds))

        return _best(lambda drawn: groups.folds(drawn, folds), _seeds(seed, groups), cost)

    def _sums(self, groups: Groups) -> Floats:
        """Return the sum of the features of each group."""
        sums = np.zeros((len(groups.names), self.features.shape[1]))
        np.add.at(sums, groups.of_photo, self.features)
        return sums


def _unlike(sizes: Rows, sums: Floats, taken: Mask) -> float:
    """Return the squared distance of a part's mean and spread from those of all photos."""
    mean = sums[taken].sum(axis=0) / sizes[taken].sum()
    return float(mean @ mean)


def _seeds(seed: int, groups: Groups) -> list[int]:
    """Return a seed for each draw; the first is that of rule 1.

    Seeds of splits are below 2**32, so the draws of two of them share no seed.
    """
    draws = max(1, min(DRAWS, HASHED // len(groups.names)))
    return [seed + (draw << 32) for draw in range(draws)]


def _best(draw: Callable[[int], T], seeds: Iterable[int], cost: Callable[[T], Any]) -> T:
    """Return the draw of the lowest cost, the first of equal ones."""
    return min(map(draw, seeds), key=cost)


def _without_outliers(axis_m: Floats) -> Floats:
    """Return positions relative to their mean, after photos far away were moved nearer.

    Otherwise one photo of another town would be all that counts.
    """
    low, middle, high = np.quantile(axis_m, [0.05, 0.5, 0.95])
    limit = FAR_TIMES * (high - low)
    near = np.clip(axis_m, middle - limit, middle + limit)
    return np.asarray(near - near.mean())
