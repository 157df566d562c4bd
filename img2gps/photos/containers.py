"""Damage that picture decoders do not report, found in the structure of the file.

libheif fills in what a truncated HEIC lacks, and the JPEG decoder turns a lost disk block into
texture. Both report success.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

ZERO_RUN = 4096  # bytes: a disk block or flash page that was never written


# --- HEIC and AVIF: ISO base media file format (ISO/IEC 14496-12) ---------------------------


def truncated_heif(data: bytes) -> bool:
    """Return whether a HEIC or AVIF file lacks bytes that its own table of items refers to."""
    if data[4:8] != b"ftyp":
        return False
    try:
        for kind, start, end in _boxes(data, 0, len(data)):
            if kind not in _TOP_BOXES:  # something that another program appended
                return False
            if end > len(data):
                return True
            if kind == b"meta":  # a full box: 4 bytes of version and flags come first
                for inner, inner_start, inner_end in _boxes(data, start + 4, end):
                    if inner == b"iloc" and _last_byte(data[inner_start:inner_end]) > len(data):
                        return True
    except (struct.error, IndexError):  # a table cut in two
        return True
    return False


_TOP_BOXES = frozenset(
    b"ftyp styp etyp meta mdat idat moov moof free skip wide uuid mpvd pdin sidx jumb".split()
)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each box's content; size 1 means 64 bits, 0 up to the end."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">L4s", data, start)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        elif size == 0:
            size = end - start
        if size < header:
            return
        yield kind, start + header, start + size
        start += size


def _last_byte(iloc: bytes) -> int:
    """Return the largest file offset that an item location box (section 8.11.3) refers to."""
    version, sizes, more_sizes = iloc[0], iloc[4], iloc[5]
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more_sizes >> 4
    index_size = more_sizes & 15 if version in (1, 2) else 0
    at = 6

    def number(size: int) -> int:
        nonlocal at
        if at + size > len(iloc):
            raise struct.error("item location box ends early")
        at += size
        return int.from_bytes(iloc[at - size : at], "big")

    last = 0
    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        number(wide)  # item id
        method = number(2) & 15 if version in (1, 2) else 0
        number(2)  # data reference index
        base = number(base_size)
        extents = number(2)
        if index_size + offset_size + length_size == 0:  # they take no bytes, however many
            continue
        for _ in range(extents):
            number(index_size)
            offset, length = number(offset_size), number(length_size)
            if method == 0:  # 0: offset in the file; 1: in the idat box
                last = max(last, base + offset + length)
    return last


# --- JPEG (ITU-T T.81) ----------------------------------------------------------------------

_SOF_BASELINE = (0xC0, 0xC1)
_DHT, _EOI, SOS, APP1 = 0xC4, 0xD9, 0xDA, 0xE1
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # without those that stand in picture data


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, body and end of each segment of a JPEG up to the end of its picture.

    What follows, such as the video of a motion photo, is another file's.
    """
    at = 2
    while found := _MARKER.search(data, at):
        marker, start = data[found.end() - 1], found.end() + 2
        if marker == _EOI:
            return
        at = found.end() + max(2, int.from_bytes(data[found.end() : start], "big"))
        yield marker, data[start:at], at


def count_scans(data: bytes) -> int:
    """Return how many scans a progressive JPEG has; each costs a pass over the whole picture."""
    return sum(marker == SOS for marker, _, _ in jpeg_segments(data))


def zeroed_jpeg(data: bytes) -> bool:
    """Return whether a baseline JPEG has a block of zeros inside its picture data.

    This can be decided only if the all-zero code of the brightness table is not "end of block",
    because then no picture, however flat, has a long run of zeros. That holds for the standard
    tables, which nearly all cameras use. Returns False if it cannot be decided.
    """
    first_symbol: dict[int, int] = {}  # AC table to the symbol of its all-zero code
    baseline = False
    for marker, body, at in jpeg_segments(data):
        baseline |= marker in _SOF_BASELINE
        if marker == _DHT:
            first_symbol |= _first_symbols(body)
        elif marker == SOS:
            table = body[2] & 15 if len(body) > 2 else 0
            if not baseline or first_symbol.get(table, 0) == 0:
                return False
            zeros = _find_zeros(data, at)
            # Zeros behind the end of the picture are padding.
            return zeros >= 0 and data.find(b"\xff\xd9", at, zeros) < 0
    return False


def _find_zeros(data: bytes, start: int) -> int:
    """Return the position of the first `ZERO_RUN` zeros, or -1; samples a long file."""
    step = ZERO_RUN // 4
    sample = data[start::step]
    hit = sample.find(bytes(3))
    while hit >= 0:
        near = start + hit * step
        found = data.find(bytes(ZERO_RUN), max(start, near - step), near + ZERO_RUN + step)
        if found >= 0:
            return found
        hit = sample.find(bytes(3), hit + 1)
    return -1


def _first_symbols(body: bytes) -> dict[int, int]:
    """Return the first symbol of each AC table in a DHT segment, whose code is all zeros."""
    found = {}
    while len(body) > 17:
        count = sum(body[1:17])
        if body[0] >> 4 == 1:
            found[body[0] & 15] = body[17]
        body = body[17 + count :]
    return found
