"""Batch normalisation over a batch that several processes share.

Whatever module asks for it: torch's layers, timm's, or a user's own. torch's SyncBatchNorm would
have to replace each layer, and does not compute on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SharedBatchNorm(TorchFunctionMode):
    """Lets the training-mode batch normalisation inside use the statistics of all processes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replace `functional.batch_norm` where it trains."""
        named = kwargs or {}
        if func is functional.batch_norm:
            return _batch_norm(*args, **named)
        return func(*args, **named)


def _batch_norm(
    inputs: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what `functional.batch_norm` does, with the mean and variance over all processes."""
    if not training:
        return functional.batch_norm(
            inputs, running_mean, running_var, weight, bias, False, momentum, eps
        )
    mean, variance, count = _statistics(inputs.detach())
    if running_mean is not None and running_var is not None:
        unbiased = variance * (count / (count - 1).clamp_min(1))
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    scale = torch.ones_like(mean) if weight is None else weight
    shift = torch.zeros_like(mean) if bias is None else bias
    out: Tensor = _Normalise.apply(inputs, scale, shift, mean, variance, count, eps)
    return out


def _statistics(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of each channel over all processes, and how many values that is."""
    dims = _all_but_channels(inputs)
    variance, mean = torch.var_mean(_wide(inputs), dim=dims, correction=0)
    count = inputs.numel() // inputs.shape[1]
    own = torch.cat([mean, variance, mean.new_tensor([count])])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    stacked = torch.stack(parts)
    means, variances = stacked[:, : len(mean)], stacked[:, len(mean) : -1]
    counts = stacked[:, -1:]
    total = counts.sum()
    overall = (means * counts).sum(dim=0) / total
    spread = ((variances + (means - overall).square()) * counts).sum(dim=0) / total
    return overall, spread, total


class _Normalise(torch.autograd.Function):
    """Normalises by given statistics, and lets the gradient pass through them."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        scale: Tensor,
        shift: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(inputs, scale, mean, (variance + eps).rsqrt(), count)
        return functional.batch_norm(inputs, mean, variance, scale, shift, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, scale, mean, inverse, count = ctx.saved_tensors
        shape, dims = [1, -1, *[1] * (inputs.dim() - 2)], _all_but_channels(inputs)
        centred, wide = _wide(inputs) - mean.view(shape), _wide(grad)
        for_shift = wide.sum(dim=dims)
        for_scale = (wide * centred).sum(dim=dims) * inverse
        overall = torch.stack([for_shift, for_scale])
        dist.all_reduce(overall)
        shift_share, scale_share = overall / count
        through = shift_share.view(shape) + centred * (scale_share * inverse).view(shape)
        back = (wide - through) * (scale * inverse).view(shape)
        return back.to(grad.dtype), for_scale, for_shift, None, None, None, None


def _wide(tensor: Tensor) -> Tensor:
    """Return it in float32, or as it is if it is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _all_but_channels(inputs: Tensor) -> list[int]:
    return [dim for dim in range(inputs.dim()) if dim != 1]
