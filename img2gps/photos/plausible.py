"""Labels that are possible and yet wrong: columns swapped, a sign lost, one position for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from img2gps.core.geo import distance_m, median_position

SWAPPED = "latitude and longitude look swapped"
ELSEWHERE = "the label is more than 10 km from the photo's own position"
_NEAR_M, _FAR_M = 1e3, 1e4
_ONE_PLACE_M = 1.0

Floats = NDArray[np.float64]


def contradiction(label: tuple[float, float], lat: float | None, lon: float | None) -> str:
    """Return a note on a label that is far from the position in the photo's own file.

    >>> contradiction((-75.19, 39.95), 39.9501, -75.1902)
    'latitude and longitude look swapped: the photo itself says 39.9501, -75.1902'
    >>> contradiction((39.95, 75.19), 39.9501, -75.1902)
    "the label is more than 10 km from the photo's own position: the photo itself says 39.9501, \
-75.1902"
    """
    if lat is None or lon is None or distance_m(*label, lat, lon) < _FAR_M:
        return ""
    swapped = abs(label[1]) <= 90 and distance_m(label[1], label[0], lat, lon) <= _NEAR_M
    return f"{SWAPPED if swapped else ELSEWHERE}: the photo itself says {lat:.4f}, {lon:.4f}"


def doubts(lat: Floats, lon: Floats, notes: Sequence[str]) -> list[str]:
    """Return what is wrong with the labels of a whole data set, with the remedy."""
    found = []
    if swapped := sum(SWAPPED in note for note in notes):
        found.append(
            f"{SWAPPED} for {swapped} of {len(lat)} photos, whose own EXIF says so; swap the two "
            "columns of the table"
        )
    if elsewhere := sum(ELSEWHERE in note for note in notes):
        found.append(
            f"the labels of {elsewhere} of {len(lat)} photos are more than 10 km from the "
            "positions in their own EXIF; check the signs of the table's latitudes and longitudes, "
            "and whether each row names the right photo"
        )
    apart = distance_m(lat, lon, *median_position(lat, lon))
    if len(lat) > 1 and float(np.max(apart)) < _ONE_PLACE_M:
        found.append(
            f"all {len(lat)} photos have the same position, so there is nothing to learn; check "
            "where the positions come from"
        )
    return found
