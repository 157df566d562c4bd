"""The network's features of a whole data set, computed once and kept in the run folder."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.core.files import write_bytes_atomic
from img2gps.core.progress import watched
from img2gps.inference.deployed import Deployed
from img2gps.inference.network import Network
from img2gps.inference.predict import BATCH
from img2gps.photos.dataset import Dataset

log = logging.getLogger(__name__)

FEATURES = "features.npy"  # in the folder of the first run


def features_of(deployed: Deployed, dataset: Dataset) -> NDArray[np.float32]:
    """Return the features (n, d) of every photo of a data set, by the model's first member.

    Only the first member is used, because an average over folds has seen every photo.
    """
    path = deployed.folders[0] / FEATURES
    try:
        found: NDArray[np.float32] = np.load(path)
        if len(found) == len(dataset):
            return found
    except (OSError, ValueError, EOFError):
        pass
    found = _computed(Network(deployed.network.parts()[:1]), dataset)
    _keep(path, found)
    return found


def _computed(network: Network, dataset: Dataset) -> NDArray[np.float32]:
    pixels = dataset.pixels()
    starts = range(0, len(dataset), BATCH)
    with torch.inference_mode():
        batches = [
            network(torch.from_numpy(np.array(pixels[start : start + BATCH]))).features.numpy()
            for start in watched(starts, len(starts), "looking at the training photos, once")
        ]
    return np.concatenate(batches).astype(np.float32)


def _keep(path: Path, features: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features)
    try:
        write_bytes_atomic(path, buffer.getvalue())
    except OSError as error:
        log.warning("%s: cannot be kept (%s); it is made again next time", path, error.strerror)
