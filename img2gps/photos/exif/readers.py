"""Raw EXIF tags by exifread and by Pillow."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import exifread
from PIL import ExifTags, Image

from img2gps.photos.containers import APP1, SOS, jpeg_segments
from img2gps.photos.exif.values import Tags

logging.getLogger("exifread").setLevel(logging.CRITICAL)  # it logs each odd tag of each photo


_EXIF_MARK = b"Exif\0\0"


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
        return _reading(image.getexif(), image.info.get("original_orientation"))
    except Exception:  # struct.error, SyntaxError, ValueError, KeyError, ... on broken EXIF
        return Reading({}, {})


def read_hidden(image: Image.Image, data: bytes) -> Reading:
    """Return what stands in EXIF blocks that neither library reads; the first with GPS data.

    These are EXIF segments of a JPEG behind its first, and ImageMagick's raw profile in a PNG.
    """
    for block in _hidden_blocks(image, data):
        if (found := _read_block(block)).gps:
            return found
    return Reading({}, {})


def _read_block(block: bytes) -> Reading:
    exif = Image.Exif()
    try:
        exif.load(block)
        return _reading(exif)
    except Exception:  # as above
        return Reading({}, {})


def _hidden_blocks(image: Image.Image, data: bytes) -> Iterator[bytes]:
    if image.format in ("JPEG", "MPO"):
        for marker, body, _ in jpeg_segments(data):
            if marker == SOS:
                return
            if marker == APP1 and body.startswith(_EXIF_MARK):
                yield body
    for name in ("Raw profile type exif", "Raw profile type APP1"):
        if isinstance(profile := image.info.get(name), str):  # "\nexif\n  length\nhex..."
            try:
                block = bytes.fromhex("".join(profile.split("\n")[3:]))
            except ValueError:
                continue
            yield block if block.startswith(_EXIF_MARK) else _EXIF_MARK + block


def _reading(exif: Image.Exif, turned: int | None = None) -> Reading:
    base = dict(exif) | dict(exif.get_ifd(ExifTags.IFD.Exif))
    if turned:  # pillow-heif resets the tag
        base[ExifTags.Base.Orientation] = turned
    return Reading(base, dict(exif.get_ifd(ExifTags.IFD.GPSInfo)))
