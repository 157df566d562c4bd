"""How large the noise of a difference between two cells is, and how surely a study shows that.

A pilot study of a few dozen photos knows its standard errors badly, above all where spots err
alike. How badly is learned by leaving out one group of spots after the other (the delete-a-group
jackknife: Shao & Tu 1995, The Jackknife and Bootstrap, ch. 2.3), neighbours together where
positions count, because they err alike. The logarithm of a variance is taken to have Student's t.
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
FEWEST_GROUPS = 8  # with fewer, nothing is said of how surely a variance is known
MOST_DOUBT = 1.0  # of a logarithm: the jackknife itself is uncertain
DRAWS = 4000  # of what is possible
RANGE = (0.05, 0.95)
PAIR = np.array([-1.0, 1.0])


@dataclass(frozen=True)
class Noise:
    """What a study shows of the noise of the difference between two cells' RMSE.

    Attributes:
        difference_m: RMSE of the second cell less that of the first one.
        error_m: standard error of the difference; 0 for a difference that is given.
        photo_m2: variance of the difference with one photo if spots are independent.
        alike: by what spots that err alike multiply it.
        doubt: standard deviation of the logarithm of that variance, as far as it is unknown.
        measured: whether there are enough spots to measure the doubt.
        rmse_m2: sum of the squared RMSE of those of the two cells that luck changes.
        luck: of their runs.
    """

    difference_m: float
    error_m: float
    photo_m2: float
    alike: float
    doubt: float
    measured: bool
    rmse_m2: float
    luck: Luck

    def differences(self, photos: int, seeds: int) -> Floats:
        """Return differences that are as hard to see among independent spots as the true one.

        Args:
            photos: of the study that is to come.
            seeds: of each of its cells.

        Returns:
            In metres: one for the middle of what the noise may be, and the lower and upper end of
            what noise and difference together may be.
        """
        if self.photo_m2 <= TINY_M:
            return np.full(3, self.difference_m)
        by_photos, relative = self.photo_m2 / photos, self.luck.relative
        looks = by_photos + self.rmse_m2 * relative**2 / seeds
        rng = np.random.default_rng(0)
        # A variance is found too small more often than too large; doubt^2 / 2 makes up for it.
        apart = self.doubt * rng.standard_t(GROUPS - 1, DRAWS) + self.doubt**2 / 2
        # The luck in the middle is the estimated one, with which the studies are drawn.
        lucks = rng.permutation(self.luck.possible(DRAWS) ** 2)
        lucks = np.maximum(lucks - np.median(lucks) + relative**2, 0.0)
        noise = self.alike * by_photos * np.exp(apart) + self.rmse_m2 * lucks / seeds
        factor = np.sqrt(looks / noise)
        errors = self.error_m * np.exp(apart / 2) * rng.standard_normal(DRAWS)
        ends = np.quantile((self.difference_m + errors) * factor, RANGE)
        return np.array([self.difference_m * np.median(factor), *ends])


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
        photo_m2, rmse = _variance(bare, expected), bare.cell_rmse()
        runs = float(np.where(change[cells], seed_variances(bare, luck).variance, 0.0).sum())
        found.append(
            Noise(
                difference_m=float(PAIR @ rmse),
                error_m=math.sqrt(alike * photo_m2 / bare.n_photos + runs) if observed else 0.0,
                photo_m2=photo_m2,
                alike=alike,
                doubt=_doubt([_variance(Sample(pair[..., k], at), expected) for k, at in left]),
                measured=bool(left),
                rmse_m2=float(np.where(change[cells], rmse**2, 0.0).sum()),
                luck=luck,
            )
        )
    return found


def _variance(sample: Sample, expected: Expected) -> float:
    """Return the variance of a difference that is due to spots, times the number of photos."""
    alike = sample.correlation(influences(sample, PAIR, sample.once), expected)
    return float((alike.factor * estimates(sample, PAIR, sample.once)[1][0]) ** 2 * sample.n_photos)


def _doubt(without: Sequence[float]) -> float:
    """Return the standard deviation of a variance's logarithm from those without each group."""
    if not without or min(without) <= TINY_M:
        return MOST_DOUBT
    squares = float(np.square(np.log(without) - np.log(without).mean()).sum())
    return min(math.sqrt(squares * (len(without) - 1) / len(without)), MOST_DOUBT)


def _left(places: Places) -> Iterator[NDArray[np.bool_]]:
    """Yield which photos are left without each group of spots; nothing where spots are too few."""
    _, index, sizes = np.unique(places.spot, return_inverse=True, return_counts=True)
    groups = min(GROUPS, len(sizes))
    if groups < FEWEST_GROUPS:
        return
    if places.position_m is None:
        group: NDArray[np.integer] = np.random.default_rng(0).permutation(len(sizes)) % groups
    else:
        centre = np.stack([np.bincount(index, axis) / sizes for axis in places.position_m.T], 1)
        group = fcluster(ward(centre), groups, criterion="maxclust")
        if group.max() < FEWEST_GROUPS:  # many spots at few positions
            return
    for one in np.unique(group):
        yield group[index] != one
