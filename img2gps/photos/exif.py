"""EXIF: bytes of a photo to position, heading, time, orientation, or a named reason.

Two readers look at every photo: exifread, which is fast and reads odd TIFF structures, and
Pillow (with pillow-heif), which finds EXIF where exifread does not look. Each misses or breaks
on files that the other reads. Where both find a position they are compared; XMP is read where
neither does. The conversion to degrees is ours, so that both are judged by the same rules.

Tags are those of EXIF 2.32 (CIPA DC-008), section 4.6.6 for GPS.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

import exifread
from PIL import ExifTags, Image

from img2gps.core.geo import distance_m
from img2gps.photos.decode import open_image
from img2gps.photos.photofile import Unusable

logging.getLogger("exifread").setLevel(logging.CRITICAL)  # it logs each odd tag of each photo

READER_VERSION = "3"  # raise it when the same file gives another position than before

GPS_IFD = ExifTags.IFD.GPSInfo
_GPS = ExifTags.GPS
_BASE = ExifTags.Base
_DISAGREE_M = 1.0  # two readings of one file differ by rounding only, or one of them is wrong
_NULL_ISLAND_DEG = 1e-4  # 11 m of open ocean


@dataclass(frozen=True)
class Exif:
    """What a photo says about itself; None or "" where it says nothing usable."""

    lat_deg: float | None = None
    lon_deg: float | None = None
    altitude_m: float | None = None  # above sea level; negative below
    heading_deg: float | None = None  # of the lens, clockwise from north, [0, 360)
    heading_ref: str = ""  # "T" true or "M" magnetic north
    gps_error_m: float | None = None  # GPSHPositioningError: the label's own noise
    dop: float | None = None
    taken_at: str = ""  # ISO 8601, with offset where the file has one
    camera: str = ""
    orientation: int = 1  # as stored, 1..8
    source: str = ""  # what gave the position: "exifread", "pillow" or "xmp"
    reason: str = ""  # why there is no position
    remedy: str = ""
    note: str = ""  # something odd that did not prevent the reading


# --- conversion -----------------------------------------------------------------------------


def to_degrees(value: object, ref: object, *, axis: str) -> float:
    """Signed decimal degrees from an EXIF coordinate and its reference.

    `value` holds one to three components (degrees, minutes, seconds), each a rational, a number
    or text; `ref` the hemisphere as text or bytes; `axis` is "latitude" or "longitude". 0/0
    stands for "not given" in minutes and seconds, never in degrees. Raises `Unusable`.

    >>> to_degrees(((39, 1), (57, 1), (0, 0)), "N", axis="latitude")
    39.95
    """
    letters, limit = ("NS", 90.0) if axis == "latitude" else ("EW", 180.0)
    if isinstance(value, bytes) and len(value) <= 3:  # of type BYTE, as Pillow gives it: no text
        value = tuple(value)
    numbers = _numbers(value)
    if not 1 <= len(numbers) <= 3:
        raise Unusable(f"{axis} has {len(numbers)} components", _FIX_GPS)
    if math.isnan(numbers[0]):
        raise Unusable(f"{axis} is 0/0: no satellite fix when it was taken", _WAIT_FOR_FIX)
    degrees, minutes, seconds = [*(0.0 if math.isnan(n) else n for n in numbers), 0.0, 0.0][:3]
    if not all(math.isfinite(n) for n in (degrees, minutes, seconds)):
        raise Unusable(f"{axis} has a zero denominator", _FIX_GPS)
    if not (0 <= minutes <= 60 and 0 <= seconds <= 60):  # 60 itself comes from rounding up
        raise Unusable(f"{axis} has minutes or seconds outside 0..60", _FIX_GPS)
    hemisphere = _letter(ref)
    if not hemisphere:
        raise Unusable(f"{axis} without its reference ({' or '.join(letters)})", _FIX_GPS)
    if hemisphere not in letters:
        raise Unusable(f"{axis} has the reference {hemisphere!r}", _FIX_GPS)
    positive = hemisphere == letters[0]
    if math.copysign(1.0, degrees) < 0 and positive:
        raise Unusable(f"{axis} is negative but its reference says {hemisphere}", _FIX_GPS)
    magnitude = abs(degrees) + minutes / 60 + seconds / 3600
    if magnitude > limit:
        raise Unusable(f"{axis} of {magnitude:.6g} degrees is off the globe", _FIX_GPS)
    return magnitude if positive else -magnitude


def _numbers(value: object) -> list[float]:
    """Components as floats; 0/0 and text that is no number become NaN, x/0 infinity."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        parts = re.findall(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:/[-+]?[\d.]+)?|nan|inf", value)
        return [_number(part) for part in parts]
    if isinstance(value, Sequence):
        return [number for part in value for number in _component(part)]
    return [_number(value)]


def _component(part: object) -> list[float]:
    """One component: two integers in it are a rational, side by side they are two components."""
    match part:
        case (int(numerator), int(denominator)):
            return [_ratio(numerator, denominator)]
    return _numbers(part)


def _number(value: object) -> float:
    numerator = getattr(value, "numerator", None)
    denominator = getattr(value, "denominator", None)
    if numerator is not None and denominator is not None:
        return _ratio(numerator, denominator)
    try:
        if isinstance(value, str) and "/" in value:
            top, bottom = value.split("/")
            return _ratio(float(top), float(bottom))
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return math.nan


def _ratio(numerator: float, denominator: float) -> float:
    if denominator == 0:
        return math.nan if numerator == 0 else math.inf
    return float(numerator / denominator)


def _letter(ref: object) -> str:
    """First letter of a reference, upper case; "" where there is none."""
    if isinstance(ref, bytes):
        ref = ref.decode("latin-1")
    if isinstance(ref, Sequence) and not isinstance(ref, str):
        ref = "".join(chr(c) if isinstance(c, int) and 0 < c < 128 else str(c) for c in ref)
    return str(ref or "").strip("\0 \t\r\n").upper()[:1]


def _scalar(value: object) -> float | None:
    """A single finite number, or None."""
    numbers = _numbers(value) if value is not None else []
    return numbers[0] if numbers and math.isfinite(numbers[0]) else None


def _byte(value: object) -> int | None:
    """A field of type BYTE, which Pillow gives as bytes, exifread as a list and XMP as text."""
    if isinstance(value, bytes) and value and value[0] < 32:
        return value[0]
    number = _scalar(value)
    return None if number is None else int(number)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return " ".join(value.split("\0")[0].split())


# --- GPS ------------------------------------------------------------------------------------

_FIX_GPS = "enter its position in overrides.csv"
_WAIT_FOR_FIX = "enter its position in overrides.csv; outdoors, wait for a fix before shooting"

Tags = Mapping[int, Any]


def position(gps: Tags) -> tuple[float, float]:
    """Latitude and longitude in degrees from a GPS IFD (tag number to value).

    Raises `Unusable` with the reason.
    """
    missing = [axis for axis, tag in _AXES.items() if gps.get(tag) in (None, "", b"", (), [])]
    if len(missing) == 2:
        raise Unusable("no coordinates in its GPS data", _WAIT_FOR_FIX)
    if missing:
        raise Unusable(f"{missing[0]} is missing", _FIX_GPS)
    lat = to_degrees(gps[_GPS.GPSLatitude], gps.get(_GPS.GPSLatitudeRef), axis="latitude")
    lon = to_degrees(gps[_GPS.GPSLongitude], gps.get(_GPS.GPSLongitudeRef), axis="longitude")
    refuse_null_island(lat, lon, _FIX_GPS)
    return lat, lon


def refuse_null_island(lat_deg: float, lon_deg: float, remedy: str) -> None:
    """Raises `Unusable` with `remedy` for a position of 0, 0, whoever gave it."""
    if abs(lat_deg) < _NULL_ISLAND_DEG and abs(lon_deg) < _NULL_ISLAND_DEG:
        raise Unusable("null island: the position is 0, 0, which stands for unknown", remedy)


_AXES = {"latitude": _GPS.GPSLatitude, "longitude": _GPS.GPSLongitude}


_SAME_AS_WGS84 = ("", "WGS84", "WGS1984", "JGD2000", "JGD2011")  # within a metre


def _gps_details(gps: Tags) -> dict[str, Any]:
    """The fields of `Exif` beside the position that a GPS IFD holds."""
    altitude = _scalar(gps.get(_GPS.GPSAltitude))
    if altitude is not None and _byte(gps.get(_GPS.GPSAltitudeRef)) in (1, 3):  # below zero
        altitude = -abs(altitude)
    heading = _scalar(gps.get(_GPS.GPSImgDirection))
    if heading is not None and not 0 <= heading <= 360:
        heading = None
    error = _scalar(gps.get(_GPS.GPSHPositioningError))
    dop = _scalar(gps.get(_GPS.GPSDOP))
    ref = _letter(gps.get(_GPS.GPSImgDirectionRef))
    datum = _text(gps.get(_GPS.GPSMapDatum))
    wgs84 = re.sub(r"[^A-Z0-9]", "", datum.upper()) in _SAME_AS_WGS84
    return {
        "altitude_m": altitude,
        "heading_deg": None if heading is None else heading % 360.0,
        "heading_ref": ref if heading is not None and ref in ("T", "M") else "",
        "gps_error_m": error if error is not None and error > 0 else None,
        "dop": dop if dop is not None and dop > 0 else None,
        "note": "" if wgs84 else f"map datum {datum!r}: may lie hundreds of metres off WGS 84",
    }


# --- time -----------------------------------------------------------------------------------

_DATE = re.compile(r"(\d{4})[:\-/. ](\d{1,2})[:\-/. ](\d{1,2})[T ]+(\d{1,2}):(\d{1,2}):(\d{1,2})")
_OFFSET = re.compile(r"[+-]\d{2}:\d{2}|Z")


def is_plausible(moment: datetime) -> bool:
    """Whether a photo can have been taken then: the oldest that is left is of about 1826."""
    return 1826 <= moment.year <= 2200


def parse_time(text: str, subsec: str = "", offset: str = "") -> str:
    """ISO 8601 from an EXIF date, fraction of a second and offset; "" where it is no date.

    >>> parse_time("2021:05:04 13:02:01", "5", "-04:00")
    '2021-05-04T13:02:01.500-04:00'
    """
    match = _DATE.match(text.strip())
    if match is None:
        return ""
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        return ""
    if not is_plausible(moment):
        return ""
    known = subsec.isascii() and subsec.isdecimal() and int(subsec) > 0
    fraction = f".{(subsec + '00')[:3]}" if known else ""
    zone = offset.strip()
    zone = ("+00:00" if zone == "Z" else zone) if _OFFSET.fullmatch(zone) else ""
    try:
        datetime.fromisoformat(found := moment.isoformat() + fraction + zone)
    except ValueError:  # an offset of more than a day
        return moment.isoformat() + fraction
    return found


def _taken_at(base: Tags, gps: Tags) -> str:
    """When the shutter opened: original, else digitised, else the satellites' (UTC).

    Not DateTime, which is when an editor last saved the file.
    """
    for date, subsec, offset in (
        (_BASE.DateTimeOriginal, _BASE.SubsecTimeOriginal, _BASE.OffsetTimeOriginal),
        (_BASE.DateTimeDigitized, _BASE.SubsecTimeDigitized, _BASE.OffsetTimeDigitized),
    ):
        found = parse_time(*(_text(base.get(tag)) for tag in (date, subsec, offset)))
        if found:
            return found
    clock = _numbers(gps.get(_GPS.GPSTimeStamp) or ())
    day = _text(gps.get(_GPS.GPSDateStamp))
    if len(clock) == 3 and all(math.isfinite(part) for part in clock):
        hour, minute, second = (int(part) for part in clock)
        return parse_time(f"{day} {hour}:{minute}:{second}", offset="Z")
    return ""


def _camera(base: Tags) -> str:
    make, model = _text(base.get(_BASE.Make)), _text(base.get(_BASE.Model))
    return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()


# --- the readers ----------------------------------------------------------------------------


def _read_exifread(data: bytes) -> tuple[Tags, Tags]:
    """Base and GPS tags by number; empty where exifread finds nothing or raises."""
    base: dict[int, Any] = {}
    gps: dict[int, Any] = {}
    try:
        found = exifread.process_file(io.BytesIO(data), details=False, extract_thumbnail=False)
    except Exception:  # AssertionError, EOFError, IndexError, ...: Pillow is asked next
        return base, gps
    for name, tag in found.items():
        group, _, _ = name.partition(" ")
        number, values = getattr(tag, "tag", None), getattr(tag, "values", None)
        if number is None:
            continue
        if group == "GPS":
            gps[number] = values
        elif group in ("Image", "EXIF"):
            base.setdefault(number, values)
    return base, gps


def _read_pillow(image: Image.Image) -> tuple[Tags, Tags]:
    """The same by Pillow; empty where it finds nothing or raises."""
    try:
        exif = image.getexif()
        base = dict(exif) | dict(exif.get_ifd(ExifTags.IFD.Exif))
        if turned := image.info.get("original_orientation"):  # pillow-heif resets the tag
            base[_BASE.Orientation] = turned
        return base, dict(exif.get_ifd(GPS_IFD))
    except Exception:  # struct.error, SyntaxError, ValueError, KeyError, ... on broken EXIF
        return {}, {}


_XMP_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_XMP_TAGS = {
    f"{_XMP_EXIF}{tag.name}": tag
    for tag in (
        *(_GPS.GPSLatitude, _GPS.GPSLongitude, _GPS.GPSAltitude, _GPS.GPSAltitudeRef),
        *(_GPS.GPSImgDirection, _GPS.GPSImgDirectionRef, _GPS.GPSHPositioningError),
        *(_GPS.GPSDOP, _GPS.GPSMapDatum),
    )
}


def _read_xmp(packet: bytes) -> Tags:
    """GPS tags out of an XMP packet, in which a coordinate is "39,57.05N" or "39,57,3N"."""
    start, end = packet.find(b"<x:xmpmeta"), packet.rfind(b"</x:xmpmeta>")
    if start < 0 or end < start or b"<!DOCTYPE" in packet:
        return {}
    try:
        root = ET.fromstring(packet[start : end + len(b"</x:xmpmeta>")])  # noqa: S314, no DTD
    except ET.ParseError:
        return {}
    gps: dict[int, Any] = {}
    for element in root.iter():
        pairs = [*element.attrib.items(), (element.tag, element.text or "")]
        for name, text in pairs:
            tag = _XMP_TAGS.get(name)
            if tag is not None and text.strip():
                gps.setdefault(tag, text.strip())
    for tag, ref in (
        (_GPS.GPSLatitude, _GPS.GPSLatitudeRef),
        (_GPS.GPSLongitude, _GPS.GPSLongitudeRef),
    ):
        if tag in gps:
            gps[ref] = gps[tag][-1]
    return gps


def _xmp_packet(image: Image.Image | None, data: bytes) -> bytes:
    packet = image.info.get("xmp") if image is not None else None
    if isinstance(packet, str):
        packet = packet.encode()
    if isinstance(packet, bytes) and packet:
        return packet
    start, end = data.find(b"<x:xmpmeta"), data.find(b"</x:xmpmeta>")
    return data[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else b""


# --- one photo ------------------------------------------------------------------------------


def read(data: bytes, name: str = "") -> Exif:
    """All that a photo says about itself; never raises.

    `name` is the file's name: it tells chats and screenshots apart where the position is gone.
    """
    image: Image.Image | None = None
    not_a_picture: Unusable | None = None
    try:
        image = open_image(data)
    except Unusable as error:
        not_a_picture = error
    readings = {"exifread": _read_exifread(data)}
    if image is not None:
        readings["pillow"] = _read_pillow(image)
    result = _describe([base for base, _ in readings.values()], readings)
    packet = b""
    if not result.source and (packet := _xmp_packet(image, data)):
        gps = _read_xmp(packet)
        if gps:
            from_xmp = _describe([base for base, _ in readings.values()], {"xmp": ({}, gps)})
            result = from_xmp if from_xmp.source or not result.reason else result
    if not result.source and not_a_picture:
        return replace(result, reason=not_a_picture.reason, remedy=not_a_picture.remedy)
    if not result.source and not result.reason:
        reason, remedy = _why_no_gps([b for b, _ in readings.values()], image, name)
        result = replace(result, reason=reason, remedy=remedy)
    return result


def _describe(bases: Sequence[Tags], readings: Mapping[str, tuple[Tags, Tags]]) -> Exif:
    """The first valid position among the readings, with what else they say."""
    base = {tag: value for tags in reversed(bases) for tag, value in tags.items()}
    found: dict[str, tuple[float, float]] = {}
    problem: Unusable | None = None
    for source, (_, gps) in readings.items():
        if gps:
            try:
                found[source] = position(gps)
            except Unusable as error:
                problem = problem or error
    source = next(iter(found), "")
    any_gps = next((gps for _, gps in readings.values() if gps), {})
    gps = readings[source][1] if source else any_gps
    details = _gps_details(gps)
    if len(found) == 2:
        apart = float(distance_m(*found["exifread"], *found["pillow"]))
        if apart > _DISAGREE_M:
            details["note"] = f"exifread and Pillow read positions {apart:.0f} m apart"
    orientation = _scalar(base.get(_BASE.Orientation))
    lat, lon = found.get(source, (None, None))
    return Exif(
        lat_deg=lat,
        lon_deg=lon,
        taken_at=_taken_at(base, gps),
        camera=_camera(base),
        orientation=int(orientation) if orientation and orientation in range(1, 9) else 1,
        source=source,
        reason=problem.reason if problem and not source else "",
        remedy=problem.remedy if problem and not source else "",
        **details,
    )


_ORIGINALS = (
    "export originals with location: iPhone, Share > Options > All Photos Data; "
    "Android, copy by cable; Google Photos, Takeout"
)
_LOCATION_ON = "turn location on for the camera app, or enter positions in overrides.csv"
_CHATS = {
    "WhatsApp": re.compile(r"(IMG-\d{8}-WA\d+|WhatsApp Image)", re.IGNORECASE),
    "Telegram": re.compile(r"photo_\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}", re.IGNORECASE),
    "Signal": re.compile(r"signal-\d{4}", re.IGNORECASE),
    "Facebook": re.compile(r"(FB_IMG_|received_)\d+|\d+_\d+_\d+_[no]\.jpg", re.IGNORECASE),
    "WeChat": re.compile(r"mmexport\d+", re.IGNORECASE),
}
_SCREENSHOT = re.compile(r"(screen[ _-]?shot|bildschirmfoto|capture d.?.?cran)", re.IGNORECASE)


def _why_no_gps(bases: Sequence[Tags], image: Image.Image | None, name: str) -> tuple[str, str]:
    """The likely cause that a photo holds no GPS at all, and the remedy."""
    for chat, pattern in _CHATS.items():
        if pattern.search(name):
            return f"no GPS: sent through {chat}, which removes it", _ORIGINALS
    if _SCREENSHOT.search(name):
        return "no GPS: a screenshot, not a photo", "remove it"
    base = {tag: value for tags in bases for tag, value in tags.items()}
    if _camera(base):
        return "no GPS: location was off, or removed on export", f"{_LOCATION_ON}; {_ORIGINALS}"
    if image is not None and image.format == "PNG":
        return "no GPS: a screenshot or a drawing (PNG without camera)", _ORIGINALS
    if base:
        return "no GPS: saved by an editor (EXIF without camera)", _ORIGINALS
    return "no GPS: no EXIF at all, as after a chat, a web page or an editor", _ORIGINALS
