"""Choose the photos that the winner places best and worst, and make their thumbnails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from img2gps.photos.dataset import Dataset
from img2gps.photos.thumbnails import by_content, data_uri

N_EACH = 8
_COMPASS = (
    *("north", "north-east", "east", "south-east"),
    *("south", "south-west", "west", "north-west"),
)
_NO_CACHE = "No pictures: the data set of these runs is not cached on this machine."
_OTHER_PHOTOS = "No pictures: the cached data set does not contain these photos."


@dataclass(frozen=True)
class Photo:
    """A photo of the gallery; `thumbnail` is a data URI, or "" if its pixels are missing."""

    name: str
    error_m: float
    towards: str  # direction of the prediction from the true position
    mean_error_m: float
    nearest_train_m: float | None
    thumbnail: str


@dataclass(frozen=True)
class Gallery:
    """The best and the worst photos; `missing` is the reason why there are no thumbnails, or ""."""

    best: list[Photo]
    worst: list[Photo]
    missing: str


def gallery(photos: pd.DataFrame, dataset: Dataset | None, n: int = N_EACH) -> Gallery:
    """Return the n best and the n worst photos; no photo is in both lists.

    photos: one row a photo, as `analysis.photos.of_photos` returns them.
    """
    ranked = photos.sort_values(["error_m", "photo"])
    n = min(n, len(ranked) // 2)
    best, worst = ranked.head(n), ranked.tail(n)[::-1]
    shown = pd.concat([best, worst])["content"].astype(str)
    pictures = {} if dataset is None else by_content(dataset, shown)
    uris = {content: data_uri(picture) for content, picture in pictures.items()}
    missing = _NO_CACHE if dataset is None else "" if uris else _OTHER_PHOTOS
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
