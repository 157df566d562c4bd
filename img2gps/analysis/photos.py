"""Errors of one cell photo by photo, and what they go with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from img2gps.analysis.stats import NO_LUCK, cell_interval

MIN_GROUP_SPOTS = 8  # in a group of photos, below which it has no interval and is not tested
_MEANS = frozenset({"error_m", "east_m", "north_m", "pred_lat_deg", "pred_lon_deg"})


def of_photos(predictions: pd.DataFrame) -> pd.DataFrame:
    """Average the predictions of all seeds of a cell and return one row a photo.

    `error_m` becomes the root of the mean squared error over the seeds; the error east and north
    and the predicted position become means; everything else is the same for every seed.
    """
    frame = predictions.assign(error_m=predictions["error_m"] ** 2)
    rules = {c: "mean" if c in _MEANS else "first" for c in frame.columns if c != "photo"}
    photos = frame.groupby("photo", sort=False).agg(rules).reset_index()
    return photos.assign(error_m=np.sqrt(photos["error_m"]))


@dataclass(frozen=True)
class Groups:
    """Errors by group of photos.

    Attributes:
        table: one row a group: `group, photos, spots, rmse_m, low_m, high_m`, the interval NaN
            where there are fewer than `MIN_GROUP_SPOTS` spots.
        p: of the Kruskal-Wallis test that the groups with enough spots do not differ.
    """

    table: pd.DataFrame
    p: float

    @property
    def tested(self) -> pd.DataFrame:
        """The groups with enough spots."""
        return self.table[self.table["spots"] >= MIN_GROUP_SPOTS]


def by_group(photos: pd.DataFrame) -> Groups | None:
    """Compare groups of photos; None where fewer than two have enough spots.

    photos: `group`, `spot`, `error_m`. A spot counts once in a group, since its photos are alike.
    """
    rows = [_group(str(name), part) for name, part in photos.groupby("group")]
    table = pd.DataFrame(rows, columns=["group", "photos", "spots", "rmse_m", "low_m", "high_m"])
    enough = table.loc[table["spots"] >= MIN_GROUP_SPOTS, "group"]
    if len(enough) < 2:
        return None
    kept = photos[photos["group"].isin(set(enough))]
    per_spot = kept.groupby(["group", "spot"])["error_m"].mean()
    samples = [part.to_numpy() for _, part in per_spot.groupby(level="group")]
    return Groups(table, float(scipy_stats.kruskal(*samples).pvalue))


def _group(name: str, photos: pd.DataFrame) -> dict[str, str | float]:
    spots, low, high = photos["spot"].nunique(), math.nan, math.nan
    if spots >= MIN_GROUP_SPOTS:
        found = cell_interval(
            photos[["error_m"]].to_numpy().T, photos["spot"].to_numpy(), luck=NO_LUCK
        )
        low, high = found.low, found.high
    rmse_m = float(np.sqrt((photos["error_m"] ** 2).mean()))
    figures = {"photos": len(photos), "spots": spots, "rmse_m": rmse_m}
    return {"group": name, **figures, "low_m": low, "high_m": high}
