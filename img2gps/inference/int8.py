"""Weights in eight bits: a quarter of the size, for models that travel.

Each filter has a scale of its own. Weights are brought back to float32 when they are read, so the
answers cost as much as before and move only by the rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SMALLEST = 1024  # numbers; below it there is nothing to gain
_ROUNDED, _SCALE = ":int8", ":scale"
_STEPS = 127


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with large ones rounded to int8, and their scales beside them."""
    packed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.dtype is not torch.float32 or value.dim() < 2 or value.numel() < SMALLEST:
            packed[name] = value
            continue
        flat = value.flatten(1)
        scale = flat.abs().amax(dim=1).clamp(min=1e-12) / _STEPS
        rounded = (flat / scale[:, None]).round().to(torch.int8)
        packed[name + _ROUNDED] = rounded.view(value.shape)
        packed[name + _SCALE] = scale
    return packed


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 tensors; those that were never packed stay as they are.

    Raises:
        KeyError, RuntimeError: a scale is missing or belongs to another tensor.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(_ROUNDED):
            bare = name.removesuffix(_ROUNDED)
            scale = tensors[bare + _SCALE].view(-1, *[1] * (value.dim() - 1))
            found[bare] = value.float() * scale
        elif not name.endswith(_SCALE):
            found[name] = value
    return found
