"""How far an answer can be trusted: a radius around it, and whether the photo is of this ground.

Where the head says how sure it is (a density), the radius is a multiple of each photo's deviation;
elsewhere it is the same for all photos.

Both are calibrated on photos that the model did not learn from, each spot counting as one (see
`analysis.radius`). Whether a photo is from here is asked of the network's own features: a photo of
the training ground looks like some of the training photos, so its strangeness is its cosine
distance to the nearest of the centres into which they fall (k-means). A centre is the mean of
several photos; no photo's own features are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional

from img2gps.analysis import radius
from img2gps.analysis.radius import LEVEL, Scores

FALSE_ALARMS = 0.1  # share of photos from here that may be called strange
PHOTOS_A_CENTRE = 8
FEWEST_A_CENTRE = 3  # photos; a centre of fewer would show whose it is

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TrustFacts:
    """How the radius and the verdict "not from here" were calibrated.

    Attributes:
        what: which photos calibrated them.
        level: the share of true positions that lie within the radius.
        radius_m: the radius, or its median where each photo has its own; None where there are too
            few spots for this level.
        adaptive: whether each photo has a radius of its own.
        false_alarms: the share of photos of the training ground that may be called strange.
        knows_strangers: whether photos from elsewhere can be recognised.
        ranked_cells: cells that these photos chose among; above 1 the radius is too small.
    """

    what: str
    n_photos: int
    n_spots: int
    level: float = LEVEL
    radius_m: float | None = None
    false_alarms: float = FALSE_ALARMS
    knows_strangers: bool = False
    adaptive: bool = False
    ranked_cells: int = 1


class Trust(nn.Module):
    """Radius and strangeness of a batch of answers, as part of the network."""

    errors_m: Tensor
    weights: Tensor
    radius_m: Tensor  # or a multiple of the deviation
    adaptive: Tensor  # 1 where it is that
    centres: Tensor
    limit: Tensor

    def __init__(self, n_errors: int, n_centres: int, n_features: int) -> None:
        """Make room for the numbers; `fitted` and a state dict fill it."""
        super().__init__()
        shapes = {
            "errors_m": (n_errors,),
            "weights": (n_errors,),
            "radius_m": (),
            "adaptive": (),
            "centres": (n_centres, n_features),
            "limit": (),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.full(shape, torch.nan))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the trust whose state dict this is.

        Raises:
            KeyError, ValueError, RuntimeError: it is not one.
        """
        trust = cls(len(state["errors_m"]), *state["centres"].shape)
        trust.load_state_dict(dict(state))
        return trust

    def scale(self, deviation_m: Tensor) -> Tensor:
        """Return what a radius is multiplied by for each photo, (n,)."""
        return torch.where(self.adaptive > 0, deviation_m, torch.ones_like(deviation_m))

    def strangeness(self, features: Tensor) -> Tensor:
        """Return the strangeness of photos by their features (n, d).

        Above 1 means: not from here, with the stated rate of false alarms. It is NaN where nothing
        is known of the features.
        """
        if not len(self.centres):
            return torch.full_like(features[:, 0], torch.nan)
        return self.distance(features) / self.limit

    def distance(self, features: Tensor) -> Tensor:
        """Return the cosine distance of features (n, d) to the nearest centre."""
        own = functional.normalize(features[:, : self.centres.shape[1]])
        return 1 - (own @ self.centres.T).amax(dim=1)

    def radius_at(self, level: float) -> float:
        """Return the radius, before it is scaled, for another level than the usual one."""
        return Scores(self.errors_m.tolist(), self.weights.tolist()).quantile(level)


@dataclass(frozen=True)
class PhotoFeatures:
    """Features (n, d) of training photos, and of others that the model did not learn from."""

    train: Floats
    held_out: Floats
    spot: NDArray[np.int64]  # of each held-out photo


def fitted(errors: Scores, known: PhotoFeatures | None, *, adaptive: bool = False) -> Trust:
    """Return the trust of a model from its held-out errors, and its photos where they are known.

    The errors are in metres, or relative to each photo's deviation if the radius is adaptive.
    """
    centres = np.zeros((0, 0)) if known is None else _centres(known.train)
    trust = Trust(len(errors.values), *centres.shape)
    state: dict[str, Any] = {
        "errors_m": np.array(errors.values),
        "weights": np.array(errors.weights),
        "radius_m": errors.quantile(LEVEL),
        "adaptive": float(adaptive),
        "centres": centres,
        "limit": np.nan,
    }
    trust.load_state_dict(_tensors(state))
    if known is not None and len(centres):
        distance = trust.distance(torch.from_numpy(known.held_out))
        state["limit"] = radius.scores(distance.numpy(), known.spot).quantile(1 - FALSE_ALARMS)
        trust.load_state_dict(_tensors(state))
    return trust


def _centres(features: Floats) -> Floats:
    """Return the centres (k, d) of the photos' directions, each of length 1."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    wanted = max(1, len(unit) // PHOTOS_A_CENTRE)
    centres, member = kmeans2(unit, wanted, minit="++", seed=0)
    kept = centres[np.bincount(member, minlength=len(centres)) >= FEWEST_A_CENTRE]
    return np.asarray(kept / np.linalg.norm(kept, axis=1, keepdims=True).clip(1e-12))


def _tensors(values: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
