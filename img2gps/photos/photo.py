"""One photo: what it says about itself, and its pixels; read in a worker process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2gps.photos import exif
from img2gps.photos.decode import MAX_BYTES, decode
from img2gps.photos.exif import Exif
from img2gps.photos.look import Look, look
from img2gps.photos.photofile import Unusable, read_bytes


@dataclass(frozen=True)
class Request:
    """A photo to read."""

    source: Path | bytes  # its file, or the content of one
    name: str  # the file's name, which helps to say why a position is missing
    image_size: int
    needs_position: bool = False  # without a position of its own it is not worth decoding
    digest: bool = False  # of the file, which takes a tenth of the time
    max_bytes: int = MAX_BYTES  # of memory for decoding


@dataclass(frozen=True)
class Photo:
    """A photo that was read."""

    exif: Exif
    pixels: NDArray[np.uint8]  # upright, (image_size, image_size, 3)
    width_px: int  # of the whole picture, upright
    height_px: int
    original: str  # digest of the file, if it was asked for
    look: Look  # by which near copies are found


def read_photo(request: Request) -> Photo:
    """Read one photo. Raises `Unusable`, and `NeedsMemory` if decoding takes too much of it."""
    source = request.source
    data = source if isinstance(source, bytes) else read_bytes(source)
    found = exif.read(data, request.name)
    if request.needs_position and found.lat_deg is None:
        raise Unusable(found.reason, found.remedy)
    pixels, (width, height) = decode(data, request.image_size, request.max_bytes)
    original = hashlib.blake2b(data, digest_size=16).hexdigest() if request.digest else ""
    return Photo(found, pixels, width, height, original, look(pixels))
