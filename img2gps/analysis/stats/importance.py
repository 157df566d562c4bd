"""Which axis of a grid explains the differences between its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import LEVEL, Floats, Sample, mean_over_seeds


@dataclass(frozen=True)
class Effect:
    """The share of the variance between all runs that an axis, or several together, explain."""

    axes: tuple[str, ...]  # () stands for the seeds
    share: float  # of the variance between these runs (eta squared)
    low: float  # interval of `share` over resampled spots; the seeds' luck is not in it
    high: float
    omega: float = math.nan  # share to expect of other runs (omega squared); NaN of one seed
    p_value: float = math.nan  # of no effect, by F against the variance between seeds


def importance(
    error: ArrayLike,
    spot: ArrayLike | Places,
    axes: Mapping[str, int],
    *,
    n: int = 500,
    seed: int = 0,
) -> list[Effect]:
    """Return the analysis of variance of the runs' RMSE on a full grid.

    The cells of `error` (c, s, p) are in row-major order of the axes, which are given with their
    numbers of values.

    The shares of main effects, two-way interactions, higher ones (together) and seeds sum to 1
    (fixed-effects ANOVA; eta squared in Cohen 1988, ch. 8). Eta squared is flattered, because luck
    alone gives every effect a share; omega squared takes that away (Hays 1963). The F tests take
    the runs' luck as the noise, so they hold for these photos. Axes with one value are left out. So
    are the seeds where a cell has only one; then the shares are those of the cells' means, and all
    of them contain the seeds' luck. Intervals are percentiles over resampled spots.

    Raises:
        ValueError: the cells are not a full grid, or one has no run.
    """
    sample = Sample(error, spot)
    shape = tuple(axes.values())
    if math.prod(shape) != len(sample.n_seeds) or (sample.n_seeds == 0).any():
        raise ValueError("analysis of variance needs every cell of a full grid")
    counts = sample.draw(n, seed)
    rmse = sample.rmse(np.concatenate([sample.once, counts]))
    mean = mean_over_seeds(rmse)
    seeded = bool((sample.n_seeds > 1).all())
    within = mean_over_seeds((rmse - mean[..., None]) ** 2).mean(axis=1) * seeded
    grid = mean.reshape(-1, *shape)
    between = mean.var(axis=1)
    total = np.maximum(between + within, 1e-30)
    dims = {name: i + 1 for i, name in enumerate(axes) if axes[name] > 1}
    parts: dict[tuple[str, ...], Floats] = {}
    for size in (1, 2):
        for names in combinations(dims, size):
            others = tuple(i for i in range(1, grid.ndim) if i not in {dims[a] for a in names})
            share = grid.mean(axis=others).reshape(len(grid), -1).var(axis=1)
            below = [parts[(name,)] for name in names] if size == 2 else []
            parts[names] = share - sum(below, np.zeros(len(grid)))
    if len(dims) > 2:
        parts[tuple(dims)] = between - sum(parts.values(), np.zeros(len(grid)))
    noise = math.nan  # mean square between the runs of a cell
    if seeded:
        parts[()] = within
        squares = np.nansum((rmse[0] - mean[0, :, None]) ** 2)
        noise = float(squares) / int((sample.n_seeds - 1).sum())
    effects = []
    for names, part in parts.items():
        share = np.clip(part / total, 0.0, 1.0)
        low, high = np.quantile(share[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        if sample.n_spots < 2:
            low = high = math.nan
        tested = (math.nan, math.nan)
        if names and seeded:
            freedom = _freedom(names, tuple(dims), axes)
            tested = _tested(float(part[0]), freedom, float(total[0]), noise, sample.n_seeds)
        effects.append(Effect(names, float(share[0]), float(low), float(high), *tested))
    return effects


def _freedom(names: tuple[str, ...], dims: tuple[str, ...], axes: Mapping[str, int]) -> int:
    """Return the degrees of freedom of an effect; all interactions above two go together."""
    own = math.prod(axes[name] - 1 for name in names)
    if len(names) < 3:
        return own
    lower = (combo for size in (1, 2) for combo in combinations(dims, size))
    below = sum(math.prod(axes[name] - 1 for name in combo) for combo in lower)
    return math.prod(axes[name] for name in dims) - 1 - below


def _tested(
    part: float, freedom: int, total: float, noise: float, n_seeds: NDArray[np.int64]
) -> tuple[float, float]:
    """Return omega squared and the p value of an effect, as of a balanced grid.

    `part` and `total` are variances with n in the denominator, `noise` is the mean square between
    the runs of a cell. An effect on the means of cells with different numbers of seeds counts as
    often as their harmonic mean says (unweighted means: Winer 1971, ch. 5).
    """
    if noise <= 0:
        return math.nan, math.nan
    runs = len(n_seeds) * float(stats.hmean(n_seeds))
    squares = runs * part
    left = int((n_seeds - 1).sum())
    p_value = float(stats.f.sf(squares / freedom / noise, freedom, left))
    omega = (squares - freedom * noise) / (runs * total + noise)
    return max(omega, 0.0), p_value
