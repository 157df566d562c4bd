"""How much of one photo is found again in another: mutual nearest neighbours of local features.

A photo is a set of local descriptors, one for each cell of a feature map, as unit vectors. Two
descriptors match if each is the most similar one of the other photo. This finds the same wall or
tree elsewhere in the picture, which a single vector for the whole photo cannot.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHARPNESS = 3.0  # power of the cosine that a match counts with
CHUNK = 16  # photos compared at once, so that their similarities stay in the processor's cache
SAMPLES = 40_000  # descriptors that the whitening is fitted on
REGULAR = 0.01  # of the largest variance, added to each one


def fit_whitening(maps: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the mean (c,) and the projection (c, dim) that whiten the cells of maps (n, c, h, w).

    Without it a few channels that are large everywhere decide every similarity.
    """
    cells = maps.movedim(1, -1).reshape(-1, maps.shape[1])
    cells = cells[:: max(1, len(cells) // SAMPLES)].double()
    mean = cells.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov((cells - mean).T))
    variances, axes = variances.flip(0)[:dim], axes.flip(1)[:, :dim]
    scale = (variances + REGULAR * variances[0]).clamp_min(1e-12).rsqrt()
    missing = max(0, dim - len(scale))  # a map may have fewer channels
    return mean.float(), functional.pad(axes * scale, (0, missing)).float()


def describe(maps: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    """Return unit descriptors (n, h w, dim) of maps (n, c, h, w)."""
    cells = maps.float().flatten(2).transpose(1, 2)
    whitened = (cells - mean) @ projection
    return functional.normalize(whitened, dim=2)


def match_scores(query: Tensor, others: Tensor) -> Tensor:
    """Return how well one photo (p, dim) matches each of others (m, p, dim), between 0 and 1."""
    cells = torch.arange(len(query))
    scores = []
    for chunk in torch.split(others, CHUNK):
        similarity = query @ chunk.transpose(1, 2)  # (m, p of the query, p of the other)
        best, partner = similarity.max(dim=2)
        mutual = similarity.argmax(dim=1).gather(1, partner) == cells
        scores.append((best.clamp_min(0) ** SHARPNESS * mutual).sum(dim=1) / len(query))
    return torch.cat(scores)
