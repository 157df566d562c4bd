"""Which axis of a grid explains the differences between its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import LEVEL, Floats, Sample, mean_over_seeds


@dataclass(frozen=True)
class Effect:
    """The share of the variance between all runs that an axis, or several together, explain."""

    axes: tuple[str, ...]  # () stands for the seeds
    share: float
    low: float  # interval over resampled spots
    high: float


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
    (fixed-effects ANOVA; eta squared in Cohen 1988, ch. 8). Axes with one value are left out. So
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
    if seeded:
        parts[()] = within
    effects = []
    for names, part in parts.items():
        share = np.clip(part / total, 0.0, 1.0)
        low, high = np.quantile(share[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        effects.append(Effect(names, float(share[0]), float(low), float(high)))
    return effects
