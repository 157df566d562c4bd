"""The photos of a source as rows of the manifest with their pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2gps.photos.decode import pixel_digest
from img2gps.photos.exif import Exif
from img2gps.photos.guard import Readers
from img2gps.photos.photo import Photo, Request
from img2gps.photos.photofile import Unusable
from img2gps.photos.plausible import contradiction
from img2gps.photos.sources import sidecars
from img2gps.photos.sources.base import Item, Label, Reject
from img2gps.photos.track import Track

_OF_POSITION = ("gps_error_m", "dop", "note")
_OF_CAMERA = ("altitude_m", "heading_deg", "heading_ref", "taken_at", "camera", "orientation")

Row = tuple[dict[str, Any], NDArray[np.uint8]]


def read_items(
    items: Sequence[Item], track: Track | None, readers: Readers, image_size: int
) -> Iterator[Row | Reject]:
    """Yield a manifest row with pixels, or a reject, for each item in order."""
    wanted = (partial(_request, item, track, image_size) for item in items)
    for item, outcome in zip(items, readers.read(wanted), strict=True):
        try:
            if isinstance(outcome, Unusable):
                raise outcome
            label = _label(item, outcome.exif, track)
            yield _row(item, outcome, label), outcome.pixels
        except Unusable as error:
            yield Reject(item.photo, error.reason, error.remedy)


def _request(item: Item, track: Track | None, image_size: int) -> Request:
    source = item.load if isinstance(item.load, Path) else item.load()
    alone = item.label is None and not item.sidecars and track is None
    return Request(source, item.photo.rpartition("/")[2], image_size, alone, digest=True)


def _label(item: Item, exif: Exif, track: Track | None) -> Label:
    """Return the most trusted label of a photo; raises `Unusable` if nothing gives one.

    The order is that of docs/your-photos.md: table or overrides, the photo's own EXIF or XMP,
    XMP sidecar, Takeout sidecar, track.
    """
    if item.label is not None:
        return Label(*item.label, item.label_from)
    if exif.lat_deg is not None and exif.lon_deg is not None:
        if track is not None:
            track.compare(exif.taken_at, exif.lat_deg, exif.lon_deg)
        return Label(exif.lat_deg, exif.lon_deg, "xmp" if exif.source == "xmp" else "exif")
    problems = [Unusable(exif.reason, exif.remedy)]
    for path in item.sidecars:
        try:
            return sidecars.read(path, item.photo.rpartition("/")[2])
        except Unusable as error:
            problems.append(error)
    if track is not None:
        try:
            return Label(*track.position(exif.taken_at), "track")
        except Unusable as error:
            problems.append(error)
    raise Unusable("; ".join(error.reason for error in problems), problems[-1].remedy)


def _row(item: Item, photo: Photo, label: Label) -> dict[str, Any]:
    """Return the manifest row: the label's own columns, then what the table says, win."""
    exif = photo.exif
    own = label.source in ("exif", "xmp")
    row = {name: getattr(exif, name) for name in _OF_CAMERA}
    row |= {name: getattr(exif if own else Exif(), name) for name in _OF_POSITION}
    row |= {name: value for name, value in label.columns.items() if row[name] in (None, "")}
    if label.source == "table":  # whoever writes overrides.csv knows that the photo is wrong
        row["note"] = contradiction((label.lat_deg, label.lon_deg), exif.lat_deg, exif.lon_deg)
    row |= {
        "photo": item.photo,
        "lat_deg": label.lat_deg,
        "lon_deg": label.lon_deg,
        "width_px": photo.width_px,
        "height_px": photo.height_px,
        "original": photo.original,
        "content": pixel_digest(photo.pixels),
        "session": "",
        "true_lat_deg": None,
        "true_lon_deg": None,
        "label_from": label.source,
        "look": photo.look,
    }
    note = "; ".join(filter(None, [row["note"], item.columns.get("note")]))
    return row | dict(item.columns) | {"note": note}
