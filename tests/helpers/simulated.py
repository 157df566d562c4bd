"""Errors of an imagined validation set, for tests of statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.helpers.fake_study import Noise, draw_errors, draw_photos

Floats = NDArray[np.float64]
NOISE = Noise()


def simulated(
    seed: int, rmse: list[float], seeds: int = 3, n: int = 60, spots: int = 45, noise: Noise = NOISE
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Errors (c, s, p), spots and the mean predictor's errors of one imagined validation set."""
    rng = np.random.default_rng(seed)
    photos = draw_photos(rng, n, spots)
    offsets = draw_errors(rng, photos, rmse, seeds, noise)
    error = np.hypot(offsets[..., 0], offsets[..., 1])
    return error, photos.spot, np.hypot(photos.east, photos.north)
