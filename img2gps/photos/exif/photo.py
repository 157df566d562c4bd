"""What one photo says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from PIL import ExifTags

from img2gps.core.geo import distance_m
from img2gps.photos.decode import open_image
from img2gps.photos.exif import gps, xmp
from img2gps.photos.exif.missing import why_no_gps
from img2gps.photos.exif.readers import read_exifread, read_hidden, read_pillow
from img2gps.photos.exif.times import taken_at
from img2gps.photos.exif.values import Tags, scalar, text
from img2gps.photos.photofile import Unusable

READER_VERSION = "5"  # raise it when the same file gives another position than before
APART = "exifread and Pillow read positions"  # how its note begins
_DISAGREE_M = 1.0  # two readings of one file differ by rounding only, or one of them is wrong


@dataclass(frozen=True)
class Exif:
    """The facts that a photo's file states; None or "" for what it does not state."""

    lat_deg: float | None = None
    lon_deg: float | None = None
    altitude_m: float | None = None  # above sea level; negative below
    heading_deg: float | None = None  # of the lens, clockwise from north, [0, 360)
    heading_ref: str = ""  # "T" true or "M" magnetic north
    gps_error_m: float | None = None  # GPSHPositioningError: the label's own noise
    dop: float | None = None
    taken_at: str = ""  # ISO 8601, with offset if the file has one
    camera: str = ""
    orientation: int = 1  # as stored, 1..8
    source: str = ""  # what gave the position: "exifread", "pillow", "hidden" or "xmp"
    reason: str = ""  # why there is no position
    remedy: str = ""
    note: str = ""  # something odd that did not prevent the reading


def read(data: bytes, name: str = "") -> Exif:
    """Return everything that a photo states about itself; never raises.

    The file's `name` helps to say why a position is missing: chats and screenshots have their own.
    """
    try:
        image = open_image(data)
    except Unusable as error:
        return Exif(reason=error.reason, remedy=error.remedy)
    readings = {"pillow": read_pillow(image)}
    if image.format not in ("HEIF", "AVIF"):  # exifread loops without end on some of these
        readings = {"exifread": read_exifread(data), **readings}
    base = {t: value for found in reversed(readings.values()) for t, value in found.base.items()}
    result = _describe(base, {source: found.gps for source, found in readings.items()})
    if not result.source and (hidden := read_hidden(image, data)).gps:
        result = _better(result, _describe({**hidden.base, **base}, {"hidden": hidden.gps}))
    if not result.source and (tags := xmp.read_gps(xmp.packet_of(image))):
        result = _better(result, _describe(base, {"xmp": tags}))
    if not result.source and not result.reason:
        reason, remedy = why_no_gps(
            name, camera=result.camera, has_exif=bool(base), is_png=image.format == "PNG"
        )
        result = replace(result, reason=reason, remedy=remedy)
    return result


def _better(first: Exif, second: Exif) -> Exif:
    """Return the one with a position, or the first that says why it has none."""
    return second if second.source or not first.reason else first


def _describe(base: Tags, readings: Mapping[str, Tags]) -> Exif:
    """Return the first valid position among GPS directories, with what else they say."""
    found: dict[str, tuple[float, float]] = {}
    problem: Unusable | None = None
    for source, tags in readings.items():
        if tags:
            try:
                found[source] = gps.position(tags)
            except Unusable as error:
                problem = problem or error
    source = next(iter(found), "")
    chosen = readings[source] if source else next(filter(None, readings.values()), {})
    details = gps.details(chosen)
    if len(found) == 2:
        apart = float(distance_m(*found["exifread"], *found["pillow"]))
        if apart > _DISAGREE_M:
            note = f"{APART} {apart:.0f} m apart"
            details["note"] = "; ".join(filter(None, [details["note"], note]))
    orientation = scalar(base.get(ExifTags.Base.Orientation))
    lat, lon = found.get(source, (None, None))
    return Exif(
        lat_deg=lat,
        lon_deg=lon,
        taken_at=taken_at(base, chosen),
        camera=_camera(base),
        orientation=int(orientation) if orientation and orientation in range(1, 9) else 1,
        source=source,
        reason=problem.reason if problem and not source else "",
        remedy=problem.remedy if problem and not source else "",
        **details,
    )


def _camera(base: Tags) -> str:
    make, model = text(base.get(ExifTags.Base.Make)), text(base.get(ExifTags.Base.Model))
    return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
