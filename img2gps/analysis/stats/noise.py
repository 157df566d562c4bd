"""How large the noise of a difference between two cells is, and how surely a study shows that.

A pilot study of a few dozen photos knows its standard errors badly, above all where spots err
alike. How badly is learned by leaving out one group of spots after the other (the delete-a-group
jackknife: Shao & Tu 1995, The Jackknife and Bootstrap, ch. 2.3), neighbours together where
positions count, because they err alike. The logarithm of a variance is taken to be normal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, ward

from img2gps.analysis.stats.comparisons import widening
from img2gps.analysis.stats.intervals import estimates, influences
from img2gps.analysis.stats.luck import Luck, seed_variances
from img2gps.analysis.stats.places import Expected, Places
from img2gps.analysis.stats.sample import TINY_M, Floats, Sample

GROUPS = 10  # of spots, which are left out one after the other
FEWEST_SPOTS = 4  # that show how surely they show a variance
MOST_DOUBT = 1.0  # of a logarithm: the jackknife itself is uncertain
DRAWS = 4000  # of the noise that is possible
PAIR = np.array([1.0, -1.0])


@dataclass(frozen=True)
class Noise:
    """What a study shows of the variance of the difference between two cells' RMSE.

    Attributes:
        photo: of one photo if spots are independent, in square metres.
        alike: by what spots that err alike multiply it.
        doubt: standard deviation of what is known of the logarithm of their product.
        run: of one run of each cell, in square metres.
        luck: how surely that is known.
    """

    photo: float
    alike: float
    doubt: float
    run: float
    luck: Luck

    def nearer(self, photos: int, seeds: int, tails: Sequence[float]) -> Floats:
        """Return by what a difference among independent spots is as hard to see as the true one.

        Args:
            photos: of the study that is to come.
            seeds: of each of its cells.
            tails: probabilities that the noise is smaller than what each of the factors stands for.

        Returns:
            Factors of the difference, below 1 where the noise is larger than it looks.
        """
        by_photos, by_runs = self.photo / photos, self.run / seeds
        if by_photos + by_runs <= 0:
            return np.ones(len(tails))
        rng = np.random.default_rng(0)
        larger = np.exp(self.doubt * rng.standard_normal(DRAWS) + self.doubt**2 / 2)
        lucks = self.luck.drawn(rng, DRAWS) ** 2
        middle = float(np.median(lucks))
        lucks = lucks / middle if middle else np.ones(DRAWS)
        possible = self.alike * by_photos * larger + by_runs * lucks
        return np.asarray(np.sqrt((by_photos + by_runs) / np.quantile(possible, tails)))


def noises_of(
    error: ArrayLike, places: ArrayLike | Places, luck: Luck, expected: Expected
) -> list[Noise]:
    """Return what errors (c, s, p) show of the differences of the first cell and each other one."""
    errors = np.asarray(error, dtype=np.float64)
    known = places if isinstance(places, Places) else Places(np.asarray(places))
    left = [(kept, known[kept]) for kept in _left(known)]
    found = []
    for pair in (errors[[0, other]] for other in range(1, len(errors))):
        sample, bare = Sample(pair, known), Sample(pair, known.spot)
        alike = (widening(sample, expected) / widening(bare, expected)) ** 2
        photo = _variance(bare, expected)
        without = [_variance(Sample(pair[..., kept], at), expected) for kept, at in left]
        run = float((bare.n_seeds * seed_variances(bare, luck).variance).sum())
        found.append(Noise(photo, alike, _doubt(without) if photo > TINY_M else 0.0, run, luck))
    return found


def _variance(sample: Sample, expected: Expected) -> float:
    """Return the variance of a difference that is due to spots, times the number of photos."""
    alike = sample.correlation(influences(sample, PAIR, sample.once), expected)
    return float((alike.factor * estimates(sample, PAIR, sample.once)[1][0]) ** 2 * sample.n_photos)


def _doubt(without: Sequence[float]) -> float:
    """Return the standard deviation of a variance's logarithm from those without each group."""
    if not without or min(without) <= 0:
        return MOST_DOUBT
    squares = float(np.square(np.log(without) - np.log(without).mean()).sum())
    return min(math.sqrt(squares * (len(without) - 1) / len(without)), MOST_DOUBT)


def _left(places: Places) -> Iterator[NDArray[np.bool_]]:
    """Yield which photos are left without each group of spots; nothing where spots are too few."""
    _, index, sizes = np.unique(places.spot, return_inverse=True, return_counts=True)
    groups = min(GROUPS, len(sizes))
    if groups < FEWEST_SPOTS:
        return
    if places.position_m is None:
        group: NDArray[np.integer] = np.random.default_rng(0).permutation(len(sizes)) % groups
    else:
        centre = np.stack([np.bincount(index, axis) / sizes for axis in places.position_m.T], 1)
        group = fcluster(ward(centre), groups, criterion="maxclust")
    for one in np.unique(group):
        yield group[index] != one
