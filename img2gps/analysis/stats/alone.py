"""Single runs that may have gone astray: how likely that is, and by how much they then err more.

A cell with one run has no other run beside it, so only the other cells can tell. The logarithms of
the cells' RMSE are taken to have a normal distribution, but for bad cells, which err more by one of
`BAD`, and runs that went astray, which err more by one of `EXCESS` (a mean shift: Abraham & Box
1978, J. R. Stat. Soc. C 27(2)). The middle, the spread and the share of bad cells are unknown, so
everything that the cells at hand make likely is averaged (Box & Tiao 1968, Biometrika 55(1)). The
more cells lie far above the others, the more probably they are bad, because few runs go astray.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from img2gps.analysis.stats.sample import TINY_M, Bools, Floats

SHARE = 0.05  # of the runs; of ours below `results/`, 7 of 811 went astray
EXCESS = np.array([0.0, 0.25, 0.35, 0.5, 0.7, 1.0])  # of a run's RMSE; ours had 0.28 and more
BAD = np.array([0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0])  # of a cell's
SHARES_BAD = np.array([0.05, 0.1, 0.2, 0.3])  # of the cells, equally likely beforehand
FEWEST = 4  # cells that can tell
MIDDLES = np.linspace(0.1, 0.9, 17)  # quantiles of the cells at which the middle may lie
SPREADS = np.geomspace(0.03, 0.4, 12)  # of the logarithms; runs alone spread by 3 %
TINIEST = np.finfo(np.float64).tiny


def excess_chances(rmse: Floats, alone: Bools) -> Floats:
    """Return how likely each cell's run errs by each of `EXCESS` more than usual, (c, e).

    Only what is more likely than it was beforehand counts.

    Args:
        rmse: of each cell, in metres, (c,); NaN for a cell without a run.
        alone: which cells have a single run that may have gone astray, (c,).
    """
    chances = np.tile(EXCESS == 0, (len(rmse), 1)).astype(np.float64)
    tell = np.flatnonzero(rmse > TINY_M)
    if len(tell) < FEWEST or not alone[tell].any():
        return chances
    level = np.log(rmse[tell])
    level = np.minimum(level, np.median(level) + np.log1p(BAD[-1]))
    grid = np.meshgrid(np.quantile(level, MIDDLES), SPREADS, SHARES_BAD, indexing="ij")
    middle, spread, bad = (axis.ravel()[:, None] for axis in grid)  # (g, 1)
    astray = np.where(alone[tell], SHARE, 0.0)

    def density(shift: ArrayLike) -> Floats:
        away = (level - middle - np.log1p(shift)) / spread
        return np.asarray(np.exp(-(away**2) / 2) / spread)  # (g, c)

    usual = (1 - bad) * (1 - astray) * density(0.0)
    usual += bad * (1 - astray) * sum(density(shift) for shift in BAD) / len(BAD)
    gone = np.stack([astray * density(shift) for shift in EXCESS[1:]], axis=-1)
    gone /= len(EXCESS) - 1
    total = np.maximum(usual + gone.sum(axis=-1), TINIEST)  # (g, c)
    fits = np.log(total).sum(axis=1)
    weight = np.exp(fits - fits.max())
    found = np.einsum("g,gce->ce", weight / weight.sum(), gone / total[..., None])
    all_gone = found.sum(axis=1, keepdims=True)
    beyond = np.maximum(all_gone - SHARE, 0.0) / (1 - SHARE)
    chances[tell] = np.hstack([1 - beyond, found * beyond / np.maximum(all_gone, SHARE)])
    return chances
