"""Where in a convolutional backbone feature maps of which stride come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PROBE_SIZE = 128  # px of the picture that is sent through to see the maps


@dataclass(frozen=True)
class FeatureMap:
    """What a module puts out: pixels of the picture that one step of its map is, and channels."""

    module: nn.Module
    stride: int
    channels: int


def feature_maps(backbone: nn.Module) -> list[FeatureMap]:
    """Return the feature maps of the backbone's children and grandchildren, in order of use."""
    found: list[FeatureMap] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] > 1:
            found.append(FeatureMap(module, PROBE_SIZE // output.shape[-1], output.shape[1]))

    modules = [module for name, module in backbone.named_modules() if name and name.count(".") < 2]
    hooks = [module.register_forward_hook(note) for module in modules]
    training = backbone.training
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    finally:
        for hook in hooks:
            hook.remove()
        backbone.train(training)
    return found


def before_last_stride(backbone: nn.Module) -> list[nn.Module]:
    """Return the modules that put out finer maps than the coarsest of the backbone."""
    maps = feature_maps(backbone)
    coarsest = max((found.stride for found in maps), default=0)
    return [found.module for found in maps if found.stride < coarsest]
