"""How far an answer can be trusted: a radius around it, and whether the photo is of this ground.

Where the head says how sure it is (a density), the radius is a multiple of each photo's deviation;
elsewhere it is the same for all photos.

Both are calibrated on photos that the model did not learn from, each spot counting as one (see
`analysis.radius`). Whether a photo is from here is judged by its style (see `inference.style`): the
strangeness is the Mahalanobis distance from the styles of the training photos (Lee et al. 2018, "A
simple unified framework for detecting out-of-distribution samples"). Only their mean and the main
directions in which they vary are kept, and no photo's own style.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from img2gps.analysis import radius
from img2gps.analysis.radius import LEVEL, Scores

FALSE_ALARMS = 0.1  # share of photos from here that may be called strange
PHOTOS_AN_AXIS = 3  # training photos for each direction of their styles
SHRINKAGE = 0.1  # of the mean variance, added to each: few photos underestimate the smaller ones

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
    style_mean: Tensor
    style_axes: Tensor  # (axes, s), directions in which the training photos' styles vary most
    style_variances: Tensor  # (axes + 1,), along each, and along any other direction
    limit: Tensor

    def __init__(self, n_errors: int, n_axes: int, n_style: int) -> None:
        """Make room for the numbers; `fitted` and a state dict fill it."""
        super().__init__()
        shapes = {
            "errors_m": (n_errors,),
            "weights": (n_errors,),
            "radius_m": (),
            "adaptive": (),
            "style_mean": (n_style,),
            "style_axes": (n_axes, n_style),
            "style_variances": (n_axes + 1,),
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
        trust = cls(len(state["errors_m"]), *state["style_axes"].shape)
        trust.load_state_dict(dict(state))
        if trust.radius_m < 0 or trust.limit < 0:
            raise ValueError("a radius below 0")
        return trust

    def scale(self, deviation_m: Tensor) -> Tensor:
        """Return what a radius is multiplied by for each photo, (n,)."""
        return torch.where(self.adaptive > 0, deviation_m, torch.ones_like(deviation_m))

    def strangeness(self, style: Tensor) -> Tensor:
        """Return the strangeness of photos by their styles (n, s).

        Above 1 means: not from here, with the stated rate of false alarms. It is NaN where nothing
        is known of the training photos.
        """
        if not len(self.style_axes):
            return torch.full_like(style[:, 0], torch.nan)
        return self.distance(style) / self.limit

    def distance(self, style: Tensor) -> Tensor:
        """Return the Mahalanobis distance of styles (n, s) from those of the training photos."""
        away = style - self.style_mean
        along = away @ self.style_axes.T
        rest = (away.square().sum(dim=1) - along.square().sum(dim=1)).clamp_min(0)
        main = (along.square() / self.style_variances[:-1]).sum(dim=1)
        return (main + rest / self.style_variances[-1]).sqrt()

    def radius_at(self, level: float) -> float:
        """Return the radius, before it is scaled, for another level than the usual one."""
        known = Scores(self.errors_m.tolist(), self.weights.tolist())
        return known.quantile(level, rounding=1e-6)  # single precision


@dataclass(frozen=True)
class Styles:
    """Styles (n, s) of training photos, and of others that the model did not learn from."""

    train: Floats
    held_out: Floats
    spot: NDArray[np.int64]  # of each held-out photo


def fitted(errors: Scores, known: Styles | None, *, adaptive: bool = False) -> Trust:
    """Return the trust of a model from its held-out errors, and its photos where they are known.

    The errors are in metres, or relative to each photo's deviation if the radius is adaptive.
    """
    state: dict[str, Any] = {
        "errors_m": np.array(errors.values),
        "weights": np.array(errors.weights),
        "radius_m": errors.quantile(LEVEL),
        "adaptive": float(adaptive),
        "limit": np.nan,
        **_style(np.zeros((0, 0), np.float32) if known is None else known.train),
    }
    trust = Trust(len(errors.values), *state["style_axes"].shape)
    trust.load_state_dict(_tensors(state))
    if known is not None and len(trust.style_axes):
        distance = trust.distance(torch.from_numpy(known.held_out))
        limit = radius.scores(distance.numpy(), known.spot).quantile(1 - FALSE_ALARMS)
        state["limit"] = limit if math.isfinite(limit) else np.nan  # too few spots to say
        trust.load_state_dict(_tensors(state))
    return trust


def _style(styles: Floats) -> dict[str, NDArray[Any]]:
    """Return the mean of the styles, the directions in which they vary most, and how much."""
    n, width = styles.shape
    axes = min(n // PHOTOS_AN_AXIS, width)
    if not axes:
        nothing = np.zeros((0, width), np.float32)
        return {"style_mean": np.zeros(width), "style_axes": nothing, "style_variances": np.ones(1)}
    mean = styles.mean(axis=0, dtype=np.float64)
    _, lengths, directions = np.linalg.svd(styles - mean, full_matrices=False)
    variances = lengths**2 / (n - 1)
    added = SHRINKAGE * variances.sum() / width + np.finfo(np.float32).tiny
    rest = variances[axes:].sum() / max(width - axes, 1)
    return {
        "style_mean": mean,
        "style_axes": directions[:axes],
        "style_variances": np.append(variances[:axes], rest) + added,
    }


def _tensors(values: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
