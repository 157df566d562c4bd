"""Single runs that may have gone astray: how likely that is, and by how much they then err more.

A cell with one run has no other run beside it, so only the other cells can tell. A run that errs
far more than they do is either that of a bad cell or one that went astray, and then errs more by
one of `EXCESS` (a mean shift: Abraham & Box 1978, J. R. Stat. Soc. C 27(2)). What cells otherwise
get is taken to have Student's t on the logarithm, with the middle and the spread of the other
cells, each of which counts for as much as it is likely not to have gone astray. How likely each
excess is then follows from Bayes' theorem.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from img2gps.analysis.stats.luck import not_hopeless
from img2gps.analysis.stats.sample import TINY_M, Bools, Floats

ASSUMED_SHARE = 0.05  # of the runs; among ours, 1 % would be likeliest
EXCESS = np.array([0.0, 0.25, 0.35, 0.5, 0.7, 1.0])  # of a run's RMSE; ours had 0.28 and more
FEWEST = 4  # cells that can tell
LEAST = 0.005  # a lower chance counts as 0, and this much is taken off all others
ROUNDS = 50
NORMAL_MAD = 1 / stats.norm.ppf(0.75)  # a normal's standard deviation / its absolute deviation


def excess_chances(rmse: Floats, alone: Bools, share: Floats, luck: float) -> Floats:
    """Return how likely each cell's run errs by each of `EXCESS` more than usual, (c, e).

    Args:
        rmse: of each cell, in metres, (c,). Those that err far more than most say nothing of the
            others.
        alone: which cells have a single run that may have gone astray, (c,).
        share: of such runs that are expected to, (c,).
        luck: standard deviation of a run, as part of its RMSE; cells lie at least so far apart.
    """
    tell = not_hopeless(rmse) & (rmse > TINY_M)
    if tell.sum() < FEWEST or not alone.any():
        return np.tile(EXCESS == 0, (len(rmse), 1)).astype(np.float64)
    level = np.log(np.maximum(np.nan_to_num(rmse, nan=1.0), TINY_M))  # NaN: no run, no say
    prior = np.tile(np.where(alone, share, 0.0)[:, None] / (len(EXCESS) - 1), len(EXCESS))
    prior[:, 0] = 1 - prior[:, 1:].sum(axis=1)
    middle = np.full((len(rmse), 1), np.median(level[tell]))
    scale = NORMAL_MAD * np.median(np.abs(level[tell] - middle[0]))
    freedom = np.full((len(rmse), 1), tell.sum() - 1.0)
    for _ in range(ROUNDS):
        reach = np.maximum(scale, luck) * np.sqrt(1 + 1 / (freedom + 1))
        away = (level[:, None] - np.log1p(EXCESS) - middle) / reach
        likely = prior * (1 + away**2 / freedom) ** (-(freedom + 1) / 2)
        likely /= likely.sum(axis=1, keepdims=True)
        others = np.where(np.eye(len(rmse)), 0.0, tell * likely[:, 0])
        total = others.sum(axis=1, keepdims=True)
        middle = others @ level[:, None] / total
        freedom = np.maximum(total - 1, 1.0)
        scale = np.sqrt((others * (level - middle) ** 2).sum(axis=1, keepdims=True) / freedom)
    return _without_unlikely(likely)


def _without_unlikely(likely: Floats) -> Floats:
    """Return the chances less those that are as good as none, so that nothing jumps."""
    gone = likely[:, 1:].sum(axis=1, keepdims=True)
    left = np.maximum(gone - LEAST, 0.0) / (1 - LEAST)
    return np.hstack([1 - left, likely[:, 1:] * left / np.maximum(gone, LEAST)])
