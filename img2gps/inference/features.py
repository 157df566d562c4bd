"""What a network sees in each photo of a data set, computed once and kept in the run folder."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.core.files import write_bytes_atomic
from img2gps.core.progress import watched
from img2gps.inference.deployed import Deployed
from img2gps.inference.network import Member, as_images
from img2gps.inference.predict import BATCH
from img2gps.photos.dataset import Dataset

log = logging.getLogger(__name__)

LOOKS = "looks.npz"  # in the folder of the first run


class Looks(NamedTuple):
    """What a network sees in n photos."""

    features: NDArray[np.float32]  # (n, d), of what they show
    style: NDArray[np.float32]  # (n, s), see `inference.style`


def looks_of(deployed: Deployed, dataset: Dataset) -> Looks:
    """Return what the model's first member sees in every photo of a data set.

    Only the first member is used, because an average over folds has seen every photo.
    """
    path = deployed.folders[0] / LOOKS
    try:
        with np.load(path) as kept:
            found = Looks(kept["features"], kept["style"])
        if len(found.features) == len(found.style) == len(dataset):
            return found
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        pass
    found = _computed(deployed.network.parts()[0], dataset)
    _keep(path, found)
    return found


def _computed(member: Member, dataset: Dataset) -> Looks:
    """Look at every photo without asking the head, which for `match` takes by far the longest."""
    pixels = dataset.pixels()
    starts = range(0, len(dataset), BATCH)
    features, style = [], []
    with torch.inference_mode():
        for start in watched(starts, len(starts), "looking at the training photos, once"):
            photos = torch.from_numpy(np.array(pixels[start : start + BATCH]))
            seen = member.look(as_images(photos))
            features.append(seen[0].numpy())
            style.append(seen[1].numpy())
    return Looks(np.concatenate(features), np.concatenate(style))


def _keep(path: Path, looks: Looks) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **looks._asdict())
    try:
        write_bytes_atomic(path, buffer.getvalue())
    except OSError as error:
        log.warning("%s: cannot be kept (%s); it is made again next time", path, error.strerror)
