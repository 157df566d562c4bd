"""Neighbours: the mean position of the training photos that look most alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from img2gps.training.heads.solved import FeatureHead, centred_directions, unit

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2)


class NearSetting(NamedTuple):
    """How many neighbours count, and how fast their weight falls with their similarity."""

    k: int
    temperature: float


class Neighbours(FeatureHead[NearSetting]):
    """The mean position of the k most similar photos, weighted by exp(similarity / temperature).

    The similarity is the cosine of the features less their mean over the training photos.
    """

    name = "knn"
    kept = ("centre", "directions", "positions", "setting")
    centre: Tensor
    directions: Tensor
    positions: Tensor
    setting: Tensor

    def __init__(self, k: int | None = None, temperature: float | None = None) -> None:
        super().__init__()
        numbers = NEIGHBOURS if k is None else (k,)
        temperatures = TEMPERATURES if temperature is None else (temperature,)
        self.settings = [NearSetting(n, t) for n in numbers for t in temperatures]

    def describe(self) -> Mapping[str, Any]:
        """Return k and the temperature."""
        return {} if self.chosen is None else self.chosen._asdict()

    def answers(self, features: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
        """Return the positions for each setting."""
        seen, asked = centred_directions(features, queries)
        return torch.stack(weighted_means(asked @ seen.T, targets, self.settings))

    def keep_setting(self, features: Tensor, targets: Tensor, setting: NearSetting) -> None:
        """Keep the directions and positions of the training photos."""
        (directions,) = centred_directions(features)
        self.centre, self.directions = features.mean(dim=0), directions.half()
        self.positions = targets
        self.setting = torch.tensor([setting.k, setting.temperature], dtype=torch.float64)

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2)."""
        similarity = unit(features.double() - self.centre) @ self.directions.double().T
        assert self.chosen is not None  # solved or loaded
        return weighted_means(similarity, self.positions, [self.chosen])[0].float()

    def kept_setting(self) -> NearSetting | None:
        """Return k and the temperature as plain numbers, which a traced graph needs."""
        if not len(self.setting):  # not solved yet
            return None
        k, temperature = self.setting.tolist()
        return NearSetting(int(k), temperature)


def weighted_means(
    similarity: Tensor, targets: Tensor, settings: Sequence[NearSetting]
) -> list[Tensor]:
    """Return the weighted mean targets of the most similar columns, one tensor a setting."""
    most = min(max(setting.k for setting in settings), similarity.shape[1])
    # A stable sort, so that equally similar photos count in their order on every machine.
    values, order = similarity.sort(dim=1, descending=True, stable=True)
    values, near = values[:, :most], targets[order[:, :most]]
    found = []
    for setting in settings:
        weights = (values[:, : setting.k] / setting.temperature).softmax(dim=1)
        found.append((weights[..., None] * near[:, : setting.k]).sum(dim=1))
    return found
