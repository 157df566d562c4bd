"""Damage photos at random and read them: `make fuzz`, or a short round of it in the tests.

Every mutant follows from a seed and its number alone, so that `mutant(seed, number)` makes one
again that was reported.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import STRIPBYTECOUNTS, STRIPOFFSETS, TiffImageFile

from img2gps.photos.guard import Readers
from img2gps.photos.photo import Photo, Request
from img2gps.photos.photofile import Unusable
from tests.helpers.photos import ASCII, BYTE, RATIONAL, dng, gps_fields, picture, tiff_exif

DEADLINE_S = 5.0  # of processor time; the slowest of these takes 0.05 s undamaged
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def _exif(order: str = "<") -> bytes:
    fields = gps_fields(39.95, -75.19, altitude_m=12, heading_deg=90, gps_error_m=5)
    fields |= {7: (RATIONAL, [(17, 1), (2, 1), (30, 1)]), 29: (ASCII, b"2021:05:04\0")}
    base = {0x010F: (ASCII, b"Maker\0"), 0x0110: (ASCII, b"Phone 1\0")}
    taken = {0x9003: (ASCII, b"2021:05:04 13:02:01\0"), 0x9291: (ASCII, b"25\0")}
    return tiff_exif({0: (BYTE, [2, 3, 0, 0]), **fields}, base, taken, order)


_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="39,57.07N" '
    b'exif:GPSLongitude="75,11.47W"/></rdf:RDF></x:xmpmeta>'
)


def _saved(kind: str, mode: str = "RGB", exif: bool = True, **options: Any) -> bytes:
    image = picture((64, 48), 1)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    file = io.BytesIO()
    if exif:
        options["exif"] = b"Exif\0\0" + _exif()
    (image if mode == "I;16" else image.convert(mode)).save(file, kind, **options)
    return file.getvalue()


def _tiff(compression: str) -> bytes:
    """A compressed TIFF with EXIF, which Pillow cannot write: its picture under our directories."""
    with Image.open(io.BytesIO(_saved("TIFF", exif=False, compression=compression))) as image:
        assert isinstance(image, TiffImageFile)
        tags, kinds = dict(image.tag_v2), image.tag_v2.tagtype
        picture_data = b"".join(
            image.fp.getvalue()[at : at + size]  # type: ignore[union-attr]  # the BytesIO above
            for at, size in zip(tags[STRIPOFFSETS], tags[STRIPBYTECOUNTS], strict=True)
        )
    rows = {tag: (kinds[tag], value) for tag, value in tags.items() if kinds[tag] in (3, 4, 7)}
    rows |= {STRIPBYTECOUNTS: (4, len(picture_data)), 278: (4, image.height)}
    gps = gps_fields(39.95, -75.19)
    length = len(tiff_exif(gps, rows | {STRIPOFFSETS: (4, 0)}))
    return tiff_exif(gps, rows | {STRIPOFFSETS: (4, length)}) + picture_data


def _with_thumbnail() -> bytes:
    image = picture((320, 240), 2)
    image.info["thumbnails"] = [64]
    file = io.BytesIO()
    image.save(file, "HEIF", quality=60, exif=_exif(">"))
    return file.getvalue()


def _two_segments() -> bytes:
    block = b"Exif\0\0" + _exif(">")
    segment = struct.pack(">BBH", 0xFF, 0xE1, len(block) + 2) + block
    plain = _saved("JPEG")
    return plain[:2] + segment + plain[2:]


def _frames() -> dict[str, Any]:
    return {"save_all": True, "append_images": [picture((64, 48), 3)]}  # saving alters pictures


CORPUS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: _saved("JPEG", quality=90),
    "JPEG, progressive": lambda: _saved("JPEG", progressive=True),
    "JPEG, CMYK": lambda: _saved("JPEG", "CMYK"),
    "JPEG, grey, optimised": lambda: _saved("JPEG", "L", optimize=True),
    "JPEG, XMP": lambda: _saved("JPEG", exif=False, xmp=_XMP),
    "JPEG, two EXIF segments": _two_segments,
    "JPEG, motion photo": lambda: _saved("JPEG", progressive=True) + b"\0\0\0\x18ftypmp42" * 9,
    "MPO": lambda: _saved("MPO", **_frames()),
    "PNG": lambda: _saved("PNG"),
    "PNG, palette": lambda: _saved("PNG", "P", transparency=3),
    "PNG, 16-bit grey": lambda: _saved("PNG", "I;16"),
    "PNG, RGBA": lambda: _saved("PNG", "RGBA"),
    "WebP": lambda: _saved("WEBP", quality=80),
    "WebP, lossless, RGBA": lambda: _saved("WEBP", "RGBA", lossless=True),
    "WebP, animated": lambda: _saved("WEBP", **_frames()),
    "TIFF": lambda: _saved("TIFF"),
    "TIFF, LZW": lambda: _tiff("tiff_lzw"),
    "TIFF, JPEG": lambda: _tiff("jpeg"),
    "TIFF, deflate": lambda: _tiff("tiff_adobe_deflate"),
    "TIFF, pages": lambda: _saved("TIFF", **_frames()),
    "DNG": lambda: dng(_saved("JPEG", exif=False), (320, 240), gps_fields(39.95, -75.19)),
    "HEIC": lambda: _saved("HEIF", quality=60),
    "HEIC, thumbnail": _with_thumbnail,
    "HEIC, RGBA": lambda: _saved("HEIF", "RGBA", quality=60),
    "AVIF": lambda: _saved("AVIF", quality=60, speed=10),
    "AVIF, RGBA": lambda: _saved("AVIF", "RGBA", quality=60, speed=10),
    "AVIF, frames": lambda: _saved("AVIF", quality=60, speed=10, **_frames()),
}


@cache
def original(name: str) -> bytes:
    """An undamaged photo."""
    return CORPUS[name]()


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """Name of the original and the damaged bytes."""
    rng = np.random.default_rng([seed, number])
    names = list(CORPUS)
    name = names[number % len(names)]
    data = bytearray(original(name))
    for _ in range(int(rng.integers(1, 5))):
        at = _place(rng, len(data))
        match int(rng.integers(0, 8)):
            case 0 | 1:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 2:
                data[at] = int(rng.integers(0, 256))
            case 3 | 4:
                width = int(rng.choice([1, 2, 4, 8]))
                edge = _EDGES[int(rng.integers(0, len(_EDGES)))] % 256**width
                order: Literal["big", "little"] = "big" if rng.random() < 0.5 else "little"
                data[at : at + width] = edge.to_bytes(width, order)
            case 5:
                del data[at : at + int(rng.integers(1, 65))]
            case 6:
                again = _place(rng, len(data))
                data[at:at] = data[again : again + int(rng.integers(1, 257))]
            case 7:
                other = original(names[int(rng.integers(0, len(names)))])
                start = _place(rng, len(other))
                data[at:at] = other[start : start + int(rng.integers(1, 257))]
        if not data:
            data = bytearray(1)
    if rng.random() < 0.1:
        del data[_place(rng, len(data)) + 1 :]
    return name, bytes(data)


def _place(rng: np.random.Generator, length: int) -> int:
    """A position, most of them in the headers."""
    share = rng.random() ** 3 if rng.random() < 0.8 else rng.random()
    return min(int(share * length), length - 1)


def fuzz(seed: int, numbers: range, seconds: float, workers: int) -> dict[str, object]:
    """Read mutants until the time is up, and count what became of them."""
    until = time.monotonic() + seconds
    asked: list[int] = []
    counted: Counter[str] = Counter()
    problems: list[str] = []

    def wanted() -> Iterator[Request]:
        for number in numbers:
            if time.monotonic() > until:
                return
            asked.append(number)
            yield Request(mutant(seed, number)[1], "a.jpg", 64)

    with Readers(workers, DEADLINE_S) as readers:
        for number, outcome in zip(numbers, readers.read(wanted()), strict=False):
            kind = _kind(outcome)
            counted[kind] += 1
            if kind not in ("read", "refused"):
                problems.append(f"mutant({seed}, {number}) of {mutant(seed, number)[0]}: {outcome}")
    return {
        "seed": seed,
        "formats": len(CORPUS),
        "mutants": len(asked),
        "lost": len(asked) - counted.total(),
        **{kind: counted[kind] for kind in ("read", "refused", "hang", "abort", "swell", "raise")},
        "problems": problems,
    }


def _kind(outcome: Photo | Unusable) -> str:
    if isinstance(outcome, Photo):
        return "read"
    for start, kind in (("takes longer", "hang"), ("crashes", "abort"), ("takes more", "swell")):
        if outcome.reason.startswith(start):
            return kind
    return "raise" if outcome.remedy.startswith("report it") else "refused"


def main() -> None:
    """Command line: counts as JSON; status 1 if a mutant hung, crashed, swelled or was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--mutants", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    found = fuzz(args.seed, range(args.mutants), 60 * args.minutes, args.workers)
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["problems"] or found["lost"]))


if __name__ == "__main__":
    main()
