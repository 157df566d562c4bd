"""Calibrate a model's radius, and its test for photos that were taken elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

from img2gps.analysis import radius
from img2gps.config.compose import read_config
from img2gps.inference.deployed import Deployed
from img2gps.inference.features import features_of
from img2gps.inference.held_out import HeldOut
from img2gps.inference.network import Network
from img2gps.inference.trust import PhotoFeatures, TrustFacts, fitted
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
    known = None if dataset is None else _features(deployed, dataset)
    trust = fitted(radius.scores(photos["error_m"], photos["spot"]), known)
    facts = TrustFacts(
        what=errors.what,
        n_photos=len(photos),
        n_spots=int(photos["spot"].nunique()),
        radius_m=_finite(float(trust.radius_m)),
        knows_strangers=math.isfinite(float(trust.limit)),
        ranked_cells=errors.ranked_cells,
    )
    network = Network(deployed.network.parts(), trust).eval()
    return replace(deployed, network=network, card=replace(deployed.card, trust=facts))


def _features(deployed: Deployed, dataset: Dataset) -> PhotoFeatures:
    """Return the features of the first member's training and validation photos."""
    split = open_split(read_config(deployed.folders[0] / CONFIG), dataset)
    features = features_of(deployed, dataset)
    lat, lon = dataset.lat_lon()
    spot = spots(lat, lon, dataset.manifest["gps_error_m"])
    return PhotoFeatures(features[split.train], features[split.val], spot[split.val])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
