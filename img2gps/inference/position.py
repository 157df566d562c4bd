"""The answer for one photo, as programs, files, maps and pages take it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from img2gps.core import geo
from img2gps.inference.density import Density
from img2gps.inference.inputs import Input

NO_NUMBER = "the model answers with no number; its file is damaged, so export or train it again"


@dataclass(frozen=True)
class Neighbour:
    """A training photo that looks like the one asked about."""

    photo: str
    similarity: float  # cosine of the features: 1 is equal
    lat_deg: float
    lon_deg: float
    thumbnail: str = ""  # a data URI; empty where there are no pixels


@dataclass(frozen=True)
class Position:
    """The answer for one photo, or the reason why there is none.

    Attributes:
        photo: its name.
        lat_deg, lon_deg: the answer in degrees (WGS 84).
        radius_m: the true position lies within it with the probability asked for; None where that
            is unknown.
        from_here: whether the photo looks like the training ground; None where that is unknown.
        strangeness: above 1 where it does not.
        true_lat_deg, true_lon_deg: the position that the photo itself says, if it does.
        error_m: distance between the two.
        neighbours: the training photos that look most alike, most similar first.
        density: how likely it was taken where; None where the model's head gives none.
        error: why there is no answer, and what to do.
    """

    photo: str
    lat_deg: float | None = None
    lon_deg: float | None = None
    radius_m: float | None = None
    from_here: bool | None = None
    strangeness: float | None = None
    true_lat_deg: float | None = None
    true_lon_deg: float | None = None
    error_m: float | None = None
    neighbours: tuple[Neighbour, ...] = ()
    error: str = ""
    density: Density | None = None


@dataclass(frozen=True)
class Answered:
    """What a network said of one photo; a figure that it does not know is NaN or infinite."""

    lat_deg: float
    lon_deg: float
    radius_m: float
    strangeness: float
    neighbours: Sequence[Neighbour] = ()
    density: Density | None = None


def position_of(photo: Input, answered: Answered | None) -> Position:
    """Return the answer for a photo; `answered` is None where it could not be decoded."""
    if answered is None:
        return Position(photo.name, error=photo.error)
    lat, lon = answered.lat_deg, answered.lon_deg
    if not (math.isfinite(lat) and math.isfinite(lon)):
        return Position(photo.name, error=NO_NUMBER)
    strangeness = finite(answered.strangeness)
    true_lat, true_lon = photo.label or (None, None)
    return Position(
        photo=photo.name,
        lat_deg=lat,
        lon_deg=lon,
        radius_m=finite(answered.radius_m),
        from_here=None if strangeness is None else strangeness <= 1,
        strangeness=strangeness,
        true_lat_deg=true_lat,
        true_lon_deg=true_lon,
        error_m=float(geo.distance_m(*photo.label, lat, lon)) if photo.label else None,
        neighbours=tuple(answered.neighbours),
        density=answered.density,
    )


def finite(value: float) -> float | None:
    """Return the value, or None where it is unknown."""
    return value if math.isfinite(value) else None
