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
FEWEST_SPOTS = 8  # that show how surely they show a variance
MOST_DOUBT = 1.0  # of a logarithm: the jackknife itself is uncertain
DRAWS = 4000  # of what is possible
RANGE = (0.05, 0.95)
PAIR = np.array([1.0, -1.0])


@dataclass(frozen=True)
class Noise:
    """What a study shows of the noise of the difference between two cells' RMSE.

    Attributes:
        photo: its variance with one photo if spots are independent, in square metres.
        alike: by what spots that err alike multiply it.
        doubt: standard deviation of what is known of the logarithm of their product.
        square: sum of the squared RMSE of the cells that luck changes, in square metres.
        luck: of their runs.
        gap_doubt: standard error of the difference, as part of it; 0 for a difference that is
            given.
    """

    photo: float
    alike: float
    doubt: float
    square: float
    luck: Luck
    gap_doubt: float = 0.0

    def nearer(self, photos: int, seeds: int) -> Floats:
        """Return by what a difference among independent spots is as hard to see as the true one.

        Args:
            photos: of the study that is to come.
            seeds: of each of its cells.

        Returns:
            Factors of the difference as it is known: the middle one of what the noise may be, and
            the lower and upper end of what noise and difference together may be.
        """
        by_photos, relative = self.photo / photos, self.luck.relative
        usual = by_photos + self.square * relative**2 / seeds
        if usual <= 0:
            return np.ones(3)
        rng = np.random.default_rng(0)
        # The jackknife of so many groups knows a logarithm with one degree of freedom less.
        apart = self.doubt * rng.standard_t(GROUPS - 1, DRAWS) + self.doubt**2 / 2
        lucks = rng.permutation(self.luck.possible(DRAWS) ** 2)
        lucks = np.maximum(lucks - np.median(lucks) + relative**2, 0.0)
        noise = self.alike * by_photos * np.exp(apart) + self.square * lucks / seeds
        factor = np.sqrt(usual / noise)
        gap = 1 + self.gap_doubt * np.exp(apart / 2) * rng.standard_normal(DRAWS)
        return np.array([np.median(factor), *np.quantile(gap * factor, RANGE)])


def noises_of(
    error: ArrayLike,
    places: ArrayLike | Places,
    luck: Luck,
    expected: Expected,
    trained: ArrayLike,
    *,
    observed: bool = False,
) -> list[Noise]:
    """Return what errors (c, s, p) show of the differences of the first cell and each other one.

    `trained` says which cells (c,) luck changes. Differences that are only `observed`, and not
    given, are uncertain themselves.
    """
    errors, change = np.asarray(error, dtype=np.float64), np.asarray(trained, dtype=np.bool_)
    known = places if isinstance(places, Places) else Places(np.asarray(places))
    left = [(kept, known[kept]) for kept in _left(known)]
    found = []
    for cells in ([0, other] for other in range(1, len(errors))):
        pair = errors[cells]
        sample, bare = Sample(pair, known), Sample(pair, known.spot)
        alike = (widening(sample, expected) / widening(bare, expected)) ** 2
        photo = _variance(bare, expected)
        without = [_variance(Sample(pair[..., kept], at), expected) for kept, at in left]
        rmse = bare.cell_rmse()
        runs = float(np.where(change[cells], seed_variances(bare, luck).variance, 0.0).sum())
        apart = abs(float(rmse[1] - rmse[0]))
        error_m = math.sqrt(alike * photo / bare.n_photos + runs)
        found.append(
            Noise(
                photo,
                alike,
                _doubt(without) if photo > TINY_M else 0.0,
                float(np.where(change[cells], rmse**2, 0.0).sum()),
                luck,
                error_m / apart if observed and apart > TINY_M else 0.0,
            )
        )
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
        if group.max() < FEWEST_SPOTS:  # many spots at few positions
            return
    for one in np.unique(group):
        yield group[index] != one
