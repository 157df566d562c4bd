"""The power of a study with other numbers of photos and seeds, by simulation from its own errors.

Each simulated study (simulated.py) has a luck of its own, as likely as what is known of it, and is
judged by the same test as a real one. Drawn spots have no positions. Where errors of real ones are
alike over more than a spot, standard errors are larger by a factor, and to detect a difference is
as hard as to detect one that is smaller by that factor among independent spots. So it is made
smaller, and photos are taken to be added with their ground.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.comparisons import confidence_set, resample, widening
from img2gps.analysis.stats.intervals import estimates, spread_of
from img2gps.analysis.stats.luck import ASSUMED, Luck, luck_of, seed_variances
from img2gps.analysis.stats.places import OF_DIFFERENCES, Expected, Places
from img2gps.analysis.stats.sample import LEVEL, Floats, Sample, cell_rmse, ratio
from img2gps.analysis.stats.simulated import Ints, StudyLike

SIMULATIONS = 200  # a power of 80 % is then known to 3 points
RESAMPLES = 300  # of a joint test in a simulated study

# From errors (c, s, p), spots (p,) and luck to whether the question is answered.
Test = Callable[[Floats, Ints, Luck], bool]


@dataclass(frozen=True)
class Power:
    """The probability that a study of so many photos and seeds answers the question."""

    photos: int
    seeds: int
    power: float


def first_is_lower(error: Floats, spot: Ints | Places, luck: Luck) -> bool:
    """Return whether the first of two cells is shown to have the lower RMSE."""
    sample, sign = Sample(error, spot), np.array([1.0, -1.0])
    estimate = float(estimates(sample, sign, sample.once)[0][0])
    spread = spread_of(sample, sign, luck)
    return estimate + float(stats.t.ppf((1 + LEVEL) / 2, spread.freedom)) * spread.total < 0


def first_wins_alone(error: Floats, spot: Ints, luck: Luck) -> bool:
    """Return whether the first cell is the only one in the confidence set.

    Cells with one run get no marks, so nothing is answered with one seed.
    """
    if (~np.isnan(error).any(axis=2)).sum(axis=1).min() < 2:
        return False
    marked = confidence_set(resample(error, spot, luck=luck, n=RESAMPLES)).marked
    return bool(marked[0] and marked.sum() == 1)


def simulated_power(
    error: ArrayLike,
    places: ArrayLike | Places,
    test: Test,
    photos: Sequence[int],
    seeds: Sequence[int],
    *,
    others: Luck = ASSUMED,
    solved: ArrayLike | None = None,
    expected: Expected = OF_DIFFERENCES,
    simulations: int = SIMULATIONS,
    seed: int = 0,
) -> list[Power]:
    """Return the power of a test for all numbers of photos and seeds.

    Args:
        error: of the cells (c, s, p), as the study has them; their RMSE is taken for the truth.
        places: of the photos.
        test: what is asked.
        photos: numbers of validation photos; spots come in proportion.
        seeds: numbers of runs of each cell.
        others: the luck that the study's other cells show; the typical luck if there are none.
        solved: which cells (c,) no seed changes; none by default.
        expected: of spots, by the test of the report; for `first_wins_alone`, `OF_TESTS`.
        simulations: studies that are drawn for each pair of numbers.
        seed: of the draws.
    """
    errors = np.asarray(error, dtype=np.float64)
    trained = np.ones(len(errors), bool) if solved is None else ~np.asarray(solved, dtype=np.bool_)
    shown = luck_of(errors[trained], places, others) if trained.any() else others
    found = []
    for n in photos:
        for k in seeds:
            nearer = _nearer(errors, places, shown, n, k, expected)
            known = StudyLike(nearer, places, shown, ~trained)
            rng = np.random.default_rng([seed, n, k])
            answered = 0
            for _ in range(simulations):
                drawn, spot = known.draw(rng, n, k, float(known.luck.drawn(rng)[0]))
                answered += test(drawn, spot, luck_of(drawn, spot, others))
            found.append(Power(n, k, answered / simulations))
    return found


def _nearer(
    errors: Floats,
    places: ArrayLike | Places,
    luck: Luck,
    photos: int,
    seeds: int,
    expected: Expected,
) -> Floats:
    """Return the errors (c, s, p) with all cells nearer to the first, as spots that err alike need.

    The factor is that of the standard error of a difference on so many photos with so many seeds,
    for the middle one of the other cells. Luck is not larger where spots err alike.
    """
    if not isinstance(places, Places) or places.position_m is None:
        return errors
    wider = widening(Sample(errors, places), expected)
    wider /= widening(Sample(errors, places.spot), expected)
    sign, parts = np.array([1.0, -1.0]), []
    for other in range(1, len(errors)):
        pair = Sample(errors[[0, other]], places.spot)
        spots = spread_of(pair, sign, luck).se_spots ** 2 * pair.n_photos / photos
        runs = float((pair.n_seeds * seed_variances(pair, luck).variance).sum()) / seeds
        parts.append((wider**2 * spots + runs) / (spots + runs) if spots + runs else 1.0)
    factor = math.sqrt(float(np.median(parts))) if parts else 1.0
    rmse = cell_rmse(errors)
    nearer = rmse[0] + (rmse - rmse[0]) / factor
    return np.asarray(errors * ratio(nearer, rmse)[:, None, None])


def with_difference(error: ArrayLike, metres: float) -> Floats:
    """Return the errors of two cells, the second one scaled to be worse by so many metres."""
    errors = np.array(error, dtype=np.float64)
    first, second = cell_rmse(errors)
    errors[1] *= (first + metres) / second
    return errors
