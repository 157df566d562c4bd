"""Photos as people have them (paths, bytes, PIL pictures, arrays) to pixels, or why not."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2gps.photos import decode, exif
from img2gps.photos.photofile import Unusable, display_name, read_bytes

Photo = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Input:
    """One photo, decoded.

    Attributes:
        name: the file's name as it was given, or what the photo is ("bytes").
        pixels: upright, (size, size, 3); None where the photo cannot be used.
        label: the latitude and longitude that the photo itself says; None where it says none.
        error: why it cannot be used, and what to do.
    """

    name: str
    pixels: NDArray[np.uint8] | None = None
    label: tuple[float, float] | None = None
    error: str = ""


def read_input(photo: Photo, size: int, name: str = "") -> Input:
    """Decode one photo to a square of `size` pixels; without a name it is called by its own."""
    name = display_name(name) if name else _name(photo)
    try:
        data = _encoded(photo)
        pixels, _ = decode.decode(data, size)
    except Unusable as error:
        return Input(name, error=f"{error.reason}; {error.remedy}")
    found = exif.read(data)
    known = found.lat_deg is not None and found.lon_deg is not None
    label = (found.lat_deg, found.lon_deg) if known else None
    return Input(name, pixels, label)  # type: ignore[arg-type]  # `known` says that both are there


def _encoded(photo: Photo) -> bytes:
    """Return the photo as a file's bytes, so that every kind is decoded in the one way."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | os.PathLike):
        return read_bytes(Path(photo))
    image = photo if isinstance(photo, Image.Image) else _from_array(photo)
    buffer = io.BytesIO()
    kept = {"exif": data} if (data := image.info.get("exif")) else {}
    if image.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    image.save(buffer, "PNG", compress_level=0, **kept)
    return buffer.getvalue()


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    shape = np.shape(array)
    if len(shape) != 3 or shape[2] != 3 or np.asarray(array).dtype != np.uint8:
        raise Unusable(
            f"array of shape {shape} and type {np.asarray(array).dtype}",
            "give uint8 RGB of shape (height, width, 3)",
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _name(photo: Photo) -> str:
    if isinstance(photo, str | os.PathLike):
        return display_name(os.fspath(photo))
    filename = getattr(photo, "filename", "")
    return display_name(str(filename)) if filename else type(photo).__name__
