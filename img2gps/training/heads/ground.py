"""Heads that start from where the training photos are, and bring their own loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class GroundHead(nn.Module, ABC):
    """A trained head that is laid over the ground before training begins."""

    unit_m: Tensor  # metres of one unit of each target axis, (2,)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unit_m", torch.ones(2))

    def place(self, targets: Tensor, unit_m: Tensor) -> None:
        """Lay the head over the scaled positions (n, 2) of the training photos."""
        self.unit_m = unit_m.to(targets.dtype)

    @abstractmethod
    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return what training minimises, in place of the run's `loss`."""


def deviation_m(shares: Tensor, away_m: Tensor, width_m: Tensor) -> Tensor:
    """Return the root mean square distance (m,) in metres of round Gaussians from an answer.

    Args:
        shares: of each Gaussian, (m, k).
        away_m: from the answer to each mean, (m, k, 2).
        width_m: of each Gaussian, (m, k).
    """
    square = away_m.square().sum(dim=2) + 2 * width_m.square()  # two axes
    return (shares * square).sum(dim=1).sqrt()


def divide(positions: Tensor, count: int) -> Tensor:
    """Return the centres (count, 2) of parts that hold about as many positions (n, 2) each.

    The part with the most positions is halved along its longer side until there are enough. If
    there are fewer different positions than parts, the last centre is repeated.
    """
    parts = [positions]
    while len(parts) < count:
        sides = [(part.amax(dim=0) - part.amin(dim=0)) * (len(part) > 1) for part in parts]
        largest = max(range(len(parts)), key=lambda i: (float(sides[i].max()) > 0, len(parts[i])))
        if float(sides[largest].max()) == 0:
            break
        part = parts.pop(largest)
        axis = int(sides[largest].argmax())
        order = part[:, axis].argsort(stable=True)
        middle = len(part) // 2
        parts += [part[order[:middle]], part[order[middle:]]]
    centres = torch.stack([part.mean(dim=0) for part in parts])
    missing = count - len(centres)
    return torch.cat([centres, centres[-1:].repeat(missing, 1)]) if missing else centres
