"""The average of several cells' answers: its error, and the error to expect of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from img2gps.analysis.stats.intervals import Interval, cell_interval
from img2gps.analysis.stats.luck import NO_LUCK
from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import N_RESAMPLES, TINY_M, Floats, Sample, mean_over_seeds


@dataclass(frozen=True)
class Averaged:
    """The average of the best cells, corrected for having been selected on the same photos.

    Attributes:
        apparent: its RMSE on the photos that selected the cells, in metres.
        corrected: what to expect on other photos drawn like these; NaN with a single spot.
        interval: of `corrected`; None with a single spot.
    """

    apparent: float
    corrected: float
    interval: Interval | None


def average_error_m(away_m: Floats) -> Floats:
    """Return the error (p,) of the mean answer of all runs.

    away_m: how far east and north of the truth each run answers, (2, c, s, p); NaN for no run.
    """
    present = ~np.isnan(away_m).any(axis=(0, 3))
    return np.asarray(np.hypot(*away_m[:, present].mean(axis=1)))


def average_of_best(
    error: ArrayLike,
    away_m: ArrayLike,
    spot: ArrayLike | Places,
    top: int,
    *,
    n: int = N_RESAMPLES,
    seed: int = 0,
) -> Averaged:
    """Return the error to expect of the average of the `top` cells with the lowest RMSE.

    Spots are resampled, the cells are selected again with each resample, and their average is
    scored on the spots left out, as in `selection_corrected`. No allowance is made for the luck of
    the seeds, because the average is made of these very runs.

    In 1,000 simulated studies of nine equally good cells with two seeds, 60 photos and 41 spots,
    the average of the best three seemed 2.8 m better than it was; the corrected figure was off by
    less than 0.1 m, and its interval held the truth in 97 %. Where the cells differed by up to
    20 %, these were 2.0 m, 0.3 m and 95 %.

    Args:
        error: in metres, (c, s, p); NaN where a cell lacks a seed.
        away_m: the same as vectors east and north, (2, c, s, p).
        spot: of each photo.
        top: how many cells are averaged.
        n: resamples.
        seed: of the resamples.
    """
    sample, away = Sample(error, spot), np.asarray(away_m, dtype=np.float64)
    best = _lowest(sample.cell_rmse()[None], top)[0]
    own = cell_interval(average_error_m(away[:, best])[None], spot, luck=NO_LUCK, seed=seed)
    counts = sample.draw(n, seed)
    counts = counts[(counts == 0).any(axis=1)]
    if not len(counts):  # a single spot: nothing is ever left out
        return Averaged(own.estimate, math.nan, None)
    chosen = _lowest(mean_over_seeds(sample.rmse(counts)), top)
    sets, of_resample = np.unique(chosen, axis=0, return_inverse=True)
    by_spot = Sample(np.stack([average_error_m(away[:, cells]) for cells in sets])[:, None], spot)
    left_out = (counts == 0).astype(np.float64)
    squares = float((left_out * by_spot.sums[of_resample, 0]).sum())
    corrected = math.sqrt(squares / float((left_out @ sample.sizes).sum()))
    if own.estimate < TINY_M:
        return Averaged(own.estimate, corrected, None)
    factor = corrected / own.estimate
    interval = replace(
        own,
        estimate=corrected,
        low=own.low * factor,
        high=own.high * factor,
        se_photos=own.se_photos * factor,
    )
    return Averaged(own.estimate, corrected, interval)


def _lowest(rmse: Floats, top: int) -> Floats:
    """Return the indices (r, top) of the lowest of the cells (r, c), in ascending order."""
    return np.sort(rmse.argsort(axis=1, kind="stable")[:, :top], axis=1)
