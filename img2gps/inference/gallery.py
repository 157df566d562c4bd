"""Training photos that look like another photo, by the network's own features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from img2gps.config.compose import read_config
from img2gps.inference.deployed import Deployed
from img2gps.inference.features import features_of
from img2gps.inference.position import Neighbour
from img2gps.photos.dataset import Dataset
from img2gps.photos.thumbnails import data_uri, thumbnail
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CONFIG
from img2gps.runs.plan import open_split


@dataclass(frozen=True)
class Gallery:
    """Training photos with their features.

    Attributes:
        features: (n, d) float32, each of length 1.
        photos: n training photos, whose `similarity` is filled in by `nearest`.
        rows: their rows in the data set.
        dataset: where their pixels are; None in an exported model.
    """

    features: Tensor
    photos: Sequence[Neighbour]
    rows: NDArray[np.int64]
    dataset: Dataset | None = None

    def nearest(self, features: Tensor, k: int) -> list[tuple[Neighbour, ...]]:
        """Return the k most similar photos for each row of features, most similar first."""
        own = functional.normalize(features[:, : self.features.shape[1]])
        similarity, index = (own @ self.features.T).topk(min(k, len(self.photos)), dim=1)
        pairs = zip(similarity.tolist(), index.tolist(), strict=True)
        return [
            tuple(self._photo(i, cosine) for cosine, i in zip(cosines, chosen, strict=True))
            for cosines, chosen in pairs
        ]

    def contents(self) -> set[str]:
        """Return the digests of the training photos' pixels; empty in an exported model."""
        if self.dataset is None:
            return set()
        return set(self.dataset.manifest["content"].to_numpy(str)[self.rows])

    def positions(self) -> NDArray[np.float64]:
        """Return latitude and longitude (n, 2) of the training photos."""
        return np.array([[photo.lat_deg, photo.lon_deg] for photo in self.photos])

    def _photo(self, i: int, similarity: float) -> Neighbour:
        photo = replace(self.photos[i], similarity=similarity)
        if self.dataset is None:
            return photo
        picture = thumbnail(self.dataset, int(self.rows[i]))
        return replace(photo, thumbnail=data_uri(picture))


def gallery_of(deployed: Deployed) -> Gallery | None:
    """Return the training photos of a run; None where its data set is not on this machine."""
    folder = next(iter(deployed.folders), None)
    dataset = dataset_of(folder) if folder else None
    if folder is None or dataset is None:
        return None
    rows = open_split(read_config(folder / CONFIG), dataset).train
    labels = dataset.manifest.iloc[rows]
    photos = [
        Neighbour(Path(str(photo)).name, 0.0, float(lat), float(lon))
        for photo, lat, lon in zip(
            labels["photo"], labels["lat_deg"], labels["lon_deg"], strict=True
        )
    ]
    found = torch.from_numpy(features_of(deployed, dataset)[rows])
    return Gallery(functional.normalize(found), photos, rows, dataset)
