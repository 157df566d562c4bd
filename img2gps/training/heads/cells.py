"""head=cells: which part of the ground a photo shows, and where in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from img2gps.config.heads import CellsConfig, CellsReadout
from img2gps.training.heads.ground import GroundHead, deviation_m, divide

LEAST_M = 1.0  # width of a cell


class Cells(GroundHead):
    """Classifies the ground's cells softly, with an offset in each of them.

    Cells hold about as many training photos each, so they are small where many photos were taken.
    A cell at a distance d from the photo's position is right to the degree exp(-d / tau).
    """

    centres: Tensor  # (cells, 2), scaled

    def __init__(self, width: int, config: CellsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centres", torch.zeros(config.count, 2))
        self.logits = nn.Linear(width, config.count)
        self.offsets = nn.Linear(width, 2 * config.count)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)

    def place(self, targets: Tensor, unit_m: Tensor) -> None:
        """Divide the ground by the training photos."""
        super().place(targets, unit_m)
        self.centres = divide(targets * self.unit_m, self.config.count) / self.unit_m

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2): the mean over all cells, or the likeliest cell's."""
        shares = self.logits(features).softmax(dim=1)
        places = self._places(features)
        if self.config.readout is CellsReadout.mean:
            mean: Tensor = (shares[..., None] * places).sum(dim=1)
            return mean
        return places[torch.arange(len(shares)), shares.argmax(dim=1)]

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of the soft cells, and the squared error of the mean."""
        away_m = ((targets[:, None] - self.centres) * self.unit_m).norm(dim=2)
        wanted = (-away_m / self.config.tau_m).softmax(dim=1)
        logits = self.logits(features)
        mean = (logits.softmax(dim=1)[..., None] * self._places(features)).sum(dim=1)
        return functional.cross_entropy(logits, wanted) + functional.mse_loss(mean, targets)

    def components(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log shares (m, k), scaled means (m, k, 2) and widths in metres (m, k)."""
        log_shares = self.logits(features).log_softmax(dim=1)
        return log_shares, self._places(features), self._width_m().expand(features.shape[0], -1)

    def deviation_m(self, features: Tensor) -> Tensor:
        """Return the root mean square distance (m,) in metres of the cells from the answer."""
        log_shares, places, width_m = self.components(features)
        away_m = (places - self(features)[:, None]) * self.unit_m
        return deviation_m(log_shares.exp(), away_m, width_m)

    def _width_m(self) -> Tensor:
        """Return half the distance (cells,) in metres from each centre to the nearest other one."""
        at_m = self.centres * self.unit_m
        apart = (at_m[:, None] - at_m).norm(dim=2)
        apart = torch.where(apart > 0, apart, torch.inf)  # itself, and centres that are repeated
        return (apart.amin(dim=1) / 2).nan_to_num(posinf=self.config.tau_m).clamp_min(LEAST_M)

    def _places(self, features: Tensor) -> Tensor:
        offsets: Tensor = self.offsets(features)
        return self.centres + offsets.reshape(-1, self.config.count, 2)
