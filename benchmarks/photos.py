"""Photos to measure with: views of the built-in quad at a phone's size, noisy as a phone's are."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from img2gps.core.paths import cache_folder
from img2gps.photos.quad import QUAD_VERSION, photos

LARGE = (4032, 3024)  # 12 megapixels
SMALL = (224, 224)
QUALITY = 88
NOISE = 7.0  # grey levels; gives files of a phone's 3 to 5 MB
DRAWN = (640, 480)  # px, before scaling up
DIFFERENT = 24  # views; more photos are these with other noise


def folder(n: int, size: tuple[int, int], threads: int) -> Path:
    """A folder of `n` geotagged JPEGs of `size` pixels, made if it is not there."""
    target = cache_folder() / f"benchmark-{QUAD_VERSION}-{n}x{size[0]}x{size[1]}"
    if target.is_dir():
        return target
    scratch = target.with_name(f".{target.name}.{id(target)}")
    scratch.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, NOISE, (size[1] + n, size[0])).astype(np.int8)

    def write(i: int) -> None:
        (scratch / f"{i:05d}.jpg").write_bytes(_jpeg(i, size, noise[i : i + size[1]]))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(n)))
    scratch.rename(target)
    return target


def _jpeg(i: int, size: tuple[int, int], noise: np.ndarray) -> bytes:
    planned = photos.photo(0, "main", i % DIFFERENT, *DRAWN)
    with Image.open(io.BytesIO(photos.jpeg(planned, QUAD_VERSION))) as drawn:
        exif = drawn.info["exif"]  # with the orientation of the pixels as stored
        large = drawn.resize(size if drawn.width >= drawn.height else size[::-1])
    pixels = np.asarray(large).astype(np.int16)
    grain = noise if large.size == size else noise.T
    pixels += grain[: pixels.shape[0], : pixels.shape[1], None]
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
        out, "JPEG", quality=QUALITY, exif=exif
    )
    return out.getvalue()
