"""Where photos were taken, and how far their errors are alike.

Photos of one spot are resampled together. Where errors are alike over more than a spot, because a
whole corner of the ground is hard, spots are not independent either, and intervals that take them
for independent are too narrow. The correlation is measured: covariances that fall with distance
(an exponential with a nugget) are fitted to the spots' influences by restricted maximum likelihood
(Cressie 1993, Statistics for Spatial Data, ch. 2.6), on normal scores, so that a few large errors
do not decide, and about a trend away from the middle of the ground, where every answer that is
pulled to the middle errs more. Each covariance says by what it widens a standard error and how
many degrees of freedom remain (Satterthwaite). These are averaged with the posterior probability
of each covariance (Hoeting et al. 1999, Statistical Science 14(4)), because few spots cannot decide
between "independent" and "alike", and a test that fails to decide would leave intervals too
narrow. The log likelihoods of several contrasts of the same cells are averaged, not added, because
the contrasts are not independent.

At the 109 spots of an aerial survey with an exponential correlation of 30 m, intervals of a cell
that take spots for independent held the truth in 74 to 82 % of simulated studies, resampled blocks
of 40 to 120 m in 85 to 88 %, a kernel (HAC) estimate in 78 to 83 %; benchmarks/coverage.py measures
this one. Photos drawn at random from the ground need none of this: their spots are independent
draws, whatever the errors look like on the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from img2gps.analysis.stats.threads import one_blas_thread

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RANGES_M = (7.0, 15.0, 30.0, 60.0, 100.0)  # distance at which 1/e of the correlation is left
SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 0.9)  # of the variance that falls with distance
# Of every covariance that is tried, of which the first is that of independent spots.
RANGE_OF_EACH_M = np.array([0.0, *np.repeat(RANGES_M, len(SHARES))])
# Above this probability of errors that are alike within spots only, no distance is stated. It is
# that of an observer who takes both for equally likely beforehand.
DOUBT = 0.3
MIN_MEASURED = 8  # spots; with fewer, nothing is measured
LEAST_TREND = 0.01  # difference in distance from the middle, as part of the largest distance
MAX_SPOTS = 600  # with more, so many of them are measured
MAX_MEANT = 2000  # spots that a covariance is applied to


@dataclass(frozen=True)
class Expected:
    """What is expected of influences before they are seen.

    Attributes:
        alike: probability that they are alike over more than a spot.
        longest: range that is thought possible, as part of the largest distance between two spots.
        within: correlation between photos of one spot, where spots are independent.
    """

    alike: float
    longest: float = math.inf
    within: float = 1.0


# What makes a place hard for one cell lasts for more than a spot in most of our data sets; between
# two cells, which are compared photo by photo, much of it cancels, above all what is common to a
# large part of the ground. These were set after seeing how often intervals hold in `benchmarks
# coverage`, whose cases of errors alike are no fresh test of them. In the studies with positions
# below results/, the most likely probabilities are 1 and 0.75; the most likely ranges of
# differences are 30 m on the quad (210 m wide), 7 to 15 m on a campus (590 m) and up to 100 m in an
# aerial survey (430 m); and photos of one spot have a correlation of 0.1 in differences. The 0.45
# was chosen so that intervals of differences of single runs hold in less than 97 % where errors are
# alike over 30 m.
OF_LEVELS = Expected(0.8)
OF_DIFFERENCES = Expected(0.45, longest=0.25, within=0.5)
OF_TESTS = Expected(0.5)  # of a joint test, which must not find too much


@dataclass(frozen=True)
class Correlation:
    """How far errors are alike, and what that means for a standard error.

    Attributes:
        range_m: distance at which 1/e of the correlation between spots is left; 0 where they are
            more probably independent.
        factor: times the standard error that takes spots for independent.
        freedom: degrees of freedom of that standard error.
    """

    range_m: float
    factor: float
    freedom: float


@dataclass(frozen=True, eq=False)
class Places:
    """The spot of each photo and, where spots may not be independent, its position.

    Attributes:
        spot: by photo.
        position_m: east and north by photo, (p, 2); None where validation photos were drawn at
            random from the ground, so that spots are independent whatever the errors look like.
    """

    spot: NDArray[np.int64]
    position_m: Floats | None = None

    def __getitem__(self, photos: NDArray[np.bool_]) -> Places:
        """Return the places of some photos."""
        return Places(
            self.spot[photos], None if self.position_m is None else self.position_m[photos]
        )

    @one_blas_thread
    def correlation(self, influence: Floats, expected: Expected = OF_TESTS) -> Correlation:
        """Return the correlation of one estimate's influences (g,), or of several (k, g) alike.

        The influences are summed by spot, in ascending order of the spots.
        """
        return self._ground.correlation(np.atleast_2d(influence), expected)

    @cached_property
    def _ground(self) -> _Ground:
        _, index, sizes = np.unique(self.spot, return_inverse=True, return_counts=True)
        if self.position_m is None:
            return _Ground(np.empty((0, 2)), sizes.astype(np.float64))
        centre = [np.bincount(index, axis) / sizes for axis in self.position_m.T]
        return _Ground(np.stack(centre, axis=1), sizes.astype(np.float64))


class _Ground:
    """Positions of spots with the covariances that are tried on them."""

    def __init__(self, position_m: Floats, sizes: Floats) -> None:
        n = len(sizes)
        self.sizes = sizes
        self._measured = np.arange(n)[:: math.ceil(n / MAX_SPOTS)]
        self._meant = np.arange(n)[:: math.ceil(n / MAX_MEANT)]
        self._position_m = position_m
        self._known: dict[float, tuple[Floats, Floats]] = {}

    def correlation(self, influence: Floats, expected: Expected) -> Correlation:
        """Weigh covariances by influences (k, g), and return what they mean on average."""
        independent = _independent(self.sizes, expected.within)
        if len(self._position_m) < MIN_MEASURED:
            return independent
        differ = influence[np.ptp(influence, axis=1) > 0]
        if not len(differ):
            return independent
        means = (differ / self.sizes)[:, self._measured]
        z = stats.norm.ppf((stats.rankdata(means, axis=1) - 0.5) / means.shape[1])
        trend = self._trend
        likelihood = np.concatenate(
            [_likelihoods(z, trend, *self._spectra[0][1:], [0.0])]
            + [
                _likelihoods(z, trend, values, vectors, SHARES)
                for _, values, vectors in self._spectra
            ]
        )
        possible = np.ones(len(RANGE_OF_EACH_M), dtype=np.bool_)
        if math.isfinite(expected.longest):
            longest_m = max(expected.longest * float(self._near_m.max()), RANGES_M[0])
            possible = np.asarray(longest_m >= RANGE_OF_EACH_M)
        weight, even = (_posterior(likelihood, p, possible) for p in (expected.alike, 0.5))
        square, lost = self._meanings(expected.within)
        return Correlation(
            float(even[1:] @ RANGE_OF_EACH_M[1:] / (1 - even[0])) if even[0] < DOUBT else 0.0,
            math.sqrt(float(weight @ square)),
            1 / float(weight @ lost),
        )

    def _distance_m(self, shown: NDArray[np.int64]) -> Floats:
        place = self._position_m[shown]
        return np.asarray(np.hypot(*np.moveaxis(place[:, None] - place, 2, 0)))

    @cached_property
    def _near_m(self) -> Floats:
        """Return the distances between the spots that are measured."""
        return self._distance_m(self._measured)

    @cached_property
    def _trend(self) -> Floats:
        """Return what the errors of any answer that is pulled to the middle grow with."""
        place = self._position_m[self._measured]
        outwards = np.hypot(*(place - place.mean(axis=0)).T)
        level = np.ones_like(outwards)
        if np.ptp(outwards) <= LEAST_TREND * outwards.max():  # as on a circle
            return np.asarray(level[:, None])
        return np.stack([level, outwards], axis=1)

    @cached_property
    def _spectra(self) -> list[tuple[float, Floats, Floats]]:
        """Return each range with the eigenvalues and -vectors of its correlation."""
        return [(r, *np.linalg.eigh(np.exp(-self._near_m / r))) for r in RANGES_M]

    def _meanings(self, within: float) -> tuple[Floats, Floats]:
        """Return the squared factor and 1 / degrees of freedom of every covariance."""
        if within not in self._known:
            sizes, distance_m = self.sizes[self._meant], self._distance_m(self._meant)
            none = _independent(self.sizes, within)
            rows = [(none.factor**2, 1 / none.freedom)]
            for range_m in RANGES_M:
                kernel = np.exp(-distance_m / range_m)
                rows += [_meaning(kernel, share, sizes, within) for share in SHARES]
            square, lost = np.array(rows).T
            self._known[within] = square, lost
        return self._known[within]


def _independent(sizes: Floats, within: float = 1.0) -> Correlation:
    """Return what spots of unequal sizes mean for a standard error if they are independent.

    Few spots with many photos decide more than many with one. The bias of the cluster-robust
    variance and its degrees of freedom are those of Bell & McCaffrey (2002, Survey Methodology
    28(2)), for photos of one spot with the correlation `within`. This is `_meaning` of the unit
    matrix in closed form: the squares are those of diag(v) - part v' - v part' + sum(v) part part'.
    """
    n, part = len(sizes), sizes / sizes.sum()
    if n < 2:
        return Correlation(0.0, 1.0, 1.0)
    v = part**2 * _of_a_mean(sizes, within)  # of each spot's sum
    true, square, together = float(v.sum()), float(part @ part), float(part @ v)
    trace = float(true - 2 * together + true * square)
    squares = float(v @ v) * (1 + 2 * square) + 2 * together**2 + (true * square) ** 2
    squares += 2 * float(true * (v @ part**2) - 2 * (part @ v**2)) - 4 * true * square * together
    factor = math.sqrt(max(true / (trace * n / (n - 1)), 1.0))
    return Correlation(0.0, factor, max(trace**2 / squares, 1.0))


def _of_a_mean(sizes: Floats, within: float) -> Floats:
    """Return the variance of a spot's mean over so many photos, as part of that of one photo."""
    return within + (1 - within) / sizes


def _posterior(likelihood: Floats, prior: float, possible: Bools) -> Floats:
    """Return the probability of each covariance, of which the first is that of independent spots.

    `likelihood` holds log likelihoods; `prior` is the probability of all but the first together, of
    which only some are possible.
    """
    weight = np.zeros(len(likelihood))
    weight[possible] = np.exp(likelihood[possible] - likelihood[possible].max())
    weight[0] *= 1 - prior
    weight[1:] *= prior / (possible.sum() - 1)
    return np.asarray(weight / weight.sum())


def _likelihoods(
    z: Floats, trend: Floats, values: Floats, vectors: Floats, shares: Sequence[float]
) -> Floats:
    """Return the restricted log likelihoods of scores (k, g) about a trend (g, q), for each share.

    `values` and `vectors` are those of the correlation that the share is of.
    """
    share = np.asarray(shares)[:, None]
    precision = 1 / (share * np.maximum(values, 0.0) + 1 - share)  # (shares, g)
    own, known = z @ vectors, vectors.T @ trend
    weighted = precision[..., None] * known
    gram = known.T @ weighted  # (shares, q, q)
    fitted = (own @ weighted) @ np.linalg.solve(
        gram, np.broadcast_to(known.T, (len(share), *known.T.shape))
    )
    squares = (precision[:, None] * (own - fitted) ** 2).sum(axis=2)
    fixed = np.linalg.slogdet(gram)[1] - np.log(precision).sum(axis=1)
    n = len(values) - trend.shape[1]
    return np.asarray(-(fixed + n * np.log(np.maximum(squares, 1e-300)).mean(axis=1)) / 2)


def _meaning(kernel: Floats, share: float, sizes: Floats, within: float) -> tuple[float, float]:
    """Return by what a covariance multiplies the variance that is seen, and 1 / its freedom.

    A share of the variance of a spot's mean falls with distance as the kernel does; the rest is the
    spot's own. What is seen are sums of spots less their share of the mean: diag(sizes)
    (I - 1 sizes' / total).
    """
    n, total = len(sizes), sizes.sum()
    covariance = share * kernel
    covariance[np.diag_indices(n)] += (1 - share) * _of_a_mean(sizes, within)
    with_mean = covariance @ sizes / total
    true = float(sizes @ with_mean * total)
    seen = covariance - with_mean[:, None] - with_mean + true / total**2
    seen *= np.outer(sizes, sizes)
    trace = float(np.trace(seen))
    square = max(true / (trace * n / (n - 1)), 1.0)
    return square, min(float((seen**2).sum()) / trace**2, 1.0)
