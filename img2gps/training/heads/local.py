"""head=local_ridge: kernel ridge regression on what the cells of feature maps say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from img2gps.config.heads import LocalRidgeConfig
from img2gps.training.heads.matching import describe, fit_whitening
from img2gps.training.heads.pooling import fit_words, power_means, residuals
from img2gps.training.heads.ridge import KernelRidge, KernelSetting
from img2gps.training.heads.solved import Examples, unit

DIM = 64  # numbers of each layer in the description of a cell
CHUNK = 64  # photos described at once
MIN_SPREAD = 1e-6


class LocalRidge(KernelRidge):
    """Kernel ridge regression on three descriptions of a photo, which have the same weight.

    These are the features of the whole photo, the power means of its feature maps' channels, and
    by how much its cells differ from the visual word that each is most similar to (VLAD).

    Args:
        width: features of the whole photo, which come first in a row.
        channels: of each feature map; the cells of all maps follow, channel by channel.
        config: its knobs.
    """

    name = "local_ridge"
    kept = (*KernelRidge.kept, "means", "projections", "words", "middle", "scale")
    means: Tensor
    projections: Tensor
    words: Tensor
    middle: Tensor  # of the features and the power means over the training photos
    scale: Tensor

    def __init__(self, width: int, channels: Sequence[int], config: LocalRidgeConfig) -> None:
        super().__init__(config.width, config.penalty)
        self.whole, self.channels, self.count = width, list(channels), config.words

    def held_out(self, examples: Examples) -> Tensor:
        """Learn how photos are described, and solve once for each fold."""
        self._fit(examples.features)
        return super().held_out(self._described(examples))

    def keep(self, examples: Examples, setting: KernelSetting) -> None:
        """Solve from all training photos."""
        super().keep(self._described(examples), setting)

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2)."""
        return super().forward(self._describe(features))

    def _fit(self, features: Tensor) -> None:
        layers = self._maps(features)
        fitted = [fit_whitening(layer, DIM) for layer in layers]
        self.means = torch.cat([mean for mean, _ in fitted])
        self.projections = torch.cat([projection for _, projection in fitted])
        cells = torch.cat([self._cells(part) for part in torch.split(features, CHUNK)])
        self.words = fit_words(cells.flatten(0, 1), self.count)
        pooled = torch.cat([self._pooled(part) for part in torch.split(features, CHUNK)])
        self.middle, spread = pooled.mean(dim=0), pooled.std(dim=0, correction=0)
        self.scale = torch.where(spread > MIN_SPREAD, spread, torch.inf)

    def _described(self, examples: Examples) -> Examples:
        parts = [self._describe(part) for part in torch.split(examples.features, CHUNK)]
        return replace(examples, features=torch.cat(parts))

    def _describe(self, features: Tensor) -> Tensor:
        standard = (self._pooled(features) - self.middle) / self.scale
        parts = (standard[:, : self.whole], standard[:, self.whole :])
        words = residuals(self._cells(features), self.words)
        return torch.cat([*(unit(part) for part in parts), words], dim=1)

    def _pooled(self, features: Tensor) -> Tensor:
        """Return the features of whole photos, then the power means of all channels."""
        whole = features[:, : self.whole].float()
        return torch.cat([whole, *(power_means(layer) for layer in self._maps(features))], dim=1)

    def _cells(self, features: Tensor) -> Tensor:
        """Return unit descriptions (n, cells, dims) of cells, all layers with the same weight."""
        each = zip(
            self._maps(features),
            torch.split(self.means, self.channels),
            torch.split(self.projections, self.channels),
            strict=True,
        )
        return torch.cat([describe(*layer) for layer in each], dim=2).div(len(self.channels) ** 0.5)

    def _maps(self, features: Tensor) -> tuple[Tensor, ...]:
        cells = (features.shape[1] - self.whole) // sum(self.channels)
        maps = features[:, self.whole :].reshape(-1, sum(self.channels), 1, cells)
        return torch.split(maps, self.channels, dim=1)
