"""Photos that most cells of a study get wrong, such as those with a wrong label."""

from __future__ import annotations

import numpy as np
import pandas as pd

WORST_TENTH = 0.9  # a photo is wrong in a cell if its error is beyond this quantile
MIN_CELLS = 3  # with fewer cells, a photo that most get wrong is nothing unusual
COLUMNS = (
    *("photo", "wrong_in", "cells", "median_error_m", "mean_error_m", "agreement_m"),
    *("east_m", "north_m", "lat_deg", "lon_deg", "gps_error_m", "nearest_train_m", "hint"),
)
CHECK_GPS = "the cells agree with each other and not with the label: check its GPS"
MIDDLE = "the cells agree on a place nearer the middle: the photo shows little to recognise"
HARD = "the cells disagree: a hard photo, or one of a place that few photos show"
_AGREE = 0.5  # of the median error: cells whose predictions are this close to each other agree
_FIRST = ("photo", "lat_deg", "lon_deg", "mean_error_m", "gps_error_m", "nearest_train_m")


def learned(predictions: pd.DataFrame) -> list[str]:
    """Return the cells (column `rank_cell`) whose RMSE is below that of the mean predictor."""
    squares = predictions[["error_m", "mean_error_m"]].pow(2).groupby(predictions["rank_cell"])
    means = squares.mean()
    return list(means.index[means["error_m"] < means["mean_error_m"]])


def suspects(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the photos that most cells get wrong, the most suspicious first.

    A photo is wrong in a cell if its error (root mean square over seeds) is in the worst tenth of
    that cell. Only cells that have learned count, because the others get the rim of the ground
    wrong by construction; fewer than `MIN_CELLS` of them give no suspects. `agreement_m` is the
    median distance of the cells' predictions from their common middle, and `east_m, north_m` lead
    from the label to that middle.
    """
    counted = learned(predictions)
    if len(counted) < MIN_CELLS:
        return pd.DataFrame(columns=list(COLUMNS))
    cells = _by_cell(predictions[predictions["rank_cell"].isin(counted)])
    by_photo = cells.groupby("content", sort=False)
    middle = by_photo[["east_m", "north_m"]].transform("median")
    cells["from_middle_m"] = np.hypot(
        cells["east_m"] - middle["east_m"], cells["north_m"] - middle["north_m"]
    )
    found = cells.groupby("content", sort=False).agg(
        **{column: (column, "first") for column in _FIRST},
        wrong_in=("wrong", "sum"),
        cells=("wrong", "size"),
        median_error_m=("error_m", "median"),
        agreement_m=("from_middle_m", "median"),
        east_m=("east_m", "median"),
        north_m=("north_m", "median"),
    )
    found = found[2 * found["wrong_in"] > found["cells"]]
    agree = found["agreement_m"] < _AGREE * found["median_error_m"]
    beyond_mean = found["median_error_m"] > found["mean_error_m"]
    hint = np.select([agree & beyond_mean, agree], [CHECK_GPS, MIDDLE], HARD)
    found = found.assign(hint=hint, gps=hint == CHECK_GPS)
    order = found.sort_values(["gps", "wrong_in", "median_error_m"], ascending=False)
    return order[list(COLUMNS)].reset_index(drop=True)


def _by_cell(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one row a cell and photo, with the error over seeds and whether it is wrong."""
    rules = dict.fromkeys(_FIRST, "first") | {"east_m": "mean", "north_m": "mean", "square": "mean"}
    table = predictions.assign(square=predictions["error_m"] ** 2)
    cells = table.groupby(["rank_cell", "content"], sort=False).agg(rules).reset_index()
    bound = cells.groupby("rank_cell")["square"].transform("quantile", WORST_TENTH)
    return cells.assign(wrong=cells["square"] > bound, error_m=np.sqrt(cells["square"]))
