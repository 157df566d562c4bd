"""The GPS directory: position, altitude, heading and stated error."""

from __future__ import annotations

import math
import re
from typing import Any

from PIL import ExifTags

from img2gps.photos.exif.values import Tags, byte, letter, numbers, scalar, text
from img2gps.photos.photofile import Unusable

GPS = ExifTags.GPS
_NULL_ISLAND_DEG = 1e-4  # 11 m of open ocean
VOID = "GPS status is V (void)"  # how its note begins
IMPRECISE_M = 100.0  # of positioning error; no satellite fix under open sky is as bad
_UNKNOWN_ERROR_M = 65_535.0  # the largest that phones write, for "unknown"
_SAME_AS_WGS84 = ("", "WGS84", "WGS1984", "JGD2000", "JGD2011")  # within a metre
_AXES = {
    "latitude": (GPS.GPSLatitude, GPS.GPSLatitudeRef, "NS", 90.0),
    "longitude": (GPS.GPSLongitude, GPS.GPSLongitudeRef, "EW", 180.0),
}  # tag, tag of the reference, positive and negative reference, limit in degrees
_FIX = "enter its position in overrides.csv"
_WAIT = "enter its position in overrides.csv; outdoors, wait for a fix before shooting"


def position(tags: Tags) -> tuple[float, float]:
    """Return latitude and longitude in degrees from the tags of a GPS directory.

    Raises `Unusable` with the reason if they hold no valid position.
    """
    missing = [
        axis for axis, (tag, *_) in _AXES.items() if tags.get(tag) in (None, "", b"", (), [])
    ]
    if len(missing) == 2:
        raise Unusable("no coordinates in its GPS data", _WAIT)
    if missing:
        raise Unusable(f"{missing[0]} is missing", _FIX)
    lat, lon = (to_degrees(tags[tag], tags.get(r), axis=a) for a, (tag, r, *_) in _AXES.items())
    refuse_null_island(lat, lon, _FIX)
    return lat, lon


def to_degrees(value: object, ref: object, *, axis: str) -> float:
    """Return signed decimal degrees from an EXIF coordinate and its reference.

    `value` holds one to three components (degrees, minutes, seconds), each a rational, a number
    or text. `ref` is the hemisphere as text or bytes, `axis` "latitude" or "longitude". 0/0 means
    "not given" in minutes and seconds, and is never accepted as degrees. Raises `Unusable`.

    >>> to_degrees(((39, 1), (57, 1), (0, 0)), "N", axis="latitude")
    39.95
    """
    _, _, letters, limit = _AXES[axis]
    magnitude = _magnitude(value, axis)
    hemisphere = letter(ref)
    if not hemisphere:
        raise Unusable(f"{axis} without its reference ({' or '.join(letters)})", _FIX)
    if hemisphere not in letters:
        raise Unusable(f"{axis} has the reference {hemisphere!r}", _FIX)
    positive = hemisphere == letters[0]
    if math.copysign(1.0, magnitude) < 0 and positive:
        raise Unusable(f"{axis} is negative but its reference says {hemisphere}", _FIX)
    if abs(magnitude) > limit:
        raise Unusable(f"{axis} of {abs(magnitude):.6g} degrees is off the globe", _FIX)
    return abs(magnitude) if positive else -abs(magnitude)


def _magnitude(value: object, axis: str) -> float:
    """Return decimal degrees with the sign that the degrees themselves carry."""
    if isinstance(value, bytes) and len(value) <= 3:  # Pillow gives the type BYTE as bytes
        value = tuple(value)
    parts = numbers(value)
    if not 1 <= len(parts) <= 3:
        raise Unusable(f"{axis} has {len(parts)} components", _FIX)
    if math.isnan(parts[0]):
        raise Unusable(f"{axis} is 0/0: no satellite fix when it was taken", _WAIT)
    degrees, minutes, seconds = [*(0.0 if math.isnan(n) else n for n in parts), 0.0, 0.0][:3]
    if not all(math.isfinite(n) for n in (degrees, minutes, seconds)):
        raise Unusable(f"{axis} has a zero denominator", _FIX)
    if not (0 <= minutes <= 60 and 0 <= seconds <= 60):  # rounding up gives 60 itself
        raise Unusable(f"{axis} has minutes or seconds outside 0..60", _FIX)
    return math.copysign(abs(degrees) + minutes / 60 + seconds / 3600, degrees)


def refuse_null_island(lat_deg: float, lon_deg: float, remedy: str) -> None:
    """Raise `Unusable` with `remedy` for a position of 0, 0."""
    if abs(lat_deg) < _NULL_ISLAND_DEG and abs(lon_deg) < _NULL_ISLAND_DEG:
        raise Unusable("null island: the position is 0, 0, which stands for unknown", remedy)


def details(tags: Tags) -> dict[str, Any]:
    """Return the fields of `Exif` that a GPS directory holds beside the position."""
    altitude = scalar(tags.get(GPS.GPSAltitude))
    if altitude is not None and byte(tags.get(GPS.GPSAltitudeRef)) in (1, 3):  # below sea level
        altitude = -abs(altitude)
    heading = scalar(tags.get(GPS.GPSImgDirection))
    if heading is not None and not 0 <= heading <= 360:
        heading = None
    ref = letter(tags.get(GPS.GPSImgDirectionRef))
    datum = text(tags.get(GPS.GPSMapDatum))
    error = _positive(tags.get(GPS.GPSHPositioningError))
    notes = []
    if re.sub(r"[^A-Z0-9]", "", datum.upper()) not in _SAME_AS_WGS84:
        notes.append(f"map datum {datum!r}: may lie hundreds of metres off WGS 84")
    if letter(tags.get(GPS.GPSStatus)) == "V":
        notes.append(f"{VOID}: no satellite fix when it was taken")
    if error is not None and error > IMPRECISE_M:
        notes.append(f"positioning error of {error:,.0f} m")
    return {
        "altitude_m": altitude,
        "heading_deg": None if heading is None else heading % 360.0,
        "heading_ref": ref if heading is not None and ref in ("T", "M") else "",
        "gps_error_m": None if error is None or error >= _UNKNOWN_ERROR_M else error,
        "dop": _positive(tags.get(GPS.GPSDOP)),
        "note": "; ".join(notes),
    }


def _positive(value: object) -> float | None:
    number = scalar(value)
    return number if number is not None and number > 0 else None
