"""A backbone that also puts out its finer feature maps, which some heads read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from img2gps.config.heads import MAPS_HEADS
from img2gps.core.errors import BadInput
from img2gps.training.stages import FeatureMap, feature_maps

STRIDE = 16  # px a cell: the finest at which ImageNet features still say what is shown
LAYERS = 2


class WithMaps(nn.Module):
    """Puts out a row for each photo: the backbone's features, then the cells of its maps."""

    def __init__(self, net: nn.Module, width: int, maps: list[FeatureMap]) -> None:
        super().__init__()
        self.net = net
        self.width = width
        self.channels = tuple(found.channels for found in maps)
        self._outputs: dict[int, Tensor] = {}
        for index, found in enumerate(maps):
            found.module.register_forward_hook(self._note(index))

    def _note(self, index: int) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            self._outputs[index] = output

        return hook

    def forward(self, images: Tensor) -> Tensor:
        """Return rows in float16: tens of thousands of numbers for each photo."""
        features = self.net(images)
        cells = [self._outputs.pop(i).flatten(1) for i in range(len(self.channels))]
        return torch.cat([features, *cells], dim=1).half()


def with_maps(net: nn.Module, width: int, name: str) -> WithMaps:
    """Return the backbone with the last maps of stride 16, one for each number of channels.

    Raises:
        BadInput: it has none, such as a vision transformer.
    """
    fitting = {
        found.channels: found for found in feature_maps(net) if found.stride == STRIDE
    }  # the last one of each number of channels
    if not fitting:
        heads = " and ".join(f"head={head}" for head in MAPS_HEADS)
        raise BadInput(
            f"{heads} need a feature map of {STRIDE} pixels a cell, which {name} does not have; "
            "choose another model=, such as efficientnet_lite0, or another head="
        )
    return WithMaps(net, width, list(fitting.values())[-LAYERS:])
