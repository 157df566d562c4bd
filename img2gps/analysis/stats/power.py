"""The power of a study with other numbers of photos and seeds, by simulation from its own errors.

Simulated studies (simulated.py) are judged by the same test as real ones. How large the noise is, a
study knows only roughly (noise.py). To detect a difference in twice the noise is as hard as to
detect half of it, so the middle and both ends of what the noise may be are tried by making the
difference smaller or larger. Spots that err alike are noise, too: drawn spots have no positions,
and photos are taken to be added with their ground.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.comparisons import confidence_set, resample
from img2gps.analysis.stats.intervals import estimates, spread_of
from img2gps.analysis.stats.luck import ASSUMED, Luck, luck_of
from img2gps.analysis.stats.noise import noises_of
from img2gps.analysis.stats.places import OF_DIFFERENCES, Expected, Places
from img2gps.analysis.stats.sample import LEVEL, Floats, Sample, cell_rmse, ratio
from img2gps.analysis.stats.simulated import Ints, StudyLike

SIMULATIONS = 200  # a power of 80 % is then known to 3 points
RESAMPLES = 300  # of a joint test in a simulated study
TAILS = (0.5, 0.95, 0.05)  # probabilities of less noise, for the power and its lower and upper end

# From errors (c, s, p), spots (p,) and luck to whether the question is answered.
Test = Callable[[Floats, Ints, Luck], bool]


@dataclass(frozen=True)
class Power:
    """The probability that a study of so many photos and seeds answers the question.

    Attributes:
        photos: of the study.
        seeds: of each of its cells.
        power: with the noise that is in the middle of what is possible.
        low: lower end of its 90 % range, because the known study shows the noise only roughly.
        high: upper end.
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
    noises = noises_of(errors, places, shown, expected)
    known, rmse = StudyLike(errors, places, shown, ~trained), cell_rmse(errors)
    found = []
    for n in photos:
        for k in seeds:
            factors = np.median([noise.nearer(n, k, TAILS) for noise in noises], axis=0)
            scales = [ratio(rmse[0] + (rmse - rmse[0]) * factor, rmse) for factor in factors]
            rng = np.random.default_rng([seed, n, k])
            answered = np.zeros(len(TAILS))
            for _ in range(simulations):
                drawn, spot = known.draw(rng, n, k)
                scaled = [drawn * scale[:, None, None] for scale in scales]
                answered += _answers(test, scaled, spot, others)
            found.append(Power(n, k, *(float(share) for share in answered / simulations)))
    return found


def _answers(test: Test, studies: Sequence[Floats], spot: Ints, others: Luck) -> list[bool]:
    """Return whether a test answers with middle, more and less noise.

    What more noise does not hide, less noise does not hide either.
    """
    middle, more, less = studies
    if test(middle, spot, luck_of(middle, spot, others)):
        return [True, test(more, spot, luck_of(more, spot, others)), True]
    return [False, False, test(less, spot, luck_of(less, spot, others))]


def with_difference(error: ArrayLike, metres: float) -> Floats:
    """Return the errors of two cells, the second one scaled to be worse by so many metres."""
    errors = np.array(error, dtype=np.float64)
    first, second = cell_rmse(errors)
    errors[1] *= (first + metres) / second
    return errors
