"""The luck of a seed: how much the RMSE of a cell differs from run to run.

Cells with several seeds show it; a cell with one seed cannot, and its interval takes the luck of
the study's other cells. The variances of few cells say little, and one run that went astray spoils
their mean. So their median counts, and an assumed luck is added with the weight of a few degrees of
freedom. In our studies the luck is 3 to 4 % of the RMSE; assuming more errs on the safe side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import Floats, Sample

ASSUMED_RELATIVE = 0.06  # of the RMSE
TYPICAL_RELATIVE = 0.035  # what our studies have: to plan with, where erring helps nobody
ASSUMED_FREEDOM = 4.0  # the weight of the assumption beside what cells with several seeds show
ASTRAY = 4.0  # standard deviations above the median run of its cell, a run went astray


@dataclass(frozen=True)
class Luck:
    """How much a run's RMSE differs from seed to seed.

    Attributes:
        relative: standard deviation on all photos that there could be, as part of the RMSE.
        freedom: its degrees of freedom.
        observed: standard deviation on these photos, which contains their noise.
        cells: with several seeds, from which it was estimated.
    """

    relative: float = ASSUMED_RELATIVE
    freedom: float = math.inf
    observed: float = math.inf
    cells: int = 0

    @property
    def expected(self) -> float:
        """`relative`, with the typical luck instead of an assumption on the safe side."""
        if not self.cells:
            return TYPICAL_RELATIVE if self.relative else 0.0
        safety = ASSUMED_RELATIVE**2 - TYPICAL_RELATIVE**2
        return math.sqrt(max(self.relative**2 - ASSUMED_FREEDOM * safety / self.freedom, 0.0))

    @property
    def text(self) -> str:
        """Where the luck comes from, for a note."""
        share = f"{100 * self.relative:.1f} %"
        return f"with the other cells' luck of {share}" if self.cells else f"luck assumed: {share}"


ASSUMED = Luck()
NO_LUCK = Luck(0.0)  # of an answer that no seed changes


def luck_of(error: ArrayLike, spot: ArrayLike | Places) -> Luck:
    """Estimate the luck from all cells of errors (c, s, p) that have several seeds."""
    sample = Sample(error, spot)
    several = np.flatnonzero(sample.n_seeds > 1)
    if not len(several):
        return ASSUMED
    freedom = sample.n_seeds[several] - 1
    between, photos = np.array([run_variances(sample, int(cell)) for cell in several]).T
    # A variance with k degrees of freedom has its median at this part of its mean.
    medians = stats.chi2.median(freedom) / freedom
    observed = float(np.median(between / medians))
    own = max(observed - float(np.median(photos)), 0.0)
    total = float(freedom.sum()) + ASSUMED_FREEDOM
    blended = (freedom.sum() * own + ASSUMED_FREEDOM * ASSUMED_RELATIVE**2) / total
    return Luck(math.sqrt(blended), total, math.sqrt(observed), len(several))


def run_variances(sample: Sample, cell: int) -> tuple[float, float]:
    """Return the variance between a cell's runs, and the part that is only the photos' noise.

    Both are relative to the square of the cell's RMSE.
    """
    rmse = sample.rmse(sample.once)[0, cell, sample.present[cell]]
    sums = sample.sums[cell, sample.present[cell]]
    slope = 1 / (2 * np.maximum(rmse, 1e-9))
    influence = (sums - np.outer(rmse**2, sample.sizes)) * slope[:, None]
    rest = (influence - influence.mean(axis=0)) / sample.n_photos
    factor = sample.n_spots / max(sample.n_spots - 1, 1)
    photos = factor * (rest**2).sum() / (len(rmse) - 1)
    scale = max(float(rmse.mean()), 1e-9) ** 2
    return float(rmse.var(ddof=1)) / scale, float(photos) / scale


def astray(error: ArrayLike, luck: Luck) -> Floats:
    """Return which runs (c, s) are far worse than the median run of their cell."""
    rmse = np.sqrt(np.square(np.asarray(error, dtype=np.float64)).mean(axis=-1))
    middle = np.array([np.median(runs[~np.isnan(runs)]) for runs in rmse])[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(rmse > middle * (1 + ASTRAY * max(luck.observed, luck.relative)))
