"""The ground in square tiles: where errors are large and photos few."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from img2gps.core import geo

ENOUGH = 3  # validation photos on a tile, below which it has no RMSE
_PHOTOS_A_TILE = 4  # validation photos that a tile should hold on average
_FEWEST_TILES = 3  # with an RMSE


@dataclass(frozen=True)
class Ground:
    """Errors and photos on tiles of the ground.

    Attributes:
        side_m: of a tile.
        tiles: one row a tile with photos: its lower corner `e, n` in tiles from the mean position,
            `rmse_m` (NaN with fewer than `ENOUGH` validation photos), `validation`, `photos`.
        correlation, p: rank correlation of photos and RMSE over the tiles; NaN where all tiles
            have the same number of photos.
    """

    side_m: float
    tiles: pd.DataFrame
    correlation: float
    p: float


def ground(photos: pd.DataFrame, others: pd.DataFrame | None) -> Ground | None:
    """Divide the ground into tiles; None where fewer than three have enough validation photos.

    photos: validation photos with label and `error_m`. others: labels of the data set's other
    photos; None where they are not at hand, so that validation photos are counted.
    """
    lat0, lon0 = geo.mean_position(photos["lat_deg"], photos["lon_deg"])
    counted = photos if others is None else others
    here, there = (
        geo.to_east_north_m(table["lat_deg"], table["lon_deg"], lat0, lon0)
        for table in (photos, counted)
    )
    span = max(float(np.ptp(np.r_[here[i], there[i]])) for i in (0, 1))
    if span <= 0:
        return None
    across = float(np.clip(np.sqrt(len(photos) / _PHOTOS_A_TILE), 3, 12))
    side = _round_up(span / across)
    own = pd.DataFrame(
        {"e": here[0] // side, "n": here[1] // side, "square": photos["error_m"].to_numpy() ** 2}
    )
    errors = own.groupby(["e", "n"])["square"].agg(["mean", "size"])
    around = pd.DataFrame({"e": there[0] // side, "n": there[1] // side})
    tiles = pd.DataFrame(
        {
            "rmse_m": np.sqrt(errors["mean"].where(errors["size"] >= ENOUGH)),
            "validation": errors["size"],
            "photos": around.groupby(["e", "n"]).size(),
        }
    ).reset_index()
    tiles[["photos", "validation"]] = tiles[["photos", "validation"]].fillna(0).astype(int)
    known = tiles[tiles["rmse_m"].notna()]
    if len(known) < _FEWEST_TILES:
        return None
    if len(set(known["photos"])) < 2:
        return Ground(side, tiles, math.nan, math.nan)
    rank = scipy_stats.spearmanr(known["photos"], known["rmse_m"])
    return Ground(side, tiles, float(rank.statistic), float(rank.pvalue))


def _round_up(value: float) -> float:
    """Return the next number of one digit.

    >>> _round_up(51.0), round(_round_up(0.21), 6)
    (60.0, 0.3)
    """
    magnitude = 10.0 ** np.floor(np.log10(value))
    return float(magnitude * np.ceil(value / magnitude - 1e-9))
