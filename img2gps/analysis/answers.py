"""Runs' answers photo by photo, as far as they can be read and compared."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from img2gps.analysis.folders import long_table
from img2gps.core.geo import EARTH_RADIUS_M

NUMBERS = ("lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg", "error_m", "spot")
FARTHEST_M = math.pi * EARTH_RADIUS_M * 1.001  # half round the Earth, and rounding


def read_answers(rows: pd.DataFrame, file: str) -> pd.DataFrame:
    """Read the answers of many runs as one table, as `long_table` does.

    A run with a photo that lacks its content, a position or an error is left out as a whole: on its
    other photos, it would be compared with runs that answered all of them.
    """
    table = long_table(rows, file)
    damaged = table.loc[is_damaged(table), "run"]
    return table[~table["run"].isin(damaged)].reset_index(drop=True)


def is_damaged(table: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows of predictions.csv lack what every comparison needs."""
    numbers = table.reindex(columns=NUMBERS).apply(pd.to_numeric, errors="coerce")
    error = numbers["error_m"]
    known: pd.Series[bool] = np.isfinite(numbers).all(axis=1) & (error >= 0) & (error <= FARTHEST_M)
    content = table.reindex(columns=["content"])["content"]
    known &= content.notna() & (content != "")
    return pd.Series(~known)
