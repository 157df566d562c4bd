"""How far an answer can be trusted: a radius around it, and whether the photo is from here at all.

Both are calibrated on photos that the model did not learn from, each spot counting as one (see
`analysis.radius`). Whether a photo is from here is asked of the network's own features: photos of
the training ground lie near the subspace that the features of the training photos span, and the
squared distance in it and from it, each in units of its own variance, says how strange a photo is
(probabilistic principal components: Tipping & Bishop 1999). Means and axes are kept, no photo's
features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from img2gps.analysis import radius
from img2gps.analysis.radius import LEVEL, Scores

FALSE_ALARMS = 0.05  # share of photos from here that may be called strange
EXPLAINED = 0.9  # share of the features' variance inside the subspace
MOST_AXES = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrustFacts:
    """What stands behind the promise: which photos, how many spots, what it does not hold for."""

    what: str
    n_photos: int
    n_spots: int
    level: float = LEVEL
    radius_m: float | None = None  # None where there are too few spots
    false_alarms: float = FALSE_ALARMS
    knows_strangers: bool = False  # whether photos from elsewhere can be told at all
    ranked_cells: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class Trust(nn.Module):
    """Radius and strangeness of a batch of answers, as part of the network."""

    errors_m: Tensor
    weights: Tensor
    radius_m: Tensor
    centre: Tensor
    axes: Tensor
    spread: Tensor
    rest: Tensor
    limit: Tensor

    def __init__(self, n_errors: int, n_features: int, n_axes: int) -> None:
        """Make room for the numbers; `fitted` and a state dict fill it."""
        super().__init__()
        shapes = {
            "errors_m": (n_errors,),
            "weights": (n_errors,),
            "radius_m": (),
            "centre": (n_features,),
            "axes": (n_axes, n_features),
            "spread": (n_axes,),
            "rest": (),
            "limit": (),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the radius in metres and the strangeness of each photo, both (n,).

        Strangeness above 1 means: not from here, with the stated rate of false alarms. It is NaN
        where nothing is known of the features.
        """
        away = features[:, : len(self.centre)] - self.centre
        inside = away @ self.axes.T
        outside = away.square().sum(dim=1) - inside.square().sum(dim=1)
        distance = (inside / self.spread).square().sum(dim=1) + outside.clamp(min=0) / self.rest
        return self.radius_m.expand(len(features)), distance / self.limit

    def scores(self) -> Scores:
        """Return the calibration errors, from which a radius of any level follows."""
        return Scores(self.errors_m.tolist(), self.weights.tolist(), self.n_spots)

    @property
    def n_spots(self) -> int:
        """Return the number of spots that calibrated the radius."""
        total = float(self.weights.double().sum())  # G / (G + 1)
        return round(total / (1 - total)) if total < 1 else 0


def fitted(errors: Scores, train: Floats | None, held_out: tuple[Floats, Sequence[int]]) -> Trust:
    """Return the trust of a model.

    Args:
        errors: of held-out photos, in metres.
        train: features (n, d) of training photos; None where they are not at hand.
        held_out: features of photos that it did not learn from, and the spot of each.
    """
    if train is None:
        trust = Trust(len(errors.values), 0, 0)
        state = {"limit": torch.tensor(torch.nan), "rest": torch.tensor(1.0)}
    else:
        centre, axes, spread, rest = _subspace(train)
        trust = Trust(len(errors.values), train.shape[1], len(axes))
        state = {"centre": centre, "axes": axes, "spread": spread, "rest": rest}
        trust.load_state_dict({**trust.state_dict(), **_tensors(state), "limit": torch.tensor(1.0)})
        with torch.inference_mode():
            _, distance = trust(torch.from_numpy(held_out[0]).float())
        limit = radius.scores(distance.numpy(), held_out[1]).quantile(1 - FALSE_ALARMS)
        state["limit"] = limit
    state |= {
        "errors_m": np.array(errors.values),
        "weights": np.array(errors.weights),
        "radius_m": errors.quantile(LEVEL),
    }
    trust.load_state_dict({**trust.state_dict(), **_tensors(state)})
    return trust


def _subspace(features: Floats) -> tuple[Floats, Floats, Floats, float]:
    """Return centre, axes (k, d), spread along each, and the mean squared distance from them."""
    centre = features.mean(axis=0)
    _, scale, axes = np.linalg.svd(features - centre, full_matrices=False)
    variance = scale**2 / max(len(features) - 1, 1)
    share = np.cumsum(variance) / max(variance.sum(), 1e-12)
    kept = min(int(np.searchsorted(share, EXPLAINED)) + 1, MOST_AXES, max(1, len(features) // 4))
    rest = float(variance[kept:].sum()) or 1e-12
    return centre, axes[:kept], np.sqrt(np.maximum(variance[:kept], 1e-12)), rest


def _tensors(values: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
