"""What a validation set can tell: detectable differences, and photos that would be needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from img2gps.analysis.stats.comparisons import Resamples, resample, se_of_differences
from img2gps.analysis.stats.intervals import Spread, spread_of
from img2gps.analysis.stats.luck import Luck, luck_of, not_hopeless
from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import LEVEL, TINY_M, Bools, Floats, Sample, cell_rmse, ratio
from img2gps.analysis.stats.simulated import LEAST_FACTOR, StudyLike

POWER = 0.80  # the probability with which a detectable difference is detected
DRAWS = 150  # simulated studies; a power of 80 % is then known to 3 points
RESAMPLES = 300  # of each simulated study
MOST_CELLS = 20  # of more, so many are compared, which hardly changes what is detectable
MOST_SE = 12.0  # standard errors of a difference that is surely detected


@dataclass(frozen=True)
class Detectable:
    """The differences that this validation set can show between the best cell and others."""

    median_m: float  # smallest difference detected with the given power, the middle pair
    low_m: float
    high_m: float
    se_photos_m: float  # of the middle pair: the part that more photos make smaller
    n_photos: int


def detectable(
    error: ArrayLike,
    spot: ArrayLike | Places,
    *,
    luck: Luck | None = None,
    solved: ArrayLike | None = None,
    seed: int = 0,
) -> Detectable | None:
    """Return the smallest difference between the best cell and another that would be noticed.

    A cell counts as noticed if it leaves the confidence set, which is the test behind the marks of
    a table. Of two cells, the difference is (t(97.5 %) + t(80 %)) x the standard error of the
    paired difference (Cohen 1988, ch. 2). Of more, studies like this one are drawn in which all
    other cells are worse by as many standard errors, and each is judged by its own resamples.
    Only the better half of the other cells counts, and none that errs more than twice as much as
    the median one, because the errors of cells that went astray are of another kind. None with
    fewer than two spots or two such cells that differ, where the best cell has no error, and where
    spots are so few that no difference would be noticed. `solved` says which cells (c,) no seed
    changes; none by default.
    """
    luck = luck or luck_of(error, spot)
    errors = np.asarray(error, dtype=np.float64)
    seedless = np.zeros(len(errors), dtype=bool) if solved is None else np.asarray(solved)
    rmse = cell_rmse(errors)
    best, *others = rmse.argsort()
    near = not_hopeless(rmse)
    others = [o for o in others if near[o] and not _equal(errors[o], errors[best])]
    perfect = bool(rmse[best] < TINY_M)
    if not others or perfect or Sample(errors, spot).n_spots < 2:
        return None
    others = others[:: math.ceil(len(others) / MOST_CELLS)]
    nearest = others[: math.ceil(len(others) / 2)]
    sign = np.array([1.0, -1.0])
    by_photo = spot.spot if isinstance(spot, Places) else spot
    pairs = [errors[[o, best]] for o in nearest]
    spreads = [spread_of(Sample(pair, spot), sign, luck, wider=True) for pair in pairs]
    if len(others) == 1:
        tails = ((1 + LEVEL) / 2, POWER)
        reach = sum(stats.t.ppf(tail, spreads[0].freedom) for tail in tails)
        found = np.array([float(reach) * spreads[0].total])
    else:
        order = [best, *others]
        studies = _studies_like(errors[order], spot, luck, seedless[order], seed)
        apart_m = np.mean([se_of_differences(study.covariance)[0] for study in studies], axis=0)
        reach = detectable_in(studies, apart_m / rmse[best], len(nearest))
        if math.isinf(reach):
            return None
        found = reach * apart_m[1 : len(nearest) + 1]
        # Drawn spots had no positions. Those of the study may err alike, which luck does not.
        bare = [spread_of(Sample(pair, by_photo), sign, luck, wider=True) for pair in pairs]
        found *= np.array([_reach(one) / _reach(of) for one, of in zip(spreads, bare, strict=True)])
    return Detectable(
        float(np.median(found)),
        float(found.min()),
        float(found.max()),
        float(np.median([spread.se_spots for spread in spreads])),
        errors.shape[2],
    )


def _equal(one: Floats, other: Floats) -> bool:
    """Whether two cells (s, p) err alike on every photo in all their runs, but for rounding."""
    runs = np.concatenate([one, other])
    runs = runs[~np.isnan(runs).any(axis=1)]
    return bool(np.ptp(runs, axis=0).max() < TINY_M)


def _studies_like(
    errors: Floats, places: ArrayLike | Places, luck: Luck, solved: Bools, seed: int
) -> list[Resamples]:
    """Return studies like one whose cells (c, s, p) are made equally good.

    Drawn spots have no positions: what spots that err alike add to a difference comes afterwards.
    """
    rmse = cell_rmse(errors)
    known = StudyLike(errors * (rmse[0] / rmse)[:, None, None], places, luck, solved)
    runs = known.present.sum(axis=1)[~solved]
    seeds = round(float(np.median(runs))) if len(runs) else 1
    rng = np.random.default_rng(seed)
    drawn = (known.draw(rng, errors.shape[2], seeds) for _ in range(DRAWS))
    unseen = None if luck.cells else luck  # a study that shows its luck is judged by what it shows
    return [resample(*study, luck=unseen, n=RESAMPLES) for study in drawn]


def _reach(spread: Spread) -> float:
    """Return half the width of an interval of a difference, in metres."""
    return float(stats.t.ppf((1 + LEVEL) / 2, spread.freedom)) * spread.total


def detectable_in(studies: Sequence[Resamples], worse: Floats, nearest: int) -> float:
    """Return how far cells must be apart for the confidence set to drop the worse ones.

    Args:
        studies: simulated ones whose cells are all equally good. Each is judged by its own
            resamples, as a real one is.
        worse: the part of their RMSE by which cells (c,) get worse with each unit of the result.
            Their uncertainty grows in the same proportion.
        nearest: how many cells after the first one count.

    Returns:
        Units of `worse`; infinity where no difference is noticed, or none needed.
    """
    judged = [(study.estimate, *_limit(study)) for study in studies]
    most = MOST_SE * max(float(se_of_differences(found[1]).max()) for found in judged)
    most /= float((worse[1:] - worse[0]).min() * np.mean([found[0] for found in judged]))

    def missed(units: float) -> float:
        factor = np.maximum(1 + units * worse, LEAST_FACTOR)
        dropped = [
            _dropped(
                estimate * factor, se_of_differences(covariance * np.outer(factor, factor)), limits
            )
            for estimate, covariance, limits in judged
        ]
        return float(np.mean([found[1 : nearest + 1] for found in dropped])) - POWER

    # So few spots that no difference is noticed, or cells that are told apart though equally good,
    # as where a run has no errors.
    if missed(most) < 0 or missed(0.0) > 0:
        return math.inf
    return float(optimize.brentq(missed, 0.0, most, rtol=0.005))


def _limit(study: Resamples) -> tuple[Floats, list[float]]:
    """Return the covariance of the cells' RMSE, and the limits of the confidence set."""
    covariance = study.covariance
    se = se_of_differences(covariance)
    return covariance, _limits(study.deviation, se)


def _limits(deviation: Floats, se: Floats) -> list[float]:
    """Return the largest studentised difference that chance allows among the first 2, 3, ... cells.

    The list begins with two values that stand for no cell and one cell.
    """
    largest = np.zeros(len(deviation))
    found = [math.inf, math.inf]
    for last in range(1, deviation.shape[1]):
        apart = np.abs(deviation[:, last, None] - deviation[:, :last])
        np.maximum(largest, ratio(apart, se[last, :last]).max(axis=1), out=largest)
        found.append(float(np.quantile(largest, LEVEL)))
    return found


def _dropped(estimate: Floats, se: Floats, limits: Sequence[float]) -> Bools:
    """Return which cells (c,) leave the confidence set; its limit depends on how many are left."""
    worst = ratio(estimate[:, None] - estimate, se).max(axis=1)
    kept = len(estimate)
    while kept > 1 and (left := int((worst <= limits[kept]).sum())) < kept:
        kept = left
    return np.asarray(worst > limits[max(kept, 2)])


def photos_needed(difference_m: float, se_photos_m: float, n_photos: int) -> int:
    """Return how many validation photos would tell apart two cells that differ by `difference_m`.

    The seeds' luck is left out. The standard error falls with the square root of the number of
    photos if they come from new spots in the same proportion.

    >>> photos_needed(1.0, 1.0, 100)
    785
    """
    factor = stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(POWER)
    return math.ceil(n_photos * (float(factor) * se_photos_m / difference_m) ** 2)
