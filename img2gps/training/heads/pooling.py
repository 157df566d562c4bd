"""From the cells of a photo's feature maps to one description of the photo."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

POWER = 3.0  # of the mean over cells: the larger, the more the strongest cells count
SAMPLES = 20_000  # cells that the words are fitted on
ROUNDS = 20  # of the search for words


def power_means(maps: Tensor) -> Tensor:
    """Return the power means (n, 2 c) over the cells of maps (n, c, h, w).

    The positive and the negative values of a channel have a mean each.
    """
    cells = maps.float().flatten(2)
    signs = (cells.clamp_min(1e-6), (-cells).clamp_min(1e-6))
    return torch.cat([(part**POWER).mean(dim=2) ** (1 / POWER) for part in signs], dim=1)


def fit_words(cells: Tensor, count: int) -> Tensor:
    """Return the centres (count, dim) of clusters of cells (n, dim), by Lloyd's algorithm.

    It begins with cells at equal distances in their order, so that no number is drawn.
    """
    cells = cells[:: max(1, len(cells) // SAMPLES)]
    words = cells[torch.linspace(0, len(cells) - 1, count).long()]
    for _ in range(ROUNDS):
        own = _nearest(cells, words)
        sums = torch.zeros_like(words).index_add_(0, own, cells)
        sizes = own.bincount(minlength=count)[:, None]
        words = torch.where(sizes > 0, sums / sizes, words)
    return words


def residuals(cells: Tensor, words: Tensor) -> Tensor:
    """Return the sums (n, words x dim) of how the cells (n, p, dim) differ from their word.

    Each word's sum has length 1, so that a large wall counts no more than a small sign, and so has
    the whole.
    """
    own = functional.one_hot(_nearest(cells, words), len(words)).to(cells.dtype)
    sums = own.transpose(1, 2) @ cells - own.sum(dim=1)[..., None] * words
    return functional.normalize(functional.normalize(sums, dim=2).flatten(1), dim=1)


def _nearest(cells: Tensor, words: Tensor) -> Tensor:
    return (cells @ words.T - words.square().sum(dim=1) / 2).argmax(dim=-1)
