"""How low an RMSE can be, given the labels' own noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

STATED = 0.68  # share of fixes within the accuracy that receivers state
ENOUGH = 0.5  # share of the photos that must state an accuracy


def label_floor_m(gps_error_m: ArrayLike) -> float:
    """Return the RMSE that a perfect answer gets against labels with stated accuracies, in metres.

    A receiver states the radius that holds 68 % of its fixes. For errors that are normal in east
    and north, that is sqrt(-2 ln 0.32) standard deviations of one axis, and the RMSE is sqrt(2) of
    them. NaN where fewer than half the photos state an accuracy.

    >>> round(label_floor_m([5.0, 5.0, float("nan")]), 2)
    4.68
    """
    radius = np.asarray(gps_error_m, dtype=np.float64)
    stated = radius[np.isfinite(radius) & (radius > 0)]
    if len(stated) < ENOUGH * max(len(radius), 1):
        return math.nan
    axis_m = np.sqrt(np.mean(stated**2)) / math.sqrt(-2 * math.log(1 - STATED))
    return float(math.sqrt(2) * axis_m)
