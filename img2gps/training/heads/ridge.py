"""Ridge regression and kernel ridge regression, both in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from img2gps.core.errors import BadInput
from img2gps.training.heads.solved import FeatureHead, centred_directions, unit

PENALTIES = tuple(10.0 ** (step / 2) for step in range(-2, 15))
KERNEL_PENALTIES = tuple(10.0 ** (step / 2) for step in range(-6, 3))
WIDTHS = (0.3, 1.0, 3.0)
MIN_SPREAD = 1e-6  # of a feature, below which it is left out


class Ridge(FeatureHead[float]):
    """A linear function of the standardised features, with a penalty on its weights."""

    name = "ridge"
    kept = ("weight", "bias")
    weight: Tensor
    bias: Tensor

    def __init__(self, penalty: float | None = None) -> None:
        super().__init__()
        self.settings = PENALTIES if penalty is None else (penalty,)

    def describe(self) -> Mapping[str, Any]:
        """Return the penalty."""
        return {"penalty": self.chosen}

    def answers(self, features: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
        """Return the positions for each penalty."""
        mean, scale = _mean_and_scale(features)
        weights = _ridge_weights((features - mean) / scale, targets, self.settings)
        return (queries - mean) / scale @ weights + targets.mean(dim=0)

    def keep_setting(self, features: Tensor, targets: Tensor, setting: float) -> None:
        """Keep one weight a feature and output, with the standardisation worked in."""
        mean, scale = _mean_and_scale(features)
        (weights,) = _ridge_weights((features - mean) / scale, targets, [setting])
        self.weight = weights / scale[:, None]
        self.bias = targets.mean(dim=0) - mean @ self.weight

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2)."""
        return (features.double() @ self.weight + self.bias).float()


class KernelSetting(NamedTuple):
    """The kernel's width, and the penalty relative to the kernel's diagonal."""

    width: float
    penalty: float


class KernelRidge(FeatureHead[KernelSetting]):
    """Kernel ridge regression with the kernel exp(width (cos - 1)) of centred features.

    Far from all training photos it answers their mean position.
    """

    name = "kernel_ridge"
    kept: tuple[str, ...] = ("centre", "directions", "dual", "offset", "width")
    centre: Tensor
    directions: Tensor
    dual: Tensor
    offset: Tensor
    width: Tensor

    def __init__(self, width: float | None = None, penalty: float | None = None) -> None:
        super().__init__()
        widths = WIDTHS if width is None else (width,)
        penalties = KERNEL_PENALTIES if penalty is None else (penalty,)
        self.settings = [KernelSetting(w, p) for w in widths for p in penalties]

    def describe(self) -> Mapping[str, Any]:
        """Return the kernel's width and the penalty."""
        return {} if self.chosen is None else self.chosen._asdict()

    def answers(self, features: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
        """Return the positions for each setting from one decomposition for each width."""
        seen, asked = centred_directions(features, queries)
        cosines, asked_cosines = seen @ seen.T, asked @ seen.T
        offset = targets.mean(dim=0)
        found = []
        for width in dict.fromkeys(setting.width for setting in self.settings):
            penalties = [s.penalty for s in self.settings if s.width == width]
            dual = _solve_penalised(_kernel(cosines, width), targets - offset, penalties)
            found.append(_kernel(asked_cosines, width) @ dual)
        return torch.cat(found) + offset

    def keep_setting(self, features: Tensor, targets: Tensor, setting: KernelSetting) -> None:
        """Keep the training photos' directions and one dual coefficient each."""
        (directions,) = centred_directions(features)
        kernel = _kernel(directions @ directions.T, setting.width)
        self.offset = targets.mean(dim=0)
        (self.dual,) = _solve_penalised(kernel, targets - self.offset, [setting.penalty])
        self.centre, self.directions = features.mean(dim=0), directions.half()
        self.width = torch.tensor(setting.width, dtype=torch.float64)

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2)."""
        asked = unit(features.double() - self.centre)
        kernel = _kernel(asked @ self.directions.double().T, self.width)
        return (kernel @ self.dual + self.offset).float()


def _ridge_weights(features: Tensor, targets: Tensor, penalties: Sequence[float]) -> Tensor:
    """Return the weights (penalties, d, 2) of centred features, from the smaller of two systems."""
    if len(features) < features.shape[1]:
        offsets = targets - targets.mean(dim=0)
        return features.T @ _solve_penalised(features @ features.T, offsets, penalties)
    return _solve_penalised(features.T @ features, features.T @ targets, penalties)


def _solve_penalised(matrix: Tensor, right: Tensor, penalties: Sequence[float]) -> Tensor:
    """Return (matrix + p I)^-1 right for each penalty p, the matrix symmetric.

    Raises:
        BadInput: a penalty is lost in rounding, so that the system has no solution.
    """
    one = torch.eye(len(matrix), dtype=matrix.dtype)
    try:
        factors = [torch.linalg.cholesky(matrix + p * one) for p in penalties]
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # torch hides its name
        raise BadInput(
            f"heads.*.penalty={min(penalties):g}: too small to solve the head with; give a larger "
            "penalty, or null to have it chosen"
        ) from error
    return torch.stack([torch.cholesky_solve(right, factor) for factor in factors])


def _kernel(cosines: Tensor, width: float | Tensor) -> Tensor:
    return torch.exp(width * (cosines - 1))


def _mean_and_scale(features: Tensor) -> tuple[Tensor, Tensor]:
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
    return mean, torch.where(spread > MIN_SPREAD, spread, torch.inf)
