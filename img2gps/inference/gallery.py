"""Training photos that look like another photo, by the network's own features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional

from img2gps.config.compose import read_config
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_bytes_atomic, write_json
from img2gps.inference.deployed import Deployed
from img2gps.inference.features import looks_of
from img2gps.inference.position import Neighbour
from img2gps.photos.copies import are_copies
from img2gps.photos.dataset import Dataset
from img2gps.photos.look import looks
from img2gps.photos.thumbnails import data_uri, thumbnail
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CONFIG
from img2gps.runs.plan import open_split

FEATURES, PHOTOS = "gallery.safetensors", "gallery.json"  # beside an exported model


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
        width = self.features.shape[1]
        if features.shape[1] < width:
            raise BadInput(f"{FEATURES}: of another model; export it again with --with-gallery")
        own = functional.normalize(features[:, :width])
        similarity, index = (own @ self.features.T).topk(min(k, len(self.photos)), dim=1)
        pairs = zip(similarity.tolist(), index.tolist(), strict=True)
        return [
            tuple(self.photo(i, cosine) for cosine, i in zip(cosines, chosen, strict=True))
            for cosines, chosen in pairs
        ]

    def has(self, dataset: Dataset) -> NDArray[np.bool_]:
        """Return which photos of a data set are training photos, or copies of these.

        An exported model does not know its training photos, so it has none of them.
        """
        if self.dataset is None:
            return np.zeros(len(dataset), np.bool_)
        contents = self.dataset.manifest["content"].iloc[self.rows]
        same = dataset.manifest["content"].isin(contents).to_numpy()
        if self.dataset.synthetic:  # drawn photos of one spot look alike without being copies
            return same
        trained = looks(self.dataset.pixels()[row] for row in self.rows)
        return same | are_copies(looks(dataset.pixels()), trained)

    def positions(self) -> NDArray[np.float64]:
        """Return latitude and longitude (n, 2) of the training photos."""
        return np.array([[photo.lat_deg, photo.lon_deg] for photo in self.photos])

    def photo(self, i: int, similarity: float = 0.0) -> Neighbour:
        """Return one of the photos, with its thumbnail where there are pixels."""
        photo = replace(self.photos[i], similarity=similarity)
        if self.dataset is None:
            return photo
        picture = thumbnail(self.dataset, int(self.rows[i]))
        return replace(photo, thumbnail=data_uri(picture))


def gallery_of(deployed: Deployed) -> Gallery | None:
    """Return the training photos of a model; None where they are not at hand."""
    if deployed.exported is not None and not deployed.folders:
        return read_gallery(deployed.exported, deployed.card.runs)
    folder = next(iter(deployed.folders), None)
    dataset = dataset_of(folder) if folder else None
    if folder is None or dataset is None:
        return None
    configs = [read_config(one / CONFIG) for one in deployed.folders]
    trained = [open_split(config, dataset).train for config in configs]
    rows = np.unique(np.concatenate(trained))  # by any member
    labels = dataset.manifest.iloc[rows]
    photos = [
        Neighbour(Path(str(photo)).name, 0.0, float(lat), float(lon))
        for photo, lat, lon in zip(
            labels["photo"], labels["lat_deg"], labels["lon_deg"], strict=True
        )
    ]
    found = torch.from_numpy(looks_of(deployed, dataset).features[rows])
    return Gallery(functional.normalize(found), photos, rows, dataset)


def write_gallery(gallery: Gallery, folder: Path, runs: Sequence[str]) -> None:
    """Write the training photos beside an exported model: features, positions and thumbnails.

    `runs` are the ids of the model's runs, whose features no other model can compare with its own.
    """
    write_bytes_atomic(folder / FEATURES, save({"features": gallery.features.contiguous()}))
    photos = [gallery.photo(i) for i in range(len(gallery.photos))]
    plain = [
        {"lat_deg": one.lat_deg, "lon_deg": one.lon_deg, "thumbnail": one.thumbnail}
        for one in photos
    ]
    write_json(folder / PHOTOS, {"runs": list(runs), "photos": plain})


def read_gallery(folder: Path, runs: Sequence[str]) -> Gallery | None:
    """Read the training photos beside an exported model of these runs; None where it has none.

    Raises:
        BadInput: they are damaged, or of another model.
    """
    if not (folder / PHOTOS).is_file():
        return None
    plain = read_json(folder / PHOTOS) or {}
    try:
        if plain.get("runs", list(runs)) != list(runs):
            raise ValueError("its photos are those of another model")
        features = load_file(folder / FEATURES)["features"]
        photos = [
            Neighbour(
                f"training photo {number}",
                0.0,
                float(one["lat_deg"]),
                float(one["lon_deg"]),
                _picture(one["thumbnail"]),
            )
            for number, one in enumerate(plain["photos"], start=1)
        ]
        if features.dim() != 2 or len(features) != len(photos):
            raise ValueError("features and photos differ in number")
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise BadInput(f"{folder / PHOTOS}: damaged ({error}); export it again") from error
    return Gallery(features, photos, np.arange(len(photos)))


def _picture(uri: str) -> str:
    """Return a thumbnail, refusing what a page would fetch or run."""
    if uri and not uri.startswith("data:image/jpeg;base64,"):
        raise ValueError("a thumbnail that is no JPEG")
    return uri
