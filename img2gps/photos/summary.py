"""What to check in a data set: duplicates, photos far from the others, notes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from img2gps.core.geo import distance_m, median_position
from img2gps.photos.dataset import Dataset
from img2gps.photos.plausible import doubts
from img2gps.photos.sources.base import Listing, Reject

log = logging.getLogger(__name__)

_FAR_TIMES, _FAR_AT_LEAST_M = 10.0, 250.0  # far: this many medians from the median position
_SHOWN = 5  # names in a log line; all of them are in dataset.json


def summarise(
    listing: Listing, manifest: pd.DataFrame, rejects: Sequence[Reject]
) -> dict[str, Any]:
    """Return the summary that `dataset.json` keeps, and log its warnings. No photo is dropped."""
    duplicates = _groups(manifest, "content")
    copies = [photos for photos in _groups(manifest, "group") if photos not in duplicates]
    far = _far(manifest)
    noted = manifest.loc[manifest["note"] != "", ["photo", "note"]]
    notes = dict(zip(noted["photo"], noted["note"], strict=True))
    for what, groups in (("photos with the same pixels", duplicates), ("near copies", copies)):
        if groups:
            shown = ", ".join(groups[0][:_SHOWN])
            log.warning("%s: %d group(s), for instance %s", what, len(groups), shown)
    if far:
        shown = ", ".join(
            f"{photo} ({metres:,.0f} m)" for photo, metres in list(far.items())[:_SHOWN]
        )
        log.warning("photos far from the others: %d, %s", len(far), shown)
    for photo, note in list(notes.items())[:_SHOWN]:
        log.warning("%s: %s", photo, note)
    return {
        "origin": listing.origin,
        "photos": len(manifest),
        "rejects": dict(Counter(reject.reason for reject in rejects).most_common()),
        "not_photos": dict(listing.not_photos),
        "duplicates": duplicates,
        "near_copies": copies,
        "far_m": far,
        "notes": notes,
    }


def warn_of_doubts(dataset: Dataset) -> None:
    """Log what makes a data set useless, whenever it is opened and not only when it is read."""
    for doubt in doubts(*dataset.lat_lon(), list(dataset.summary["notes"].values())):
        log.warning("%s: %s", dataset.name, doubt)


def _groups(manifest: pd.DataFrame, column: str) -> list[list[str]]:
    """Return the photos that share a value of a column, for each value that several have."""
    named = manifest[manifest[column] != ""]
    groups = named.groupby(column)["photo"].apply(list)
    return [photos for photos in groups if len(photos) > 1]


def _far(manifest: pd.DataFrame) -> dict[str, float]:
    """Return the distance from the median position of each photo that is unusually far from it."""
    lat, lon = manifest["lat_deg"].to_numpy(), manifest["lon_deg"].to_numpy()
    apart = distance_m(lat, lon, *median_position(lat, lon))
    limit = max(_FAR_TIMES * float(np.median(apart)), _FAR_AT_LEAST_M)
    rows = np.flatnonzero(apart > limit)
    return {str(manifest["photo"].iloc[row]): round(float(apart[row]), 1) for row in rows}
