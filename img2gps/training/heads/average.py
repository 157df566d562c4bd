"""The average of several heads: head=match+kernel_ridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from img2gps.training.heads.local import LocalRidge
from img2gps.training.heads.match import Match
from img2gps.training.heads.solved import Examples, SolvedHead

TOWARDS_EQUAL = 0.02  # how much equal weights count, relative to the training photos
SUM_TO_ONE = 1e4  # weight of that condition, relative to a photo's error


class AverageHead(nn.Module):
    """Answers the mean of what its heads answer.

    If all heads are solved, their weights are those with the least squared error for photos that
    the heads have not seen. They are not negative and add up to one. Otherwise they are equal,
    because a trained head has no answers for such photos.

    Args:
        heads: by name.
        width: features of the whole photo; only `match` and `local_ridge` read what follows them.
        learn: whether the weights may differ.
    """

    weights: Tensor

    def __init__(self, heads: Mapping[str, nn.Module], width: int, *, learn: bool = True) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(heads)
        self.width = width
        self.learn = learn and all(isinstance(head, SolvedHead) for head in heads.values())
        self.register_buffer("weights", torch.full((len(heads),), 1 / len(heads)))

    def solve(self, examples: Examples) -> None:
        """Solve each head that is solved, and weigh them."""
        unseen = [
            head.solve(replace(examples, features=self.read(head, examples.features)))
            for head in self.heads.values()
            if isinstance(head, SolvedHead)
        ]
        if self.learn:
            self.weights = _best_weights(torch.stack(unseen), examples)

    def trained(self) -> list[nn.Module]:
        """Return the heads that learn by gradient descent."""
        return [head for head in self.heads.values() if not isinstance(head, SolvedHead)]

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2).

        While training only the trained heads count: a solved one has seen the photos of the batch.
        """
        parts = list(zip(self.heads.values(), self.weights, strict=True))
        if self.training:
            parts = [part for part in parts if not isinstance(part[0], SolvedHead)] or parts
        total = sum(weight for _, weight in parts)
        answers = [weight / total * head(self.read(head, features)) for head, weight in parts]
        return torch.stack(answers).sum(dim=0)

    def read(self, head: nn.Module, features: Tensor) -> Tensor:
        """Return the features that one of the heads reads."""
        return features if isinstance(head, LocalRidge | Match) else features[:, : self.width]


def _best_weights(answers: Tensor, examples: Examples) -> Tensor:
    """Return the weights of answers (heads, n, 2) for photos that the heads have not seen."""
    columns = (answers * examples.unit_m).flatten(1).T.double().numpy()
    truth = (examples.targets * examples.unit_m).flatten().double().numpy()
    n, heads = columns.shape
    scale = float(np.sqrt(np.mean(truth**2))) or 1.0
    pull = scale * np.sqrt(TOWARDS_EQUAL * n)
    rows = np.vstack([columns, np.full((1, heads), SUM_TO_ONE * scale), pull * np.eye(heads)])
    right = np.hstack([truth, SUM_TO_ONE * scale, np.full(heads, pull / heads)])
    weights, _ = nnls(rows, right)
    return torch.from_numpy(weights / weights.sum()).float()
