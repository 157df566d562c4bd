"""From the knob `head` to a head, and the solving of what is solved in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from img2gps.config.heads import AverageWeights, HeadsConfig
from img2gps.training.backbones import Backbone
from img2gps.training.heads.average import AverageHead
from img2gps.training.heads.cells import Cells
from img2gps.training.heads.ground import GroundHead
from img2gps.training.heads.local import LocalRidge
from img2gps.training.heads.match import Match
from img2gps.training.heads.metric import Metric
from img2gps.training.heads.mixture import Mixture
from img2gps.training.heads.neighbours import Neighbours
from img2gps.training.heads.ridge import KernelRidge, Ridge
from img2gps.training.heads.solved import Examples, SolvedHead
from img2gps.training.heads.trained import linear, mlp


def build_head(head: str, knobs: HeadsConfig, backbone: Backbone) -> nn.Module:
    """Return a head, or several joined by +, for a backbone; torch's generator draws weights."""
    heads = {name: _one(name, knobs, backbone) for name in head.split("+")}
    if len(heads) == 1:
        return heads[head]
    learn = knobs.average.weights is AverageWeights.learned
    return AverageHead(heads, backbone.width, learn=learn)


def place_heads(head: nn.Module, targets: Tensor, unit_m: Tensor) -> None:
    """Lay the heads that need it over the scaled positions of the training photos."""
    for part in head.modules():
        if isinstance(part, GroundHead):
            part.place(targets, unit_m)


def solve_heads(head: nn.Module, examples: Examples) -> None:
    """Solve all that is solved in a head, and let others remember the training photos."""
    for part in head.modules():
        if isinstance(part, Metric):
            part.remember(examples.features)
    if isinstance(head, SolvedHead | AverageHead):
        head.solve(examples)


def chosen_settings(head: nn.Module) -> dict[str, Any]:
    """Return what was chosen inside the training part, by the knobs' names."""
    parts = [part for part in head.modules() if isinstance(part, SolvedHead)]
    chosen = {
        f"heads.{part.name}.{knob}": value
        for part in parts
        for knob, value in part.describe().items()
    }
    if isinstance(head, AverageHead):
        weights = zip(head.heads, head.weights.tolist(), strict=True)
        chosen["heads.average.weights"] = {name: round(weight, 4) for name, weight in weights}
    return chosen


def _one(name: str, knobs: HeadsConfig, backbone: Backbone) -> nn.Module:
    match name:
        case "mlp":
            return mlp(backbone.width, knobs.mlp)
        case "cells":
            return Cells(backbone.width, knobs.cells)
        case "mixture":
            return Mixture(backbone.width, knobs.mixture)
        case "metric":
            return Metric(backbone.width, knobs.metric)
        case "knn":
            return Neighbours(knobs.knn.k, knobs.knn.temperature)
        case "ridge":
            return Ridge(knobs.ridge.penalty)
        case "kernel_ridge":
            return KernelRidge(knobs.kernel_ridge.width, knobs.kernel_ridge.penalty)
        case "local_ridge":
            return LocalRidge(backbone.width, backbone.channels, knobs.local_ridge)
        case "match":
            return Match(backbone.width, backbone.channels, knobs.match)
    return linear(backbone.width)
