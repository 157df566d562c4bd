"""DNG, the raw format of many phones: its embedded JPEG preview stands for the photo."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import (
    COMPRESSION,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from img2gps.photos.photofile import Unusable

_DNG_VERSION, _SUB_IFDS = 0xC612, 0x014A
_JPEG = (6, 7)
_PICTURES = (1, 2, 6)  # grey, RGB, YCbCr; raw data has others
_LEAST_PX = 128  # of the shorter side; smaller ones are thumbnails
_MOST_IFDS = 32


def is_dng(image: Image.Image) -> bool:
    """Return whether a picture is a DNG, which Pillow opens as a TIFF."""
    return isinstance(image, TiffImageFile) and _DNG_VERSION in image.tag_v2


def preview(image: Image.Image, data: bytes) -> bytes:
    """Return the largest JPEG in a DNG; raises `Unusable` if there is none."""
    assert isinstance(image, TiffImageFile)
    found = [
        (tags.get(IMAGEWIDTH, 0) * tags.get(IMAGELENGTH, 0), jpeg)
        for tags in _directories(image, data)
        if (jpeg := _jpeg(tags, data)) and min(tags[IMAGEWIDTH], tags[IMAGELENGTH]) >= _LEAST_PX
    ]
    if not found:
        raise Unusable("no JPEG preview in it", "export it as JPEG with location")
    return max(found, key=lambda one: one[0])[1]


def _directories(image: TiffImageFile, data: bytes) -> Iterator[Mapping[int, Any]]:
    """Yield the tags of the first directory and of those below it."""
    yield image.tag_v2
    below = image.tag_v2.get(_SUB_IFDS, ())
    for offset in (below if isinstance(below, tuple) else (below,))[:_MOST_IFDS]:
        directory = ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(offset)
        directory.load(file)
        yield directory


def _jpeg(tags: Mapping[int, Any], data: bytes) -> bytes:
    """Return the JPEG that a directory describes, or b""."""
    offsets, sizes = tags.get(STRIPOFFSETS, ()), tags.get(STRIPBYTECOUNTS, ())
    kept = tags.get(COMPRESSION) in _JPEG and tags.get(PHOTOMETRIC_INTERPRETATION) in _PICTURES
    if not kept or len(offsets) != 1 or len(sizes) != 1:
        return b""
    jpeg = data[offsets[0] : offsets[0] + sizes[0]]
    return jpeg if jpeg.startswith(b"\xff\xd8\xff") else b""
