"""Calibrate a model's radius, and its test for photos that were taken elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from img2gps.analysis import radius
from img2gps.config.compose import read_config
from img2gps.inference.deployed import Deployed
from img2gps.inference.features import looks_of
from img2gps.inference.held_out import HeldOut
from img2gps.inference.network import Member, Network, as_images
from img2gps.inference.position import finite
from img2gps.inference.predict import BATCH
from img2gps.inference.trust import Styles, TrustFacts, fitted
from img2gps.photos.dataset import Dataset
from img2gps.photos.spots import spots
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CONFIG
from img2gps.runs.plan import open_split


def calibrated(deployed: Deployed, errors: HeldOut, *, strangers: bool = True) -> Deployed:
    """Return the model with a radius and, if its photos are available, the test for other places.

    Args:
        deployed: a model of one or more runs.
        errors: errors on photos that it, or the runs it replaces, did not learn from.
        strangers: whether some of its photos are new to its first member, which is what telling
            photos from elsewhere takes.
    """
    photos = errors.photos
    dataset = dataset_of(deployed.folders[0]) if strangers else None
    known = None if dataset is None else _styles(deployed, dataset)
    deviation_m = _deviations(deployed, photos["content"])
    scale = np.ones(len(photos)) if deviation_m is None else deviation_m
    scores = radius.scores(photos["error_m"] / scale, photos["spot"])
    trust = fitted(scores, known, adaptive=deviation_m is not None)
    facts = TrustFacts(
        what=errors.what,
        n_photos=len(photos),
        n_spots=int(photos["spot"].nunique()),
        radius_m=finite(float(trust.radius_m) * float(np.median(scale))),
        knows_strangers=math.isfinite(float(trust.limit)),
        adaptive=deviation_m is not None,
        ranked_cells=errors.ranked_cells,
    )
    network = Network(deployed.network.parts(), trust).eval()
    return replace(deployed, network=network, card=replace(deployed.card, trust=facts))


def _styles(deployed: Deployed, dataset: Dataset) -> Styles:
    """Return the styles of the first member's training and validation photos."""
    split = open_split(read_config(deployed.folders[0] / CONFIG), dataset)
    style = looks_of(deployed, dataset).style
    lat, lon = dataset.lat_lon()
    spot = spots(lat, lon, dataset.manifest["gps_error_m"])
    return Styles(style[split.train], style[split.val], spot[split.val])


def _deviations(deployed: Deployed, contents: pd.Series[str]) -> NDArray[np.float64] | None:
    """Return how far the heads' densities lie from their answers for photos that are new to them.

    Returns:
        Metres for each photo, the mean over the members that did not learn from it; None where a
        head has no density, or where a photo is not on this machine.
    """
    parts = deployed.network.parts()
    if any(member.mixture is None for member in parts):
        return None
    found = []
    for folder, member in zip(deployed.folders, parts, strict=True):
        dataset = dataset_of(folder)
        if dataset is None:
            return None
        rows = open_split(read_config(folder / CONFIG), dataset).val
        names = dataset.manifest["content"].iloc[rows]
        found.append(pd.Series(_deviation_m(member, dataset, rows), index=names))
    mean = pd.concat(found).groupby(level=0).mean().reindex(contents)
    return None if mean.isna().any() else np.asarray(mean, dtype=np.float64)


def _deviation_m(member: Member, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    pixels = dataset.pixels()
    batches = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            photos = torch.from_numpy(np.array(pixels[rows[start : start + BATCH]]))
            answer = member(as_images(photos))
            batches.append(answer.deviation_m.double().numpy())
    return np.concatenate(batches) if batches else np.zeros(0)
