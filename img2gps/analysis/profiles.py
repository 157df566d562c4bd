"""Error profiles: the share of photos that each cell places within so many metres."""

from __future__ import annotations

import numpy as np
import pandas as pd

from img2gps.analysis import stats
from img2gps.analysis.scene import Scene

STEPS = 60
FARTHEST = 0.99  # quantile of the mean predictor's errors at which profiles end
MEAN = "mean predictor"


def profiles(scene: Scene) -> pd.DataFrame:
    """Return the error profiles of all cells and of the mean predictor, the lowest RMSE first.

    Rows are `label, half_m, at_m, share, low, high`; with 95 % probability the band from `low` to
    `high` holds a cell's whole profile. The seeds' luck is not in it. `half_m` is the distance
    within which half of the photos are. Empty where nothing has finished.
    """
    columns = ["label", "half_m", "at_m", "share", "low", "high"]
    if scene.errors is None:
        return pd.DataFrame(columns=columns)
    errors = scene.errors
    of_mean = errors.baseline_error_m["mean"][errors.cells.index(str(scene.winner))]
    at = np.linspace(0, float(np.quantile(of_mean, FARTHEST)), STEPS + 1)
    ranked = scene.finished.sort_values("rmse_m")
    lines = {
        label: errors.error_m[errors.cells.index(cell)]
        for cell, label in zip(ranked["cell"], ranked["label"], strict=True)
    }
    lines[MEAN] = of_mean[None]
    found = []
    for label, own in lines.items():
        profile = stats.profile(own, errors.places, at)
        drawn = zip(profile.at_m, profile.share, profile.low, profile.high, strict=True)
        found += [(label, float(np.nanmedian(own)), *row) for row in drawn]
    return pd.DataFrame(found, columns=columns)
