"""Geotagged photos made by code: real JPEG, PNG, WebP, TIFF, HEIC, AVIF with real EXIF.

The EXIF is written here byte by byte (TIFF 6.0, section 2), not by a library, so that tests can
write what no library would: wrong types, missing references, zero denominators.
"""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from img2gps.core import geo

pillow_heif.register_heif_opener()

# TIFF field types
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, FLOAT, DOUBLE = (
    1,
    2,
    3,
    4,
    5,
    7,
    10,
    11,
    12,
)
_FORMAT = {BYTE: "B", SHORT: "H", LONG: "L", UNDEFINED: "B", FLOAT: "f", DOUBLE: "d"}

Field = tuple[int, Any]  # type and value: bytes for ASCII, pairs for rationals, else numbers
Fields = Mapping[int, Field]


def _encode(field: Field, order: str) -> tuple[int, bytes]:
    """Count and bytes of a field's value."""
    kind, value = field
    if kind in (ASCII, UNDEFINED) and isinstance(value, bytes):
        return len(value), value
    if kind in (RATIONAL, SRATIONAL):
        letter = "L" if kind == RATIONAL else "l"
        return len(value), b"".join(struct.pack(f"{order}2{letter}", *pair) for pair in value)
    values: Iterable[Any] = value if isinstance(value, Sequence) else (value,)
    packed = [struct.pack(f"{order}{_FORMAT[kind]}", one) for one in values]
    return len(packed), b"".join(packed)


def _ifd(fields: Fields, offset: int, order: str) -> bytes:
    """One image file directory as it stands at `offset`, its values behind it."""
    head = struct.pack(f"{order}H", len(fields))
    tail = b""
    values_at = offset + 2 + 12 * len(fields) + 4
    for tag, field in sorted(fields.items()):
        count, data = _encode(field, order)
        if len(data) > 4:
            place = struct.pack(f"{order}L", values_at + len(tail))
            tail += data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(4, b"\0")
        head += struct.pack(f"{order}HHL", tag, field[0], count) + place
    return head + struct.pack(f"{order}L", 0) + tail


def tiff_exif(
    gps: Fields | None = None,
    base: Fields | None = None,
    exif: Fields | None = None,
    order: str = "<",
    below: Fields | None = None,
) -> bytes:
    """EXIF as bare TIFF: image, EXIF, GPS and lower image directories, each only where given."""
    fields = dict(base or {})
    parts = {0x8769: exif, 0x8825: gps, 0x014A: below}
    for tag, part in parts.items():
        if part is not None:
            fields[tag] = (LONG, 0)
    at = 8 + len(_ifd(fields, 8, order))
    tail = b""
    for tag, part in parts.items():
        if part is not None:
            fields[tag] = (LONG, at + len(tail))
            tail += _ifd(part, at + len(tail), order)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}L", 8) + _ifd(fields, 8, order) + tail


def dms(degrees: float) -> list[tuple[int, int]]:
    """Degrees, minutes and seconds as a camera writes them: exact to 1e-9 degrees or so."""
    total = round(abs(degrees) * 3600 * 10**5)
    minutes, seconds = divmod(total, 60 * 10**5)
    return [(minutes // 60, 1), (minutes % 60, 1), (seconds, 10**5)]


def gps_fields(
    lat: float | None,
    lon: float | None,
    *,
    altitude_m: float | None = None,
    heading_deg: float | None = None,
    gps_error_m: float | None = None,
) -> dict[int, Field]:
    """A GPS directory as a phone writes it."""
    fields: dict[int, Field] = {}
    if lat is not None:
        fields |= {1: (ASCII, b"S\0" if lat < 0 else b"N\0"), 2: (RATIONAL, dms(lat))}
    if lon is not None:
        fields |= {3: (ASCII, b"W\0" if lon < 0 else b"E\0"), 4: (RATIONAL, dms(lon))}
    if altitude_m is not None:
        fields |= {
            5: (BYTE, int(altitude_m < 0)),
            6: (RATIONAL, [(round(abs(altitude_m) * 100), 100)]),
        }
    if heading_deg is not None:
        fields |= {16: (ASCII, b"T\0"), 17: (RATIONAL, [(round(heading_deg * 100), 100)])}
    if gps_error_m is not None:
        fields[31] = (RATIONAL, [(round(gps_error_m * 1000), 1000)])
    return fields


def picture(size: tuple[int, int] = (64, 48), seed: int = 0) -> Image.Image:
    """A smooth colour gradient that differs by seed and in every direction."""
    width, height = size
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def jpeg_with_exif(exif: bytes, image: Image.Image | None = None) -> bytes:
    """A JPEG with `exif` (bare TIFF) in its APP1 segment."""
    file = io.BytesIO()
    (image or picture()).save(file, "JPEG", quality=90, exif=b"Exif\0\0" + exif)
    return file.getvalue()


def dng(jpeg: bytes, size: tuple[int, int], gps: Fields | None, orientation: int = 1) -> bytes:
    """A DNG as phones write it: a thumbnail, raw data, and a JPEG preview in a lower directory."""
    thumbnail = bytes(16 * 12 * 3)

    def directories(start: int) -> bytes:
        base: dict[int, Field] = {
            0x00FE: (LONG, 1),
            0x0100: (LONG, 16),
            0x0101: (LONG, 12),
            0x0103: (SHORT, 1),
            0x0102: (SHORT, [8, 8, 8]),
            0x0106: (SHORT, 2),
            0x0115: (SHORT, 3),
            0x0111: (LONG, start),
            0x0116: (LONG, 12),
            0x0117: (LONG, len(thumbnail)),
            0x010F: (ASCII, b"Maker\0"),
            0x0110: (ASCII, b"Phone 1\0"),
            0x0112: (SHORT, orientation),
            0xC612: (BYTE, [1, 4, 0, 0]),
        }
        preview: dict[int, Field] = {
            0x00FE: (LONG, 1),
            0x0100: (LONG, size[0]),
            0x0101: (LONG, size[1]),
            0x0103: (SHORT, 7),
            0x0106: (SHORT, 6),
            0x0111: (LONG, start + len(thumbnail)),
            0x0116: (LONG, size[1]),
            0x0117: (LONG, len(jpeg)),
        }
        return tiff_exif(gps, base, None, below=preview)

    return directories(len(directories(0))) + thumbnail + jpeg


def make_photo(
    path: Path,
    lat: float | None,
    lon: float | None,
    *,
    size: tuple[int, int] = (64, 48),
    seed: int = 0,
    altitude_m: float | None = None,
    heading_deg: float | None = None,
    gps_error_m: float | None = None,
    taken_at: str = "",
    offset: str = "",
    orientation: int = 1,
    camera: tuple[str, str] = ("Maker", "Phone 1"),
    image: Image.Image | None = None,
) -> Path:
    """Write a photo with EXIF in the format of the path's suffix; returns the path.

    `taken_at` is EXIF's "2024:05:01 12:30:00". Latitude None leaves the GPS directory out.
    """
    base: dict[int, Field] = {
        0x010F: (ASCII, camera[0].encode() + b"\0"),
        0x0110: (ASCII, camera[1].encode() + b"\0"),
        0x0112: (SHORT, orientation),
    }
    exif: dict[int, Field] = {}
    if taken_at:
        exif[0x9003] = (ASCII, taken_at.encode() + b"\0")
    if offset:
        exif[0x9011] = (ASCII, offset.encode() + b"\0")
    gps = gps_fields(
        lat, lon, altitude_m=altitude_m, heading_deg=heading_deg, gps_error_m=gps_error_m
    )
    block = tiff_exif(gps or None, base, exif or None)
    (image or picture(size, seed)).save(path, exif=b"Exif\0\0" + block)
    return path


HOSTILE = "<img src=x onerror=alert(1)>&'\".jpg"


def make_site(folder: Path, lat0: float = 39.9515, lon0: float = -75.1914) -> Path:
    """Forty photos on a grid of 100 m by 90 m, two sessions, two copies, one far, four rejects."""
    for i in range(40):
        lat, lon = geo.from_east_north_m(100 / 7 * (i % 8), 90 / 4 * (i // 8), lat0, lon0)
        make_photo(
            folder / f"{i:02}.jpg",
            float(lat),
            float(lon),
            seed=i,
            heading_deg=90.0 if i < 30 else None,
            gps_error_m=4.0 + i % 3 if i < 21 else None,
            taken_at=f"2024:05:{1 + i // 20:02} 1{i // 20}:{i % 20:02}:00",
            orientation=6 if i % 2 else 1,
        )
    make_photo(folder / "far.jpg", lat0 + 1, lon0, seed=100)
    shutil.copy(folder / "00.jpg", folder / "copy.jpg")
    shutil.copy(folder / "01.jpg", folder / HOSTILE)
    make_photo(folder / "same place.jpg", lat0, lon0, seed=101)
    make_photo(folder / "no gps.jpg", None, None)
    make_photo(folder / "WhatsApp Image <b>.jpg", None, None)
    for name in ("text.jpg", "more text.jpg"):
        (folder / name).write_text("no photo")
    return folder
