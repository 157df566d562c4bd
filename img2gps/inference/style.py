"""What photos look like to a network half-way through, whatever they show.

The mean and the spread of each channel of a middle feature map differ between cameras, seasons,
materials and drawn pictures. A network that was fine-tuned to place photos keeps them apart there,
while its last layer maps every picture onto the training ground.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from img2gps.training.maps import WithMaps
from img2gps.training.stages import feature_maps

STRIDE = 16  # px of a cell of the map


def style_layer(backbone: nn.Module) -> str:
    """Return the name of the module that puts out the last map of stride 16; empty without one."""
    net: nn.Module = backbone.net if isinstance(backbone, WithMaps) else backbone
    try:
        maps = [found.module for found in feature_maps(net) if found.stride == STRIDE]
    except (AssertionError, RuntimeError, ValueError):  # a network for one picture size only
        return ""
    names = {id(module): name for name, module in backbone.named_modules()}
    return names[id(maps[-1])] if maps else ""


@contextmanager
def noting(backbone: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Collect what a layer puts out while the backbone runs; nothing without a layer."""
    noted: list[Tensor] = []
    if not layer:
        yield noted
        return
    hook = backbone.get_submodule(layer).register_forward_hook(lambda *args: noted.append(args[2]))
    try:
        yield noted
    finally:
        hook.remove()


def style_of(maps: Tensor) -> Tensor:
    """Return the mean and the spread of each channel (n, 2 c) of maps (n, c, h, w), of length 1."""
    cells = maps.float().flatten(2)
    mean = cells.mean(dim=2)
    spread = (cells - mean[..., None]).square().mean(dim=2).sqrt()
    return functional.normalize(torch.cat([mean, spread], dim=1))
