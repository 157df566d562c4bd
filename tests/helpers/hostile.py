"""Files that once hung, crashed or swelled the reader of photos, made by code."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import PosixPath

from PIL import Image


def box(kind: bytes, content: bytes) -> bytes:
    """A box of the ISO base media file format."""
    return struct.pack(">L4s", 8 + len(content), kind) + content


def ftyp(major: bytes = b"heic") -> bytes:
    """The first box of a HEIC file."""
    return box(b"ftyp", major + bytes(4) + b"heicmif1")


def heic_with_a_box_of_no_size() -> bytes:
    """A box whose 64-bit size is 0: who adds that to the position never gets on."""
    return ftyp() + struct.pack(">L4sQ", 1, b"free", 0)


def heic_with_extents_of_no_size(items: int) -> bytes:
    """A table of items with 65,535 extents each that take up no bytes."""
    item = struct.pack(">HHH", 1, 0, 65_535)
    table = bytes([0, 0, 0, 0, 0, 0]) + struct.pack(">H", items) + item * items
    return ftyp() + box(b"meta", bytes(4) + box(b"iloc", table))


def postscript() -> bytes:
    """A program that never ends; Pillow has Ghostscript run it if that is installed."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n"


def xmp_jpeg_of(n_bytes: int) -> bytes:
    """A JPEG with so much XMP behind its picture."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    head = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    return file.getvalue() + head + b"<a/>" * (n_bytes // 4) + b"</x:xmpmeta>"


def png_of(width: int, height: int, colour_type: int) -> bytes:
    """A black PNG of any size in a file of a thousandth of it; 6 is RGBA, 2 is RGB."""
    channels = {2: 3, 6: 4}[colour_type]
    header = struct.pack(">LLBBBBB", width, height, 8, colour_type, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(1 + channels * width)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))
        for kind, data in chunks
    )


HOSTILE: dict[str, Callable[[], bytes]] = {
    "HEIC with a box of no size": heic_with_a_box_of_no_size,
    "HEIC with extents of no size": lambda: heic_with_extents_of_no_size(60_000),
    "PostScript": postscript,
    "20 MB of XMP": lambda: xmp_jpeg_of(20_000_000),
}


class Looping(PosixPath):
    """A file over which whoever opens it loops without end."""

    def __fspath__(self) -> str:
        while True:
            pass


class Sleeping(PosixPath):
    """A file on a disk that does not answer."""

    def __fspath__(self) -> str:
        time.sleep(1000)
        return super().__fspath__()


class Crashing(PosixPath):
    """A file over which whoever opens it dies."""

    def __fspath__(self) -> str:
        os.abort()


class Swelling(PosixPath):
    """A file over which whoever opens it takes 100 GB."""

    def __fspath__(self) -> str:
        return str(len(bytearray(10**11)))
