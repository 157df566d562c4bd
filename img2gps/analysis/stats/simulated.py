"""Simulated studies that are drawn from the runs of a real one.

A simulated study draws spots with all their photos. On each spot, the new runs take turns with the
runs that the cell has, in an order of its own, so that what differs between seeds on one spot
differs between new seeds, too. Each new run is then as lucky or unlucky as a whole as the study's
runs are. Before that, spots are set further apart, because few of them vary less than new ones;
and where more runs are drawn than a cell has, what sets it apart from the other cells on a spot is
made smaller, because a part of that comes from its few runs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from img2gps.analysis.stats.luck import Luck, luck_of
from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import Bools, Floats, ratio

Ints = NDArray[np.int64]

LEAST_FACTOR = 0.05  # part of a cell's RMSE that is left, however much better it is made
LEAST = 0.05  # part of a spot's mean square that is left, however far spots are set apart


class StudyLike:
    """Draws studies like one whose errors (c, s, p) are known; its RMSE count as the truth."""

    def __init__(
        self,
        error: ArrayLike,
        places: ArrayLike | Places,
        luck: Luck | None = None,
        solved: ArrayLike | None = None,
    ) -> None:
        """Take a study apart into spots, runs of equal level and the luck of a run.

        `solved` says which cells (c,) no seed changes: their drawn runs are equal, and at least
        two, so that they are seen to be. None by default.
        """
        self.error = np.asarray(error, dtype=np.float64)
        spot = places.spot if isinstance(places, Places) else np.asarray(places)
        _, index = np.unique(spot, return_inverse=True)
        self.photos = [np.flatnonzero(index == group) for group in range(index.max() + 1)]
        self.present: Bools = np.asarray(~np.isnan(self.error).any(axis=2))
        self.luck = luck or luck_of(error, places)
        none = np.zeros(len(self.error), dtype=bool)
        self.solved: Bools = none if solved is None else np.asarray(solved, dtype=np.bool_)
        # The mean over a cell's runs has the RMSE of the cell; drawn runs then have it, too.
        rmse = np.sqrt((self.error**2).mean(axis=2))  # NaN where a run is missing
        self.level = ratio(np.nanmean(rmse, axis=1)[:, None], rmse)

    def draw(self, rng: np.random.Generator, n_photos: int, seeds: int) -> tuple[Floats, Ints]:
        """Return errors (c, seeds, p) and spots of a study with about so many photos.

        Where some cells are solved, there are at least two rows of seeds; NaN is no run.
        """
        n_spots = max(round(n_photos * len(self.photos) / self.error.shape[2]), 2)
        spots = rng.integers(len(self.photos), size=n_spots)
        photo = np.concatenate([self.photos[spot] for spot in spots])
        spot = np.repeat(np.arange(n_spots), [len(self.photos[spot]) for spot in spots])
        cells, factor = len(self.error), self._as_new(seeds)
        rows = max(seeds, 2) if self.solved.any() else seeds
        drawn = np.full((cells, rows, len(photo)), np.nan)
        spread = self.luck.relative / math.hypot(1, self.luck.relative)
        for cell in range(cells):
            runs = np.flatnonzero(self.present[cell])
            if self.solved[cell]:
                drawn[cell] = (self.error[cell, runs[0]] * factor[cell])[photo]
                continue
            turns = np.resize(runs, (n_spots, math.ceil(seeds / len(runs)) * len(runs)))
            chosen = rng.permuted(turns, axis=1)[:, :seeds].T[:, spot]
            levelled = self.error[cell] * self.level[cell][:, None] * factor[cell]
            drawn[cell, :seeds] = levelled[chosen, photo] * np.abs(
                1 + spread * rng.standard_normal((seeds, 1))
            )
        return drawn, spot

    def _as_new(self, seeds: int) -> Floats:
        """Return what multiplies each cell's errors (c, p), so that they vary as new ones do.

        Spots that are drawn from few spots vary less than new ones, and a mean over more runs than
        a cell has varies less than the mean that is known (`_steadier`).
        """
        square = (self.error * self.level[..., None]) ** 2
        square = ratio(square, np.nanmean(square, axis=(1, 2), keepdims=True))
        by_spot = np.stack([square[..., photos].mean(axis=2) for photos in self.photos], axis=2)
        sizes = np.array([len(photos) for photos in self.photos], dtype=np.float64)
        wider = Places(np.repeat(np.arange(len(sizes)), sizes.astype(int))).correlation(sizes)
        reach = wider.factor * math.sqrt(len(sizes) / max(len(sizes) - 1, 1))
        mean = np.nanmean(by_spot, axis=1)  # (c, g)
        wanted = 1 + reach * (self._steadier(by_spot, mean, sizes, seeds) - 1)
        factor = np.sqrt(ratio(np.maximum(wanted, LEAST * mean), mean))
        by_photo = np.empty((len(factor), self.error.shape[2]))
        for spot, photos in enumerate(self.photos):
            by_photo[:, photos] = factor[:, [spot]]
        return by_photo

    def _steadier(self, by_spot: Floats, mean: Floats, sizes: Floats, seeds: int) -> Floats:
        """Return what the cells' means on each spot (c, g) are expected to be with more runs.

        The variance of what sets a cell apart on a spot is that of the cell itself and that of its
        runs, divided by their number. The latter is known from cells with several runs.
        """
        runs = np.where(self.solved, math.inf, self.present.sum(axis=1))
        several = (runs > 1) & ~self.solved
        if len(runs) < 2 or not several.any() or seeds <= runs.min():
            return mean
        common = mean.mean(axis=0)
        weight = sizes**2
        of_runs = float((np.nanvar(by_spot[several], axis=1, ddof=1) @ weight).mean())
        seen = float(mean.var(axis=0, ddof=1) @ weight)
        of_cells = max(seen - of_runs * float((1 / runs).mean()), 0.0)
        wanted, has = (of_cells + of_runs / n for n in (np.maximum(runs, seeds), runs))
        scale = np.where(self.solved, 1.0, np.sqrt(ratio(wanted, has)))
        return np.asarray(common + scale[:, None] * (mean - common))
