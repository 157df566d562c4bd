"""The power of a study with other numbers of photos and seeds, by simulation from its own errors.

Simulated studies (simulated.py) are judged by the same test as real ones. How large the noise is, a
study knows only roughly (noise.py). With a standard error twice as large, a difference is as hard
to see as half of it is now, so the middle and both ends of what the noise may be are tried by
making differences smaller or larger. Spots that err alike are noise, too: drawn spots have no
positions, and photos are taken to be added with their ground.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.comparisons import confidence_set, resample
from img2gps.analysis.stats.intervals import estimates, spread_of
from img2gps.analysis.stats.luck import ASSUMED, TYPICAL, Luck, luck_of
from img2gps.analysis.stats.noise import noises_of
from img2gps.analysis.stats.places import OF_DIFFERENCES, Expected, Places
from img2gps.analysis.stats.sample import LEVEL, Floats, Sample, cell_rmse, ratio
from img2gps.analysis.stats.simulated import LEAST_FACTOR, Ints, StudyLike
from img2gps.core.progress import watched

SIMULATIONS = 200  # a power of 80 % is then known to 3 points
RESAMPLES = 300  # of a joint test in a simulated study
# Of the typical luck beside a pilot's own, where no other cell shows any. With the weight that it
# has in a report, pilots of two cells stated too much where luck is larger than it. This one was
# chosen on the rows of benchmarks/power.py that measure it.
PLANNED_FREEDOM = 1.0

# From errors (c, s, p), spots (p,) and luck to whether the question is answered.
Test = Callable[[Floats, Ints, Luck], bool]


@dataclass(frozen=True)
class Power:
    """The probability that a study of so many photos and seeds answers the question.

    Attributes:
        photos: of the study.
        seeds: of each of its cells.
        power: with the difference as it is known, and the middle one of the noises that are
            possible.
        low: lower end of its range, because the known study shows noise and difference only
            roughly; 0 where it has too few spots to show how roughly.
        high: upper end; 1 there.
    """

    photos: int
    seeds: int
    power: float
    low: float
    high: float


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
    observed: bool = False,
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
        others: the luck that the study's other cells show; the assumed luck if there are none.
        solved: which cells (c,) no seed changes; none by default.
        expected: of spots, by the test of the report; for `first_wins_alone`, `OF_TESTS`.
        observed: whether the cells differ as the study shows, which is uncertain, and not as given.
        simulations: studies that are drawn for each pair of numbers.
        seed: of the draws.
    """
    errors = np.asarray(error, dtype=np.float64)
    trained = np.ones(len(errors), bool) if solved is None else ~np.asarray(solved, dtype=np.bool_)
    shown = _planned_luck(errors[trained], places, others) if trained.any() else others
    noises = noises_of(errors, places, shown, expected, trained, observed=observed)
    known, rmse = StudyLike(errors, places, shown, ~trained), cell_rmse(errors)
    measured = all(noise.measured for noise in noises)
    found = []
    asked = list(itertools.product(photos, seeds))
    for n, k in watched(asked, len(asked), "simulating studies"):
        apart_m = np.array([np.zeros(3), *(noise.differences(n, k) for noise in noises)])
        scales = np.maximum(ratio(rmse[0] + apart_m.T, rmse), LEAST_FACTOR)[..., None, None]
        rng = np.random.default_rng([seed, n, k])
        answered = np.zeros(3)
        for _ in range(simulations):
            drawn, spot = known.draw(rng, n, k)
            luck = luck_of(drawn, spot, others)  # relative, so the same for all scales
            answered += _answers(test, [drawn * scale for scale in scales], spot, luck)
        power, low, high = (float(share) for share in answered / simulations)
        found.append(Power(n, k, power, *((low, high) if measured else (0.0, 1.0))))
    return found


def _planned_luck(error: Floats, places: ArrayLike | Places, others: Luck) -> Luck:
    """Return the luck that planned studies have: what these cells and the others show, if any.

    Where no other cell shows luck, its middle leans less on the typical one than in a report. It is
    known as surely as there.
    """
    reported = luck_of(error, places, others)
    if others.cells or not reported.cells:
        return reported
    before = TYPICAL if others == ASSUMED else others
    own = luck_of(error, places, replace(before, freedom=PLANNED_FREEDOM))
    return replace(own, freedom=reported.freedom)


def _answers(test: Test, studies: Sequence[Floats], spot: Ints, luck: Luck) -> list[bool]:
    """Return whether a test answers with the middle, the smaller and the larger difference.

    A larger difference is taken to be found where a smaller one is.
    """
    middle, smaller, larger = studies
    if test(middle, spot, luck):
        return [True, test(smaller, spot, luck), True]
    return [False, False, test(larger, spot, luck)]


def with_difference(error: ArrayLike, metres: float) -> Floats:
    """Return the errors of two cells, the second one scaled to be worse by so many metres."""
    errors = np.array(error, dtype=np.float64)
    first, second = cell_rmse(errors)
    errors[1] *= (first + metres) / second
    return errors
