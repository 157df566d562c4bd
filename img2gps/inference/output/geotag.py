"""Positions written into the EXIF of copies. Originals are never touched.

Only the EXIF segment of a JPEG is replaced, so that its picture stays as it was, bit by bit.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

from PIL import ExifTags, Image

from img2gps.core.errors import BadInput
from img2gps.core.files import write_bytes_atomic
from img2gps.inference.position import Position
from img2gps.photos.photofile import Unusable, read_bytes

_GPS = ExifTags.GPS
_OF_ITS_FIX = (_GPS.GPSHPositioningError, _GPS.GPSDOP)  # how good the former position was
_MARK = b"Exif\0\0"
_SOI, _EOI_OR_SCAN, _APP1 = b"\xff\xd8", (0xD9, 0xDA), 0xE1
_MOST = 65533  # bytes of a JPEG segment


def write_copy(original: Path, copy: Path, position: Position) -> None:
    """Write a copy of a JPEG with the answer as its position, the radius as its error.

    Raises:
        Unusable: not a JPEG, its EXIF has no room, or the photo is not from here.
        BadInput: the copy would be the original, or something else is there already.
    """
    if copy.exists():
        raise BadInput(f"{copy}: is there already; give an empty folder for the copies")
    if position.lat_deg is None or position.lon_deg is None:
        raise Unusable("has no answer", position.error or "look at the photo")
    if position.from_here is False:
        raise Unusable(
            "does not look as if it was taken here, so no position is written",
            "write it by hand if you know better",
        )
    write_bytes_atomic(copy, with_position(read_bytes(original), position))


def with_position(data: bytes, position: Position) -> bytes:
    """Return a JPEG's bytes with the answer in its EXIF, all else as it was.

    Raises:
        Unusable: not a JPEG, or its EXIF has no room.
    """
    if not data.startswith(_SOI):
        raise Unusable("only JPEG photos can be tagged", "export it as JPEG")
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    for tag in _OF_ITS_FIX:
        gps.pop(tag, None)
    gps.update(_gps(position))
    block = _MARK + exif.tobytes().removeprefix(_MARK)
    if len(block) > _MOST:
        raise Unusable("its EXIF leaves no room for a position", "remove its maker's notes")
    segment = struct.pack(">BBH", 0xFF, _APP1, len(block) + 2) + block
    return _SOI + segment + _without_exif(data)


def _gps(position: Position) -> dict[int, object]:
    lat, lon = position.lat_deg or 0.0, position.lon_deg or 0.0
    tags: dict[int, object] = {
        _GPS.GPSVersionID: b"\2\3\0\0",
        _GPS.GPSLatitudeRef: "S" if lat < 0 else "N",
        _GPS.GPSLatitude: _dms(lat),
        _GPS.GPSLongitudeRef: "W" if lon < 0 else "E",
        _GPS.GPSLongitude: _dms(lon),
        _GPS.GPSMapDatum: "WGS-84",
        _GPS.GPSProcessingMethod: b"ASCII\0\0\0img2gps",
    }
    if position.radius_m is not None:
        tags[_GPS.GPSHPositioningError] = round(position.radius_m, 1)
    return tags


def _dms(degrees: float) -> tuple[float, float, float]:
    """Return degrees, minutes and seconds, to some 3 mm."""
    seconds = round(abs(degrees) * 3600, 4)
    return seconds // 3600, seconds % 3600 // 60, round(seconds % 60, 4)


def _without_exif(data: bytes) -> bytes:
    """Return a JPEG's segments after the start of image, without EXIF."""
    kept, at = [], len(_SOI)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in _EOI_OR_SCAN:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at : at + 2 + length]
        if not (data[at + 1] == _APP1 and segment[4:].startswith(_MARK)):
            kept.append(segment)
        at += 2 + length
    return b"".join(kept) + data[at:]
