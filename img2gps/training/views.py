"""Test-time views: several parts of a photo, over which its features are averaged.

A part shows the same place as the whole photo, so the mean says less about the picture's frame.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SHARE = 0.8  # of the photo's sides, in each part
# The middle and the corners; as shares of the room beside a part, from the top and from the left.
PARTS = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))


def average_views(net: nn.Module, count: int, width: int | None = None) -> None:
    """Let a backbone put out the mean features of `count` views while it is not in training mode.

    Args:
        net: the backbone.
        count: 1 changes nothing.
        width: features of the whole photo. What follows them in a row, the cells of feature maps,
            stays that of the first view.
    """
    if count == 1:
        return

    def divide(module: nn.Module, inputs: Any) -> Any:
        return None if module.training else (views(inputs[0], count),)

    def join(module: nn.Module, _: Any, output: Tensor) -> Tensor | None:
        return None if module.training else _mean(output, count, width)

    net.register_forward_pre_hook(divide)
    net.register_forward_hook(join)


def views(images: Tensor, count: int) -> Tensor:
    """Return the photos (n, c, h, w) and then their parts, (count n, c, h, w)."""
    height, width = images.shape[2:]
    rows, columns = round(SHARE * height), round(SHARE * width)
    found = [images]
    for down, right in PARTS[: count - 1]:
        top, left = round(down * (height - rows)), round(right * (width - columns))
        part = images[:, :, top : top + rows, left : left + columns]
        found.append(
            functional.interpolate(part, (height, width), mode="bilinear", align_corners=False)
        )
    return torch.cat(found)


def _mean(output: Tensor, count: int, width: int | None) -> Tensor:
    each = output.reshape(count, -1, *output.shape[1:])
    mean = each[..., :width].float().mean(dim=0).to(output.dtype)
    return mean if width is None else torch.cat([mean, each[0, :, width:]], dim=1)
