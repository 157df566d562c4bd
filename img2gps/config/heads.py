"""The heads of a model and their knobs: group `heads`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from img2gps.config.checks import check, positive, within

TRAINED_HEADS = ("linear", "mlp", "cells", "mixture", "metric")  # by gradient descent
SOLVED_HEADS = ("knn", "ridge", "kernel_ridge", "local_ridge", "match")  # at once
MAPS_HEADS = ("local_ridge", "match")  # which read feature maps, too
FROZEN_HEADS = (*SOLVED_HEADS, "metric")  # which keep the features of the training photos
DENSITY_HEADS = ("mixture",)  # which give a density over the ground beside a position
WEIGHTED_HEADS = ("linear", "mlp")  # whose loss can weigh each photo
KERNEL_WIDTHS = (1e-6, 1e6)  # beyond them, all photos are alike to the kernel, or none
HEADS = TRAINED_HEADS + SOLVED_HEADS
# What head=cells answers: the mean over all cells, or the likeliest one.
CellsReadout = StrEnum("CellsReadout", ["mean", "mode"])
# Of solved heads joined by +: learned inside the training part, or equal.
AverageWeights = StrEnum("AverageWeights", ["learned", "equal"])


@dataclass
class MlpConfig:
    """Knobs of head=mlp."""

    width: int = 256
    dropout: float = 0.3

    def __post_init__(self) -> None:
        positive("heads.mlp.width", self.width)
        within("heads.mlp.dropout", self.dropout, 0.0, 0.95)


@dataclass
class CellsConfig:
    """Knobs of head=cells."""

    count: int = 32
    tau_m: float = 20.0
    readout: CellsReadout = CellsReadout.mean

    def __post_init__(self) -> None:
        within("heads.cells.count", self.count, 2, 10_000)
        positive("heads.cells.tau_m", self.tau_m, " metres")


@dataclass
class MixtureConfig:
    """Knobs of head=mixture."""

    count: int = 8
    least_m: float = 3.0

    def __post_init__(self) -> None:
        within("heads.mixture.count", self.count, 1, 1000)
        positive("heads.mixture.least_m", self.least_m, " metres")


@dataclass
class MetricConfig:
    """Knobs of head=metric."""

    dim: int = 128
    near_m: float = 15.0
    far_m: float = 40.0
    temperature: float = 0.05
    k: int = 10

    def __post_init__(self) -> None:
        positive("heads.metric.dim", self.dim)
        positive("heads.metric.k", self.k)
        positive("heads.metric.temperature", self.temperature)
        positive("heads.metric.near_m", self.near_m, " metres")
        fit = self.far_m >= self.near_m
        check(
            "heads.metric.far_m", self.far_m, fit, "metres; must not be below heads.metric.near_m"
        )


@dataclass
class KnnConfig:
    """Knobs of head=knn; null is chosen inside the training part."""

    k: int | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        positive("heads.knn.k", self.k)
        positive("heads.knn.temperature", self.temperature)


@dataclass
class RidgeConfig:
    """Knobs of head=ridge; null is chosen inside the training part."""

    penalty: float | None = None

    def __post_init__(self) -> None:
        positive("heads.ridge.penalty", self.penalty)


@dataclass
class KernelRidgeConfig:
    """Knobs of head=kernel_ridge; null is chosen inside the training part."""

    width: float | None = None
    penalty: float | None = None

    def __post_init__(self) -> None:
        within("heads.kernel_ridge.width", self.width, *KERNEL_WIDTHS)
        positive("heads.kernel_ridge.penalty", self.penalty)


@dataclass
class LocalRidgeConfig:
    """Knobs of head=local_ridge; null is chosen inside the training part."""

    width: float | None = None
    penalty: float | None = None
    words: int = 16

    def __post_init__(self) -> None:
        within("heads.local_ridge.width", self.width, *KERNEL_WIDTHS)
        positive("heads.local_ridge.penalty", self.penalty)
        within("heads.local_ridge.words", self.words, 1, 1000)


@dataclass
class MatchConfig:
    """Knobs of head=match; null is chosen inside the training part."""

    k: int | None = None
    temperature: float | None = None
    blend: float | None = None
    candidates: int = 50
    dim: int = 64

    def __post_init__(self) -> None:
        positive("heads.match.k", self.k)
        positive("heads.match.temperature", self.temperature)
        fit = self.blend is None or 0 <= self.blend < math.inf
        check("heads.match.blend", self.blend, fit, "must be a number, 0 or more")
        positive("heads.match.candidates", self.candidates)
        positive("heads.match.dim", self.dim)


@dataclass
class AverageConfig:
    """Knobs of heads joined by +."""

    weights: AverageWeights = AverageWeights.learned


@dataclass
class HeadsConfig:
    """Group `heads`: the knobs of each head. Only those of the heads in use change a run."""

    mlp: MlpConfig = field(default_factory=MlpConfig)
    cells: CellsConfig = field(default_factory=CellsConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    knn: KnnConfig = field(default_factory=KnnConfig)
    ridge: RidgeConfig = field(default_factory=RidgeConfig)
    kernel_ridge: KernelRidgeConfig = field(default_factory=KernelRidgeConfig)
    local_ridge: LocalRidgeConfig = field(default_factory=LocalRidgeConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
