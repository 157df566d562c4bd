"""The network's features of a whole data set, computed once and kept in the run folder."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.config.compose import read_config
from img2gps.config.schema import TrainedPart
from img2gps.core.files import write_bytes_atomic
from img2gps.core.progress import watched
from img2gps.inference.deployed import Deployed
from img2gps.inference.network import Member, as_images
from img2gps.inference.predict import BATCH
from img2gps.photos.dataset import Dataset
from img2gps.runs.folder import CONFIG
from img2gps.runs.records import read_result
from img2gps.training.features import features_key, kept_features
from img2gps.training.weights import ResolvedWeights

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
    member = deployed.network.parts()[0]
    kept = _frozen(deployed.folders[0], dataset, member)
    found = _computed(member, dataset) if kept is None else kept
    _keep(path, found)
    return found


def _frozen(folder: Path, dataset: Dataset, member: Member) -> NDArray[np.float32] | None:
    """Return the features that a run with a frozen backbone has left in the data set's cache."""
    config, result = read_config(folder / CONFIG), read_result(folder)
    if result is None or config.model.train is not TrainedPart.head:
        return None
    facts = result.weights
    weights = ResolvedWeights(facts.requested, facts.resolved, facts.reason, facts.sha256)
    found = kept_features(dataset, features_key(config.model, weights, maps=config.needs_maps))
    return None if found is None else np.array(found[:, : member.width], dtype=np.float32)


def _computed(member: Member, dataset: Dataset) -> NDArray[np.float32]:
    pixels = dataset.pixels()
    starts = range(0, len(dataset), BATCH)
    batches = []
    with torch.inference_mode():
        for start in watched(starts, len(starts), "looking at the training photos, once"):
            photos = torch.from_numpy(np.array(pixels[start : start + BATCH]))
            batches.append(member.features(as_images(photos)).numpy())
    return np.concatenate(batches).astype(np.float32)


def _keep(path: Path, features: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features)
    try:
        write_bytes_atomic(path, buffer.getvalue())
    except OSError as error:
        log.warning("%s: cannot be kept (%s); it is made again next time", path, error.strerror)
