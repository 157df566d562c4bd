"""Frozen features: what a backbone that is not trained puts out, computed once per data set.

They are kept in the data set's cache folder, which already stands for photos and image size. The
name of the file stands for the backbone and its weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from img2gps.config.schema import ModelConfig
from img2gps.core.files import write_array_atomic
from img2gps.core.progress import watched
from img2gps.photos.dataset import Dataset
from img2gps.training.model import Regressor
from img2gps.training.weights import ResolvedWeights

log = logging.getLogger(__name__)

FEATURES_VERSION = 1  # raise it when the numbers change, so that cached ones are computed again
BATCH = 32  # photos


def features_key(config: ModelConfig, weights: ResolvedWeights, *, maps: bool = False) -> str:
    """Return what stands for a pretrained backbone; empty for one whose weights are drawn."""
    kind = "-maps" if maps else ""
    if config.test_views > 1:
        kind += f"-views{config.test_views}"
    return f"{config.name}-{weights.sha256[:12]}{kind}" if weights.pretrained else ""


def cached_features(
    dataset: Dataset, key: str, compute: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """Return the features (n, width) of all photos of a data set, one row a photo.

    Of several processes that ask at once, one computes and the others wait. With an empty key
    nothing is kept on disk.
    """
    if not key:
        return compute()
    path = dataset.folder / f"features-{key}-{FEATURES_VERSION}-{dataset.fingerprint}.npy"
    with FileLock(path.with_suffix(".lock")):
        features = _read(path, len(dataset))
        if features is None:
            log.info("computing the features of %d photos, once", len(dataset))
            features = compute()
            write_array_atomic(path, features)
    return features


def compute_features(model: Regressor, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the features (n, width) of upright square photos (n, size, size, 3)."""
    training = model.training
    device = next(model.parameters()).device
    model.eval()
    batches = []
    with torch.inference_mode():
        starts = range(0, len(pixels), BATCH)
        for start in watched(starts, len(starts), "features, in batches"):
            images = torch.from_numpy(np.array(pixels[start : start + BATCH]))
            images = model.normalise(images.to(device).permute(0, 3, 1, 2).float())
            batches.append(model.backbone(images).cpu().numpy())
    model.train(training)
    return np.concatenate(batches)


def _read(path: Path, n: int) -> NDArray[Any] | None:
    """Return a kept file, memory-mapped; None if it is missing or incomplete."""
    try:
        features: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return features if features.ndim == 2 and len(features) == n else None
