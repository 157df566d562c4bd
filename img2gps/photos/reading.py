"""One photo of a source as a row of the manifest with its pixels."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from img2gps.photos import exif
from img2gps.photos.dataset import pixel_digest
from img2gps.photos.decode import decode
from img2gps.photos.photofile import Unusable
from img2gps.photos.plausible import swapped_note
from img2gps.photos.sources.base import Item, Reject

T = TypeVar("T")
R = TypeVar("R")

_FROM_EXIF = (
    *("altitude_m", "heading_deg", "heading_ref", "gps_error_m", "dop", "taken_at", "camera"),
    *("orientation", "note"),
)


def read_photo(item: Item, image_size: int) -> tuple[dict[str, Any], NDArray[np.uint8]] | Reject:
    """Return a manifest row with pixels, or a reject. Never raises: no photo stops an ingest."""
    try:
        data = item.load()
        found = exif.read(data, item.photo.rpartition("/")[2])
        lat, lon = item.label or (found.lat_deg, found.lon_deg)
        if lat is None or lon is None:
            raise Unusable(found.reason, found.remedy)
        pixels, (width, height) = decode(data, image_size)
    except Unusable as error:
        return Reject(item.photo, error.reason, error.remedy)
    except Exception as error:  # the last resort: whatever it is, the photo is listed by name
        return Reject(item.photo, f"{type(error).__name__}: {error}", "report it with this photo")
    row: dict[str, Any] = {name: getattr(found, name) for name in _FROM_EXIF}
    if item.label is not None:  # these describe the position that was replaced
        note = swapped_note(item.label, found.lat_deg, found.lon_deg)
        row |= {"gps_error_m": None, "dop": None, "note": note}
    row |= {
        "photo": item.photo,
        "lat_deg": lat,
        "lon_deg": lon,
        "width_px": width,
        "height_px": height,
        "original": hashlib.blake2b(data, digest_size=16).hexdigest(),
        "content": pixel_digest(pixels),
        "session": "",
        "true_lat_deg": None,
        "true_lon_deg": None,
    }
    note = "; ".join(filter(None, [row["note"], item.columns.get("note")]))
    return row | dict(item.columns) | {"note": note}, pixels


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield results in the order of the items, with a few items in flight at a time."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # after Ctrl-C, queued items do not start any more
            for future in waiting:
                future.cancel()
