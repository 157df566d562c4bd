"""Photos as people have them (paths, bytes, PIL pictures, arrays) to pixels, or why not."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import tee
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2gps.core.hardware import cores
from img2gps.photos.guard import Readers
from img2gps.photos.photo import Request
from img2gps.photos.photofile import Unusable, display_name

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


_idle: list[Readers] = []  # kept, as starting their processes takes longer than one answer

_KINDS = "give paths, file contents, PIL pictures or uint8 arrays of upright photos"


def several(photos: Photo | Iterable[Photo]) -> Iterable[Photo]:
    """Return photos one by one; a single photo, too, is an iterable and must not be taken apart."""
    if isinstance(photos, bytearray | memoryview):
        return [bytes(photos)]
    if isinstance(photos, str | bytes | os.PathLike | Image.Image):
        return [photos]
    if not isinstance(photos, Iterable):
        raise TypeError(f"{_KINDS}; not {type(photos).__name__}")
    return [photos] if isinstance(photos, np.ndarray) and photos.ndim == 3 else photos


def read_inputs(photos: Iterable[Photo], size: int) -> Iterator[Input]:
    """Yield each photo, decoded to a square of `size` pixels by worker processes, in order."""
    asked, named = tee(photos)
    readers = _readers()
    outcomes = readers.read(partial(_request, photo, size) for photo in asked)
    for photo, outcome in zip(named, outcomes, strict=True):
        if isinstance(outcome, Unusable):
            yield Input(_name(photo), error=f"{outcome.reason}; {outcome.remedy}")
        else:
            lat, lon = outcome.exif.lat_deg, outcome.exif.lon_deg
            label = None if lat is None or lon is None else (lat, lon)
            yield Input(_name(photo), outcome.pixels, label)
    _idle.append(readers)


def _readers() -> Readers:
    """Return readers that are idle; start some if there are none."""
    try:
        return _idle.pop()  # asking before whether there are any would race with other threads
    except IndexError:
        return Readers(cores())


def read_input(photo: Photo, size: int, name: str = "") -> Input:
    """Decode one photo to a square of `size` pixels; without a name it is called by its own."""
    (found,) = read_inputs([photo], size)
    return replace(found, name=display_name(name)) if name else found


def _request(photo: Photo, size: int) -> Request:
    source = Path(photo) if isinstance(photo, str | os.PathLike) else _encoded(photo)
    return Request(source, _name(photo), size)


def _encoded(photo: bytes | Image.Image | NDArray[np.uint8]) -> bytes:
    """Return the photo as a file's bytes, so that every kind is decoded in the one way."""
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if not isinstance(photo, Image.Image | np.ndarray):
        raise Unusable(f"{type(photo).__name__} is no photo", _KINDS)
    image = photo if isinstance(photo, Image.Image) else _from_array(photo)
    if image.mode == "F":
        raise Unusable("floating-point pixels", "give 8-bit RGB")
    try:
        return _as_png(image)
    except (OSError, ValueError, SyntaxError) as error:  # of a file that PIL reads only now
        raise Unusable(f"cannot be decoded ({error})", "copy the original again") from error


def _as_png(image: Image.Image) -> bytes:
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
