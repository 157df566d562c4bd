"""Runs' answers photo by photo, as far as they can be read and compared."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from img2gps.analysis.folders import long_table
from img2gps.core.geo import EARTH_RADIUS_M

NUMBERS = (
    *("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg", "error_m", "mean_error_m", "spot"),
)
FARTHEST_M = math.pi * EARTH_RADIUS_M * 1.001  # half round the Earth, and rounding


def read_answers(rows: pd.DataFrame, file: str, photos: str = "") -> pd.DataFrame:
    """Read the answers of many runs as one table, as `long_table` does.

    A run with a photo that lacks its content, a position or an error is left out as a whole, and so
    is one that lacks photos: on its other photos, it would be compared with runs that answered all
    of them. Other values that are infinite become NaN.

    Args:
        rows: of the runs, as for `long_table`.
        file: name of the file in each run's folder.
        photos: column of `rows` that says how many photos the file has, where that is known.
    """
    table = long_table(rows, file).replace([math.inf, -math.inf], math.nan)
    bad = set(table.loc[is_damaged(table), "run"])
    if photos in rows:
        planned = rows[photos].astype(float).replace(0.0, math.nan).dropna()  # 0: not recorded
        has = table["run"].value_counts().reindex(planned.index, fill_value=0)
        bad |= set(planned.index[has != planned])
    return table[~table["run"].isin(bad)].reset_index(drop=True)


def is_damaged(table: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows of predictions.csv lack what every comparison needs."""
    numbers = table.reindex(columns=NUMBERS).apply(pd.to_numeric, errors="coerce")
    error, content = numbers["error_m"], table.reindex(columns=["content"])["content"]
    known: pd.Series[bool] = np.isfinite(numbers).all(axis=1)
    known &= (error >= 0) & (error <= FARTHEST_M)
    known &= content.notna() & (content != "")
    return pd.Series(~known)
