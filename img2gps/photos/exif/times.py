"""When a photo was taken, as ISO 8601."""

from __future__ import annotations

import math
import re
from datetime import datetime

from PIL import ExifTags

from img2gps.photos.exif.gps import GPS
from img2gps.photos.exif.values import Tags, numbers, text

_BASE = ExifTags.Base
_DATE = re.compile(r"(\d{4})[:\-/. ](\d{1,2})[:\-/. ](\d{1,2})[T ]+(\d{1,2}):(\d{1,2}):(\d{1,2})")
_OFFSET = re.compile(r"[+-]\d{2}:\d{2}|Z")


def is_plausible(moment: datetime) -> bool:
    """Return whether a photo can have been taken then; the oldest that survives is of 1826."""
    return 1826 <= moment.year <= 2200


def parse_time(date: str, subsec: str = "", offset: str = "") -> str:
    """Return ISO 8601 from an EXIF date, fraction of a second and offset; "" if it is no date.

    >>> parse_time("2021:05:04 13:02:01", "5", "-04:00")
    '2021-05-04T13:02:01.500-04:00'
    """
    match = _DATE.match(date.strip())
    if match is None:
        return ""
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        return ""
    if not is_plausible(moment):
        return ""
    known = subsec.isascii() and subsec.isdecimal() and subsec.strip("0")
    fraction = f".{(subsec + '00')[:3]}" if known else ""
    zone = offset.strip()
    zone = ("+00:00" if zone == "Z" else zone) if _OFFSET.fullmatch(zone) else ""
    try:
        datetime.fromisoformat(found := moment.isoformat() + fraction + zone)
    except ValueError:  # an offset of more than a day
        return moment.isoformat() + fraction
    return found


def taken_at(base: Tags, gps: Tags) -> str:
    """Return when the shutter opened: the original time, else the digitised one, else GPS time.

    DateTime is not used, because it is when an editor last saved the file.
    """
    for date, subsec, offset in (
        (_BASE.DateTimeOriginal, _BASE.SubsecTimeOriginal, _BASE.OffsetTimeOriginal),
        (_BASE.DateTimeDigitized, _BASE.SubsecTimeDigitized, _BASE.OffsetTimeDigitized),
    ):
        found = parse_time(*(text(base.get(tag)) for tag in (date, subsec, offset)))
        if found:
            return found
    clock = numbers(gps.get(GPS.GPSTimeStamp) or ())
    if len(clock) == 3 and all(math.isfinite(part) for part in clock):
        hour, minute, second = (int(part) for part in clock)
        return parse_time(f"{text(gps.get(GPS.GPSDateStamp))} {hour}:{minute}:{second}", offset="Z")
    return ""
