"""Draw the winners of several studies side by side."""

from __future__ import annotations

import math

import pandas as pd

from img2gps.report.figures.base import COLOURS, INK, Figure, layered, listed, metres
from img2gps.report.figures.grid import intervals

_LOOKS = {
    "validation RMSE of the winner": (COLOURS[0], "circle"),
    "corrected for its selection": (COLOURS[1], "diamond"),
    "mean predictor": (INK, "square"),
}
VALIDATION, CORRECTED, MEAN = _LOOKS


def winners(rows: pd.DataFrame, *, same_photos: bool) -> Figure:
    """Draw each study's winner, its corrected RMSE and its mean predictor with intervals.

    Args:
        rows: `study`, `kind` (one of the three above), `rmse_m`, `low_m`, `high_m`.
        same_photos: whether all studies were validated on the same photos.
    """
    shown = rows.assign(label=rows["study"] + ": " + rows["kind"])
    chart = layered(*intervals(shown, _LOOKS, math.inf, legend=False))
    validation = rows[rows["kind"] == VALIDATION].sort_values("rmse_m").to_dict("records")
    each = listed([f"{r['study']} {metres(r['rmse_m'])}" for r in validation])
    title = f"{validation[0]['study']} has the lowest winner, {metres(validation[0]['rmse_m'])}"
    if not same_photos:
        title += ", but the studies were validated on different photos"
    caption = "Mean predictors differ where the validation photos differ."
    return Figure("winners", title, caption, f"Winners of the studies: {each}.", chart)
