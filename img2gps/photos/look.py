"""How a photo looks, in 264 numbers by which near copies of it are found.

The look is the sign of each of its coarse cosine waves, which brightness, contrast, colour and
compression hardly change, behind the coarsest waves themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Look = NDArray[np.float32]

_SIDE = 32  # px, of the grey picture whose waves are taken
_WAVES = 16  # per axis
_ORDER = np.add.outer(np.arange(_WAVES), np.arange(_WAVES))
_FINE = _ORDER >= 3
_COARSE = (_ORDER >= 1) & (_ORDER <= 4)
COARSE = int(_COARSE.sum())  # numbers before the signs
_COSINES = np.cos(np.pi * np.outer(np.arange(_WAVES), np.arange(_SIDE) + 0.5) / _SIDE)


def look(pixels: NDArray[np.uint8]) -> Look:
    """Return the look of a square photo: its coarsest waves, then the signs of the finer ones."""
    grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    waves = _COSINES @ np.asarray(grey, np.float64) @ _COSINES.T  # type II, but for its scale
    waves[0] /= np.sqrt(2)
    waves[:, 0] /= np.sqrt(2)
    coarsest = waves[_COARSE] / (np.linalg.norm(waves[_COARSE]) or 1.0)
    return np.concatenate([coarsest, np.sign(waves[_FINE])]).astype(np.float32)


def looks(photos: Iterable[NDArray[np.uint8]]) -> Look:
    """Return the looks of square photos, a row each."""
    return np.stack([look(np.asarray(pixels)) for pixels in photos])
