"""Labels that are possible and yet wrong: latitude and longitude swapped, one position for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img2gps.core.geo import distance_m, median_position

SWAPPED = "latitude and longitude look swapped"
_NEAR_M, _FAR_M = 1e3, 1e5
_ONE_PLACE_M = 1.0

Floats = NDArray[np.float64]


def swapped_note(label: tuple[float, float], lat: float | None, lon: float | None) -> str:
    """Return a note on a label that agrees with the photo's own position once it is swapped.

    >>> swapped_note((-75.19, 39.95), 39.9501, -75.1902)
    'latitude and longitude look swapped: the photo itself says 39.9501, -75.1902'
    """
    if lat is None or lon is None or abs(label[1]) > 90:
        return ""
    apart, exchanged = distance_m(*label, lat, lon), distance_m(label[1], label[0], lat, lon)
    if apart < _FAR_M or exchanged > _NEAR_M:
        return ""
    return f"{SWAPPED}: the photo itself says {lat:.4f}, {lon:.4f}"


def doubts(lat: Floats, lon: Floats, notes: list[str]) -> list[str]:
    """Return what is wrong with the labels of a whole data set, with the remedy."""
    found = []
    if swapped := sum(SWAPPED in note for note in notes):
        found.append(
            f"{SWAPPED} for {swapped} of {len(lat)} photos, whose own EXIF says so; swap the two "
            "columns of the table"
        )
    apart = distance_m(lat, lon, *median_position(lat, lon))
    if len(lat) > 1 and float(np.max(apart)) < _ONE_PLACE_M:
        found.append(
            f"all {len(lat)} photos have the same position, so there is nothing to learn; check "
            "where the positions come from"
        )
    return found
