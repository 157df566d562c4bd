"""Check an export: load it again, and compare its answers with the model's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.inference.network import Network
from img2gps.photos import decode, quad
from img2gps.runs.cached import dataset_of

TOLERANCE_M = 1.0  # between the answers of an export and those of the model itself
N_PHOTOS = 8

Pixels = NDArray[np.uint8]
Reloaded = Callable[[Pixels], NDArray[np.float64]]  # (n, size, size, 3) to degrees (n, 2)


def sample_pixels(folders: Sequence[Path], image_size: int) -> Pixels:
    """Return some photos of the training data, or of the built-in quad where they are gone."""
    for folder in folders:
        dataset = dataset_of(folder)
        if dataset is not None:
            rows = np.unique(np.linspace(0, len(dataset) - 1, N_PHOTOS).astype(int))
            return np.array(dataset.pixels()[rows])
    with tempfile.TemporaryDirectory() as name:
        spec = quad.QuadSpec(n=N_PHOTOS, width=image_size, height=image_size)
        quad.render(spec, Path(name), threads=1, progress=False)
        photos = sorted(Path(name).glob("*.jpg"))
        return np.stack([decode.decode(path.read_bytes(), image_size)[0] for path in photos])


def answers(network: Network, pixels: Pixels) -> NDArray[np.float64]:
    """Return what the network itself says, in float32."""
    with torch.inference_mode():
        degrees: NDArray[np.float64] = network.in_float32()(
            torch.from_numpy(pixels)
        ).degrees.numpy()
    return degrees


def furthest_m(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Return the largest distance in metres between two sets of answers."""
    return float(geo.distance_m(expected[:, 0], expected[:, 1], found[:, 0], found[:, 1]).max())


def check(name: str, network: Network, reloaded: Reloaded, pixels: Pixels) -> float:
    """Return how far the answers of an export lie from the model's own, in metres.

    Raises:
        BadInput: further than `TOLERANCE_M`: the export is not this model.
    """
    apart = furthest_m(answers(network, pixels), np.asarray(reloaded(pixels)))
    if not apart <= TOLERANCE_M:
        raise BadInput(
            f"{name}: the exported model answers {apart:.1f} m away from the run; this version of "
            "torch or of the runtime cannot take the model, so choose another format"
        )
    return apart
