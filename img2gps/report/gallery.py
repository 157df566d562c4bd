"""Photo by photo: the best and worst of the winner as thumbnails, and the suspects of a study."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

if TYPE_CHECKING:
    from img2gps.photos.dataset import Dataset

N_EACH = 8
HEIGHT_PX = 132
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


def find_dataset(fingerprint: str, image_size: int, folders: Sequence[Path]) -> Dataset | None:
    """Open the dataset cache with this fingerprint below one of the cache folders, if any."""
    from img2gps.photos import dataset

    for folder in folders:
        for record in sorted(folder.glob(f"*/{dataset.RECORD}")):
            try:
                found = dataset.read_record(record.parent)
                if (found["fingerprint"], found["image_size"]) == (fingerprint, image_size):
                    return dataset.open_dataset(record.parent)
            except (dataset.DamagedCache, KeyError):
                continue
    return None


def gallery(photos: pd.DataFrame, dataset: Dataset | None, n: int = N_EACH) -> Gallery:
    """Choose the n best and n worst photos; with few photos none is shown twice.

    photos: one row a photo as `figures.errors.of_photos` gives.
    """
    ranked = photos.sort_values(["error_m", "photo"])
    n = min(n, len(ranked) // 2)
    rows = {} if dataset is None else {c: i for i, c in enumerate(dataset.manifest["content"])}
    best = [_photo(row, dataset, rows) for _, row in ranked.head(n).iterrows()]
    worst = [_photo(row, dataset, rows) for _, row in ranked.tail(n)[::-1].iterrows()]
    missing = ""
    if dataset is None:
        missing = (
            "The dataset cache of these runs is not on this machine, so there are no pictures."
        )
    elif not any(photo.thumbnail for photo in best + worst):
        missing = "The dataset cache does not hold these photos, so there are no pictures."
    return Gallery(best, worst, missing)


def _photo(row: pd.Series, dataset: Dataset | None, rows: dict[str, int]) -> Photo:
    bearing = np.degrees(np.arctan2(row["east_m"], row["north_m"]))
    nearest = float(row["nearest_train_m"])
    index = rows.get(str(row["content"]))
    picture = "" if dataset is None or index is None else data_uri(thumbnail(dataset, index))
    return Photo(
        name=str(row["photo"]),
        error_m=float(row["error_m"]),
        towards=_COMPASS[int((bearing + 22.5) % 360 // 45)],
        mean_error_m=float(row["mean_error_m"]),
        nearest_train_m=None if np.isnan(nearest) else nearest,
        thumbnail=picture,
    )


def thumbnail(dataset: Dataset, row: int) -> Image.Image:
    """One photo, small, in the shape that it had before it was squashed to a square."""
    shape = dataset.manifest.iloc[row]
    wide, high = float(shape["width_px"]), float(shape["height_px"])
    aspect = min(max(wide / high if high else 1.0, 0.4), 2.5)
    pixels = np.ascontiguousarray(dataset.pixels()[row])
    size = (round(HEIGHT_PX * aspect), HEIGHT_PX)
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def contact_sheet(dataset: Dataset, n: int = 12, across: int = 4) -> Image.Image:
    """Some photos from all over the data set on one picture."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, n).astype(int))
    pictures = [thumbnail(dataset, int(row)) for row in rows]
    wide, gap = max(picture.width for picture in pictures), 6
    sheet = Image.new(
        "RGB",
        (across * (wide + gap), -(-len(pictures) // across) * (HEIGHT_PX + gap)),
        "white",
    )
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % across * (wide + gap), i // across * (HEIGHT_PX + gap)))
    return sheet


def data_uri(image: Image.Image) -> str:
    """JPEG that stands in the page itself."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


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
