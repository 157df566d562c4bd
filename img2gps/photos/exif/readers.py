"""Raw EXIF tags by exifread and by Pillow."""

from __future__ import annotations

import io
import logging
from typing import Any, NamedTuple

import exifread
from PIL import ExifTags, Image

from img2gps.photos.exif.values import Tags

logging.getLogger("exifread").setLevel(logging.CRITICAL)  # it logs each odd tag of each photo


class Reading(NamedTuple):
    """The tags that one reader found; empty where it found none."""

    base: Tags  # image and EXIF directories
    gps: Tags


def read_exifread(data: bytes) -> Reading:
    """Return what exifread finds; nothing if it raises."""
    base: dict[int, Any] = {}
    gps: dict[int, Any] = {}
    try:
        found = exifread.process_file(io.BytesIO(data), details=False, extract_thumbnail=False)
    except Exception:  # AssertionError, EOFError, IndexError, ...: Pillow is asked next
        return Reading(base, gps)
    for name, tag in found.items():
        group, _, _ = name.partition(" ")
        number, values = getattr(tag, "tag", None), getattr(tag, "values", None)
        if number is None:
            continue
        if group == "GPS":
            gps[number] = values
        elif group in ("Image", "EXIF"):
            base.setdefault(number, values)
    return Reading(base, gps)


def read_pillow(image: Image.Image) -> Reading:
    """Return what Pillow finds; nothing if it raises."""
    try:
        exif = image.getexif()
        base = dict(exif) | dict(exif.get_ifd(ExifTags.IFD.Exif))
        if turned := image.info.get("original_orientation"):  # pillow-heif resets the tag
            base[ExifTags.Base.Orientation] = turned
        return Reading(base, dict(exif.get_ifd(ExifTags.IFD.GPSInfo)))
    except Exception:  # struct.error, SyntaxError, ValueError, KeyError, ... on broken EXIF
        return Reading({}, {})
