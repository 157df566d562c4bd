"""Photo by photo: the best and worst of the winner as thumbnails, and the suspects of a study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from img2gps.photos.dataset import Dataset
from img2gps.photos.thumbnails import by_content, data_uri

N_EACH = 8
WORST_TENTH = 0.9  # a photo is wrong in a cell if its error is beyond this quantile
MIN_CELLS = 3  # with fewer cells, "wrong in most" says no more than "wrong"
_COMPASS = (
    "north",
    "north-east",
    "east",
    "south-east",
    "south",
    "south-west",
    "west",
    "north-west",
)


@dataclass(frozen=True)
class Photo:
    """One photo of the gallery: `thumbnail` is a data URI, empty where there are no pixels."""

    name: str
    error_m: float
    towards: str  # in which direction the prediction lies
    mean_error_m: float
    nearest_train_m: float | None
    thumbnail: str


@dataclass(frozen=True)
class Gallery:
    """Best and worst photos; `missing` says why there are no thumbnails, empty if there are."""

    best: list[Photo]
    worst: list[Photo]
    missing: str


def gallery(photos: pd.DataFrame, dataset: Dataset | None, n: int = N_EACH) -> Gallery:
    """Choose the n best and n worst photos; with few photos none is shown twice.

    photos: one row a photo as `figures.errors.of_photos` gives.
    """
    ranked = photos.sort_values(["error_m", "photo"])
    n = min(n, len(ranked) // 2)
    best, worst = ranked.head(n), ranked.tail(n)[::-1]
    shown = pd.concat([best, worst])["content"].astype(str)
    pictures = {} if dataset is None else by_content(dataset, shown)
    uris = {content: data_uri(picture) for content, picture in pictures.items()}
    missing = ""
    if dataset is None:
        missing = (
            "The dataset cache of these runs is not on this machine, so there are no pictures."
        )
    elif not uris:
        missing = "The dataset cache does not hold these photos, so there are no pictures."
    return Gallery(_photos(best, uris), _photos(worst, uris), missing)


def _photos(rows: pd.DataFrame, uris: dict[str, str]) -> list[Photo]:
    return [_photo(row, uris.get(str(row["content"]), "")) for _, row in rows.iterrows()]


def _photo(row: pd.Series, uri: str) -> Photo:
    bearing = np.degrees(np.arctan2(row["east_m"], row["north_m"]))
    nearest = float(row["nearest_train_m"])
    return Photo(
        name=str(row["photo"]),
        error_m=float(row["error_m"]),
        towards=_COMPASS[int((bearing + 22.5) % 360 // 45)],
        mean_error_m=float(row["mean_error_m"]),
        nearest_train_m=None if np.isnan(nearest) else nearest,
        thumbnail=uri,
    )


SUSPECT_COLUMNS = (
    *("photo", "wrong_in", "cells", "median_error_m", "mean_error_m", "agreement_m"),
    *("east_m", "north_m", "lat_deg", "lon_deg", "gps_error_m", "nearest_train_m", "hint"),
)
CHECK_GPS = "the cells agree with each other and not with the label: check its GPS"
MIDDLE = "the cells agree on a place nearer the middle: little in it to recognise"
HARD = "the cells disagree: a hard photo, or one of a place that few photos show"


def learned(predictions: pd.DataFrame) -> list[str]:
    """Cells (column `rank_cell`) that beat the mean predictor."""
    squares = predictions[["error_m", "mean_error_m"]].pow(2).groupby(predictions["rank_cell"])
    means = squares.mean()
    return list(means.index[means["error_m"] < means["mean_error_m"]])


def suspects(predictions: pd.DataFrame) -> pd.DataFrame:
    """Photos that most cells get wrong, the most suspicious first; columns `SUSPECT_COLUMNS`.

    A photo is wrong in a cell if its error (root mean square over seeds) is in the worst tenth of
    that cell. `agreement_m`: median distance of the cells' predictions to their common middle;
    `east_m, north_m`: from the label to that middle. Only cells that have learned count (the
    others get the rim of the ground wrong by construction); fewer than `MIN_CELLS` give none.
    """
    rules = dict.fromkeys(("photo", "lat_deg", "lon_deg", "mean_error_m", "gps_error_m"), "first")
    rules |= {"nearest_train_m": "first", "east_m": "mean", "north_m": "mean", "square": "mean"}
    counted = learned(predictions)
    if len(counted) < MIN_CELLS:
        return pd.DataFrame(columns=list(SUSPECT_COLUMNS))
    table = predictions.assign(square=predictions["error_m"] ** 2)
    table = table[table["rank_cell"].isin(counted)]
    cells = table.groupby(["rank_cell", "content"], sort=False).agg(rules).reset_index()
    bound = cells.groupby("rank_cell")["square"].transform("quantile", WORST_TENTH)
    cells["wrong"] = cells["square"] > bound
    found = []
    for _, rows in cells.groupby("content", sort=False):
        wrong = int(rows["wrong"].sum())
        if 2 * wrong <= len(rows):
            continue
        east, north = rows["east_m"].median(), rows["north_m"].median()
        agreement = float(np.median(np.hypot(rows["east_m"] - east, rows["north_m"] - north)))
        error, first = float(np.sqrt(rows["square"]).median()), rows.iloc[0]
        hint = HARD
        if agreement < 0.5 * error:
            hint = CHECK_GPS if error > first["mean_error_m"] else MIDDLE
        found.append(
            {
                **{c: first[c] for c in SUSPECT_COLUMNS if c in rules},
                "wrong_in": wrong,
                "cells": len(rows),
                "median_error_m": error,
                "agreement_m": agreement,
                "east_m": float(east),
                "north_m": float(north),
                "hint": hint,
            }
        )
    frame = pd.DataFrame(found, columns=list(SUSPECT_COLUMNS))
    order = frame.assign(gps=frame["hint"] == CHECK_GPS)
    order = order.sort_values(["gps", "wrong_in", "median_error_m"], ascending=False)
    return frame.loc[order.index].reset_index(drop=True)
