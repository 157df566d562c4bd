"""What all solved heads share: settings chosen inside the training part, tensors kept in files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from img2gps.training.heads.kept import KeptTensors

S = TypeVar("S")


@dataclass(frozen=True)
class Examples:
    """The training photos that a head is solved from.

    Attributes:
        features: (n, d).
        targets: scaled positions, (n, 2).
        unit_m: metres of one unit of each target axis, (2,).
        folds: positions in 0..n-1 to solve from and to predict, for choosing settings.
    """

    features: Tensor
    targets: Tensor
    unit_m: Tensor
    folds: Sequence[tuple[Tensor, Tensor]]

    def mean_square_m2(self, answers: Tensor) -> Tensor:
        """Return the mean squared error in square metres of answers (..., n, 2)."""
        errors = (answers - self.targets) * self.unit_m
        return errors.square().sum(dim=-1).mean(dim=-1)


class SolvedHead(KeptTensors, ABC, Generic[S]):
    """A head that is computed from the training photos at once.

    Subclasses list `settings`, answer for all of them, and keep the tensors of one of them in
    the buffers named `kept`.
    """

    name: str  # as the knob `head` has it
    settings: Sequence[S]

    def __init__(self) -> None:
        super().__init__()
        self.chosen: S | None = None

    @abstractmethod
    def held_out(self, examples: Examples) -> Tensor:
        """Return what each setting answers for photos that it has not seen, (settings, n, 2).

        Photos that no fold predicts get the mean position.
        """

    @abstractmethod
    def keep(self, examples: Examples, setting: S) -> None:
        """Keep what `forward` needs in the buffers."""

    def describe(self) -> Mapping[str, Any]:
        """Return the chosen setting by the names of the knobs."""
        return {}

    def solve(self, examples: Examples) -> Tensor:
        """Choose the setting with the least squared error in the folds, and solve the head.

        Returns:
            The answers of this setting for photos that it has not seen, (n, 2).
        """
        answers = self.held_out(examples)
        best = int(examples.mean_square_m2(answers).argmin())
        self.chosen = self.settings[best]
        self.keep(examples, self.settings[best])
        return answers[best]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the chosen setting from the file, too."""
        super()._load_from_state_dict(state, prefix, *args)
        self.chosen = self.kept_setting()

    def kept_setting(self) -> S | None:
        """Return the setting that the buffers are of, where `forward` needs it."""
        return self.chosen


class FeatureHead(SolvedHead[S]):
    """A solved head that answers for all settings from features alone."""

    @abstractmethod
    def answers(self, features: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
        """Return the positions (settings, m, 2) of the queries (m, d), one for each setting."""

    @abstractmethod
    def keep_setting(self, features: Tensor, targets: Tensor, setting: S) -> None:
        """Keep what `forward` needs in the buffers; all tensors are float64."""

    def held_out(self, examples: Examples) -> Tensor:
        """Solve once for each fold."""
        features, targets = examples.features.double(), examples.targets.double()
        answers = targets.mean(dim=0).repeat(len(self.settings), len(targets), 1)
        for seen, unseen in examples.folds:
            answers[:, unseen] = self.answers(features[seen], targets[seen], features[unseen])
        return answers

    def keep(self, examples: Examples, setting: S) -> None:
        """Solve from all training photos."""
        self.keep_setting(examples.features.double(), examples.targets.double(), setting)


def centred_directions(features: Tensor, *others: Tensor) -> list[Tensor]:
    """Return unit vectors of the features and of others, all less the mean of the first."""
    mean = features.mean(dim=0)
    return [unit(rows - mean) for rows in (features, *others)]


def unit(rows: Tensor) -> Tensor:
    """Return the rows at length 1; a row of zeros stays one."""
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / length.clamp_min(1e-12)
