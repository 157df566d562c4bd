"""Which part of a photo decided: what happens to the answer where the photo is covered.

Occlusion (Zeiler & Fergus 2014) asks the model from outside, so it works for every architecture
and every head, and it is measured in metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2gps.core import geo
from img2gps.inference.localizer import Localizer
from img2gps.inference.predict import BATCH

CELLS = 8  # on each side of the map
COVERED = 2  # cells on each side of the grey square that moves over the photo

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Occlusion:
    """The metres by which the answer moves when a part of the photo is covered."""

    moved_m: NDArray[np.float64]  # (CELLS, CELLS), rows from the top

    @property
    def most_m(self) -> float:
        """Return the metres of the part that matters most."""
        return float(self.moved_m.max())


def occlusion(localizer: Localizer, pixels: Pixels) -> Occlusion:
    """Cover one part after the other of an upright photo (size, size, 3) and ask again."""
    covered, where = _covered(pixels)
    asked = np.concatenate([pixels[None], covered])
    answers = np.concatenate(
        [
            localizer.answer(asked[start : start + BATCH]).degrees.numpy()
            for start in range(0, len(asked), BATCH)
        ]
    )
    moved = geo.distance_m(answers[0, 0], answers[0, 1], answers[1:, 0], answers[1:, 1])
    total, count = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (row, column), metres in zip(where, moved, strict=True):
        total[row : row + COVERED, column : column + COVERED] += metres
        count[row : row + COVERED, column : column + COVERED] += 1
    return Occlusion(total / count)


def overlay(pixels: Pixels, found: Occlusion, height_px: int = 220) -> Image.Image:
    """Return the photo with the decisive part in full colour and the rest faded."""
    share = found.moved_m / max(found.most_m, 1e-9)
    weight = Image.fromarray((255 * share).astype(np.uint8)).resize(
        (pixels.shape[1], pixels.shape[0]), Image.Resampling.BICUBIC
    )
    photo = Image.fromarray(pixels)
    faded = Image.blend(
        photo.convert("L").convert("RGB"), Image.new("RGB", photo.size, "white"), 0.75
    )
    return Image.composite(photo, faded, weight).resize((height_px, height_px))


def _covered(pixels: Pixels) -> tuple[Pixels, list[tuple[int, int]]]:
    """Return the photo with each square grey in turn, and the square's first row and column."""
    edges = np.linspace(0, len(pixels), CELLS + 1).astype(int)
    grey = pixels.mean(axis=(0, 1)).astype(np.uint8)
    where = [(r, c) for r in range(CELLS - COVERED + 1) for c in range(CELLS - COVERED + 1)]
    covered = np.repeat(pixels[None], len(where), axis=0)
    for picture, (row, column) in zip(covered, where, strict=True):
        rows = slice(edges[row], edges[row + COVERED])
        picture[rows, edges[column] : edges[column + COVERED]] = grey
    return covered, where
