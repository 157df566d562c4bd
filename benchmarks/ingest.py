"""How fast photos are read, against the two usual ways, side by side at equal cores.

    python benchmarks/ingest.py FOLDER [--threads 1] [--rounds 5] [--size 224]

- ingest: what `img2gps ingest` does, in its worker processes, which no file can hang
- unguarded: the same steps in threads of one process
- transpose_first: Pillow's `exif_transpose`, convert, resize (what most data loaders do)
- transpose_last: full decode, convert, resize, then orientation on the small picture
- smallest: an eighth of the size, and nothing else: the least that libjpeg can be asked for

The ways alternate within each round, so that a busy machine slows all of them alike; the ratios
are medians over rounds. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from img2gps.photos import exif
from img2gps.photos.decode import TURN, decode
from img2gps.photos.guard import Readers
from img2gps.photos.photo import Photo, Request
from img2gps.photos.photofile import read_bytes
from img2gps.photos.sources import PHOTO_SUFFIXES

Pixels = NDArray[np.uint8]
Way = Callable[[list[Path]], list[Pixels]]


def unguarded(path: Path, size: int) -> Pixels:
    """The file's bytes, both EXIF readers and the decoder of ingest."""
    data = read_bytes(path)
    exif.read(data, path.name)
    return decode(data, size)[0]


def ingest(readers: Readers, paths: list[Path], size: int) -> list[Pixels]:
    """Read photos as `img2gps ingest` does."""
    read = readers.read(Request(path, path.name, size) for path in paths)
    return [photo.pixels for photo in read if isinstance(photo, Photo)]


def transpose_first(path: Path, size: int) -> Pixels:
    """Turn the full picture, then shrink it."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR))


def transpose_last(path: Path, size: int) -> Pixels:
    """Shrink the full picture, then turn it."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        turn = TURN.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        return np.asarray(small if turn is None else small.transpose(turn))


def smallest(path: Path) -> Pixels:
    """Decode to an eighth of the size, for which libjpeg still reads every coefficient."""
    with Image.open(path) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))
        return np.asarray(image)


def compare(paths: list[Path], size: int, threads: int, rounds: int) -> dict[str, Any]:
    """Median photos a second of each way, speed-up of ingest, and how far the pixels differ."""
    pixels: dict[str, NDArray[np.int16]] = {}
    with Readers(threads) as readers, ThreadPoolExecutor(threads) as pool:
        sizes = [size] * len(paths)
        ways: dict[str, Way] = {
            "ingest": lambda paths: ingest(readers, paths, size),
            "unguarded": lambda paths: list(pool.map(unguarded, paths, sizes)),
            "transpose_first": lambda paths: list(pool.map(transpose_first, paths, sizes)),
            "transpose_last": lambda paths: list(pool.map(transpose_last, paths, sizes)),
            "smallest": lambda paths: list(pool.map(smallest, paths)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        ingest(readers, paths * 2, size)  # the processes are there before the clock runs
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                made = way(paths)
                seconds[name].append(time.perf_counter() - start)
                if name != "smallest":
                    pixels[name] = np.stack(made).astype(np.int16)
    ratios = {name: _ratio(seconds[name], seconds["ingest"]) for name in ways if name != "ingest"}
    del ratios["smallest"]
    return {
        "photos": len(paths),
        "threads": threads,
        "rounds": rounds,
        "size": size,
        "photos_per_s": {
            name: round(len(paths) / statistics.median(times), 2) for name, times in seconds.items()
        },
        "guard_cost": round(1 / ratios.pop("unguarded"), 2),  # ingest's time over the unguarded one
        "speed_up": ratios,
        "most_speed_up": {name: _ratio(seconds[name], seconds["smallest"]) for name in ratios},
        "mean_difference_grey_levels": {
            name: round(float(np.abs(pixels["ingest"] - pixels[name]).mean()), 3)
            for name in ("unguarded", *ratios)
        },
    }


def _ratio(others: list[float], own: list[float]) -> float:
    """Return the median over rounds of how many times as long the others took."""
    return round(statistics.median(o / s for o, s in zip(others, own, strict=True)), 2)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    if args.threads > len(os.sched_getaffinity(0)):
        parser.error(f"--threads {args.threads}: only {len(os.sched_getaffinity(0))} cores")
    paths = sorted(p for p in args.folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
    print(json.dumps(compare(paths, args.size, args.threads, args.rounds), indent=1))


if __name__ == "__main__":
    main()
