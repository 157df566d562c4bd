"""Give a model its radius and its sense of what is not from here."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from img2gps.analysis import radius
from img2gps.config.compose import read_config
from img2gps.core.files import write_bytes_atomic
from img2gps.inference.deployed import Deployed
from img2gps.inference.held_out import HeldOut
from img2gps.inference.network import Network
from img2gps.inference.predict import BATCH
from img2gps.inference.trust import Trust, TrustFacts, fitted
from img2gps.photos.dataset import Dataset
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CONFIG
from img2gps.runs.plan import open_split

log = logging.getLogger(__name__)

METHOD = 1  # raise it where the numbers would come out differently: kept ones are then made again
Floats = NDArray[np.float64]


def calibrated(deployed: Deployed, errors: HeldOut) -> Deployed:
    """Return the model with a radius, and with a sense of strangers where its photos are at hand.

    The result is kept beside the first run, as the features of all its photos take a while.
    """
    kept = deployed.folders[0] / f"trust-{_key(deployed, errors)}.safetensors"
    if (found := _read(kept)) is None:
        dataset = dataset_of(deployed.folders[0])
        found = _fit(deployed, errors, dataset)
        if dataset is not None:
            _write(kept, *found)
    trust, facts = found
    network = Network(deployed.network.parts(), trust).eval()
    return replace(deployed, network=network, card=replace(deployed.card, trust=facts))


def features(network: Network, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> Floats:
    """Return the features (n, d) of some rows of a data set's pixels."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            batch = np.array(pixels[rows[start : start + BATCH]])
            found.append(network(torch.from_numpy(batch)).features.double().numpy())
    return np.concatenate(found)


def _fit(deployed: Deployed, errors: HeldOut, dataset: Dataset | None) -> tuple[Trust, TrustFacts]:
    photos = errors.photos
    scores = radius.scores(photos["error_m"], photos["spot"])
    train, held_out, spot = None, None, []
    if dataset is not None:
        # The first member's own parts: of an average over folds, no photo is new to all members.
        split = open_split(read_config(deployed.folders[0] / CONFIG), dataset)
        first = Network(deployed.network.parts()[:1])
        log.info("looking at %d photos once, to tell which are from here", len(dataset))
        train = features(first, dataset.pixels(), split.train)
        held_out = features(first, dataset.pixels(), split.val)
        place = dict(zip(photos["content"], photos["spot"], strict=True))
        contents = dataset.manifest["content"].to_numpy(str)[split.val]
        spot = [int(place.get(content, -1 - i)) for i, content in enumerate(contents)]
    trust = fitted(scores, train, held_out, spot)
    metres, limit = float(trust.radius_m), float(trust.limit)
    facts = TrustFacts(
        what=errors.what,
        n_photos=len(photos),
        n_spots=int(photos["spot"].nunique()),
        radius_m=metres if math.isfinite(metres) else None,
        knows_strangers=math.isfinite(limit),
        ranked_cells=errors.ranked_cells,
    )
    return trust, facts


def _key(deployed: Deployed, errors: HeldOut) -> str:
    """Return a hash of all that the trust depends on."""
    parts = [METHOD, deployed.card.runs, errors.what, errors.ranked_cells, len(errors.photos)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:10]


def _write(path: Path, trust: Trust, facts: TrustFacts) -> None:
    metadata = {"facts": json.dumps(asdict(facts))}
    try:
        write_bytes_atomic(path, save(trust.state_dict(), metadata))
    except OSError as error:
        log.warning("%s: cannot be kept (%s); it is made again next time", path, error.strerror)


def _read(path: Path) -> tuple[Trust, TrustFacts] | None:
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            facts = TrustFacts(**json.loads(file.metadata()["facts"]))
        return Trust.from_state(state), facts
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError):
        return None
