"""head=match: neighbours by local features that match, which recognise a place seen before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from img2gps.config.heads import MatchConfig
from img2gps.training.heads.matching import describe, fit_whitening, match_scores
from img2gps.training.heads.neighbours import NearSetting, weighted_means
from img2gps.training.heads.solved import Examples, SolvedHead, centred_directions, unit

NEIGHBOURS = (1, 3, 5, 10, 50)
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0)
BLENDS = (0.0, 0.5, 1.0, 2.0)
NEVER = -1e6  # the score of a photo that is no candidate
NORMAL_SPREAD = 1.4826  # standard deviation of a normal distribution, in median deviations


class MatchSetting(NamedTuple):
    """As of neighbours, and the weight of the whole photos' similarity beside the matches."""

    k: int
    temperature: float
    blend: float


class Match(SolvedHead[MatchSetting]):
    """The mean position of the photos with the most matching local features.

    Scores are counted from what is usual for both photos, in units of their spread, because a
    photo of leaves matches every other one a little.

    Args:
        width: features of the whole photo, which come first in a row.
        channels: of each feature map; the cells of all maps follow, channel by channel.
        config: its knobs.
    """

    name = "match"
    kept = (
        *("centre", "directions", "descriptors", "means", "projections"),
        *("usual", "spread", "positions", "setting"),
    )
    centre: Tensor
    directions: Tensor
    descriptors: Tensor
    means: Tensor
    projections: Tensor
    usual: Tensor  # (2, n): of matches and of cosines, for each training photo
    spread: Tensor  # (2,)
    positions: Tensor
    setting: Tensor

    def __init__(self, width: int, channels: Sequence[int], config: MatchConfig) -> None:
        super().__init__()
        self.width, self.channels, self.config = width, list(channels), config
        self.settings = [
            MatchSetting(k, temperature, blend)
            for k in (NEIGHBOURS if config.k is None else (config.k,))
            for temperature in (
                TEMPERATURES if config.temperature is None else (config.temperature,)
            )
            for blend in (BLENDS if config.blend is None else (config.blend,))
        ]

    def describe(self) -> Mapping[str, Any]:
        """Return k, temperature and blend."""
        return {} if self.chosen is None else self.chosen._asdict()

    def held_out(self, examples: Examples) -> Tensor:
        """Compare all training photos with each other once, and answer from parts of them."""
        self._remember(examples)
        kinds = self._scores(self.directions.float(), self.descriptors, but_itself=True)
        self.usual = kinds.nanmedian(dim=2).values
        deviations = (kinds - self.usual[:, :, None]).abs()
        self.spread = NORMAL_SPREAD * deviations.flatten(1).nanmedian(dim=1).values
        calibrated = self._calibrated(kinds)
        targets = examples.targets.double()
        answers = targets.mean(dim=0).repeat(len(self.settings), len(targets), 1)
        for seen, unseen in examples.folds:
            among = calibrated[:, unseen][:, :, seen]
            answers[:, unseen] = self._answers(among, targets[seen], self.settings)
        return answers

    def keep(self, examples: Examples, setting: MatchSetting) -> None:
        """Keep the setting; the training photos are remembered already."""
        self.positions = examples.targets.double()
        self.setting = torch.tensor(setting, dtype=torch.float64)

    def forward(self, features: Tensor) -> Tensor:
        """Return scaled positions (m, 2)."""
        whole, maps = self._divide(features)
        directions = unit(whole - self.centre)
        calibrated = self._calibrated(self._scores(directions, self._descriptors(maps)))
        k, temperature, blend = self.setting.tolist()
        chosen = MatchSetting(int(k), temperature, blend)
        return self._answers(calibrated, self.positions, [chosen])[0].float()

    def _remember(self, examples: Examples) -> None:
        whole, maps = self._divide(examples.features)
        self.centre = whole.mean(dim=0)
        (directions,) = centred_directions(whole)
        self.directions = directions.half()
        layers = torch.split(maps, self.channels, dim=1)
        fitted = [fit_whitening(layer, self.config.dim) for layer in layers]
        self.means = torch.cat([mean for mean, _ in fitted])
        self.projections = torch.cat([projection for _, projection in fitted])
        self.descriptors = self._descriptors(maps).half()

    def _divide(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of whole photos (n, width) and their maps (n, channels, 1, cells)."""
        whole, maps = features[:, : self.width].float(), features[:, self.width :]
        return whole, maps.reshape(len(maps), sum(self.channels), 1, -1)

    def _descriptors(self, maps: Tensor) -> Tensor:
        """Return unit descriptors (n, cells, dims) of maps, all layers with the same weight."""
        layers = zip(
            torch.split(maps, self.channels, dim=1),
            torch.split(self.means, self.channels),
            torch.split(self.projections, self.channels),
            strict=True,
        )
        described = torch.cat([describe(*layer) for layer in layers], dim=2)
        return described.div(len(self.channels) ** 0.5)

    def _scores(self, directions: Tensor, descriptors: Tensor, but_itself: bool = False) -> Tensor:
        """Return matches and cosines (2, m, n) with the training photos; NaN for no candidate."""
        cosines = directions @ self.directions.float().T
        ranks = cosines.clone()
        if but_itself:
            ranks.fill_diagonal_(-torch.inf)
        among = min(self.config.candidates, ranks.shape[1] - but_itself)
        candidates = ranks.topk(among, dim=1).indices
        scores = torch.full((2, *cosines.shape), torch.nan)
        for row, columns in enumerate(candidates):
            others = self.descriptors[columns].float()
            scores[0, row, columns] = match_scores(descriptors[row].float(), others)
            scores[1, row, columns] = cosines[row, columns]
        return scores

    def _calibrated(self, scores: Tensor) -> Tensor:
        usual = scores.nanmedian(dim=2).values[:, :, None] / 2 + self.usual[:, None] / 2
        counted = (scores - usual) / self.spread[:, None, None].clamp_min(1e-9)
        return counted.nan_to_num(nan=NEVER).double()

    def _answers(
        self, calibrated: Tensor, targets: Tensor, settings: Sequence[MatchSetting]
    ) -> Tensor:
        answers: dict[MatchSetting, Tensor] = {}
        for blend in dict.fromkeys(setting.blend for setting in settings):
            wanted = [setting for setting in settings if setting.blend == blend]
            near = [NearSetting(setting.k, setting.temperature) for setting in wanted]
            total = calibrated[0] + blend * calibrated[1]
            answers.update(zip(wanted, weighted_means(total, targets, near), strict=True))
        return torch.stack([answers[setting] for setting in settings])
