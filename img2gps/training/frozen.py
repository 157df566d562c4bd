"""The data and the solved heads of a run, whose backbone may be frozen."""

from __future__ import annotations

import torch

from img2gps.config.schema import Config, TrainedPart
from img2gps.core.geo import LabelScaler
from img2gps.photos.dataset import Dataset
from img2gps.photos.split import Split
from img2gps.training.data import FeatureData, PhotoData
from img2gps.training.features import cached_features, compute_features, features_key
from img2gps.training.heads.build import place_heads, solve_heads
from img2gps.training.heads.solved import Examples
from img2gps.training.inner import hold_out_inner, inner_folds
from img2gps.training.model import Regressor
from img2gps.training.weights import ResolvedWeights


def make_data(
    dataset: Dataset,
    split: Split,
    scaler: LabelScaler,
    config: Config,
    model: Regressor,
    weights: ResolvedWeights,
) -> PhotoData:
    """Return the batches of a run: photos, or features if the backbone is not trained.

    In the latter case all solved heads of the model are solved.
    """
    unit_m = torch.from_numpy(scaler.unit_m())
    inner = None
    if config.stops_early:
        split, inner = hold_out_inner(dataset, split, config.split)
    if config.model.train is not TrainedPart.head:
        photos = PhotoData(dataset, split, scaler, config, model.normalise, inner)
        place_heads(model.head, photos.targets[split.train], unit_m)
        return photos
    key = features_key(config.model, weights, maps=config.needs_maps)
    features = cached_features(dataset, key, lambda: compute_features(model, dataset.pixels()))
    data = FeatureData(dataset, split, scaler, config, features, inner)
    train = split.train
    folds = inner_folds(dataset, split, config.split)
    examples = Examples(
        torch.from_numpy(features[train]),
        data.targets[train],
        unit_m,
        [(torch.from_numpy(seen), torch.from_numpy(unseen)) for seen, unseen in folds],
    )
    place_heads(model.head, examples.targets, unit_m)
    solve_heads(model.head, examples)
    return data
