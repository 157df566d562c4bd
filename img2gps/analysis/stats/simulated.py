"""Simulated studies that are drawn from the runs of a real one.

A simulated study draws spots with all their photos. On each spot, the new runs take turns with the
runs that the cell has, in an order of its own, so that what differs between seeds on one spot
differs between new seeds, too. Each new run is then as lucky or unlucky as a whole as the study's
runs are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from img2gps.analysis.stats.luck import Luck, luck_of
from img2gps.analysis.stats.places import Places
from img2gps.analysis.stats.sample import Bools, Floats

Ints = NDArray[np.int64]


class StudyLike:
    """Draws studies like one whose errors (c, s, p) are known; its RMSE count as the truth."""

    def __init__(
        self, error: ArrayLike, places: ArrayLike | Places, luck: Luck | None = None
    ) -> None:
        """Take a study apart into spots, runs of equal level and the luck of a run."""
        self.error = np.asarray(error, dtype=np.float64)
        spot = places.spot if isinstance(places, Places) else np.asarray(places)
        _, index = np.unique(spot, return_inverse=True)
        self.photos = [np.flatnonzero(index == group) for group in range(index.max() + 1)]
        self.present: Bools = np.asarray(~np.isnan(self.error).any(axis=2))
        self.luck = luck or luck_of(error, places)
        # The mean over a cell's runs has the RMSE of the cell; drawn runs then have it, too.
        rmse = np.sqrt((self.error**2).mean(axis=2))  # NaN where a run is missing
        self.level = np.nanmean(rmse, axis=1)[:, None] / rmse

    def draw(self, rng: np.random.Generator, n_photos: int, seeds: int) -> tuple[Floats, Ints]:
        """Return errors (c, seeds, p) and spots of a study with about so many photos."""
        n_spots = max(round(n_photos * len(self.photos) / self.error.shape[2]), 2)
        spots = rng.integers(len(self.photos), size=n_spots)
        photo = np.concatenate([self.photos[spot] for spot in spots])
        spot = np.repeat(np.arange(n_spots), [len(self.photos[spot]) for spot in spots])
        cells = len(self.error)
        drawn = np.empty((cells, seeds, len(photo)))
        spread = self.luck.relative / math.hypot(1, self.luck.relative)
        for cell in range(cells):
            runs = np.flatnonzero(self.present[cell])
            turns = np.resize(runs, (n_spots, math.ceil(seeds / len(runs)) * len(runs)))
            chosen = rng.permuted(turns, axis=1)[:, :seeds].T[:, spot]
            levelled = (self.error[cell] * self.level[cell][:, None])[chosen, photo]
            drawn[cell] = levelled * np.abs(1 + spread * rng.standard_normal((seeds, 1)))
        return drawn, spot
