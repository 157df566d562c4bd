"""Training with weights, gradients and the optimiser's state divided over a run's processes.

Each holds its part of every tensor, and the whole of a block only while it computes with it.
Lightning's own strategies for that take GPUs alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from img2gps.core.errors import BadInput
from img2gps.training.average import WeightAverage
from img2gps.training.module import GeoRegression
from img2gps.training.team import TeamStrategy

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

LARGEST_BLOCK = 1 / 8  # of the parameters, where a block consists of smaller ones


class _Step(nn.Module):
    """Computes one step: entering it gathers the weights outside all blocks, such as the head."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, step: Callable[[], Any]) -> Any:
        return step()


class ShardedStrategy(TeamStrategy):
    """Training by processes that each hold a part of the weights and of what belongs to them.

    Checkpoints are whole, and the same as without it. After the training the module has plain
    weights again; `loop.fit` fills them in.
    """

    def __init__(self) -> None:
        super().__init__(find_unused_parameters=False)
        self._step: _Step | None = None
        self._plain: nn.Module | None = None

    def configure_ddp(self) -> None:
        """Divide the module, and the average of its weights, instead of copying gradients."""
        from torch.distributed.device_mesh import init_device_mesh

        module = self.lightning_module
        assert isinstance(module, GeoRegression)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        self._plain = _without_values(module.model)
        self._step = shard(module, mesh)
        for callback in module.trainer.callbacks:  # type: ignore[attr-defined]  # Lightning's
            if isinstance(callback, WeightAverage):
                shard(callback.averaged, mesh)

    def setup_optimizers(self, trainer: pl.Trainer) -> None:
        """Let the optimisers compute with divided weights."""
        super().setup_optimizers(trainer)
        self._set_fused()

    def _set_fused(self) -> None:
        for optimizer in self.optimizers:
            if isinstance(optimizer, torch.optim.SGD):  # of which torch divides no fused step
                for group in optimizer.param_groups:
                    group["fused"] = False

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the state as runs on whole weights have it: all their steps are fused."""
        state = super().optimizer_state(optimizer)
        groups = [{**group, "fused": True} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the loss of a batch."""
        return self._within(super().training_step, *args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Validate on a batch."""
        return self._within(super().validation_step, *args, **kwargs)

    def _within(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Bound to the step, so that nothing moves the batch to another device.
        whole = partial(step, *args, **kwargs)
        return whole() if self._step is None else self._step(whole)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None
    ) -> None:
        """Gather all tensors in the first process, which writes the file."""
        keep = self.is_global_zero
        whole = tree_map(partial(_gathered, keep=keep), checkpoint)
        super().save_checkpoint(whole, filepath, storage_options)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of the state of a whole checkpoint."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state = {
                index: {name: _part(value, parameters[index]) for name, value in values.items()}
                for index, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})
        self._set_fused()

    def teardown(self) -> None:
        """Give the module plain weights, all zero, because the other processes may be gone."""
        module = self.lightning_module
        if self._plain is not None and isinstance(module, GeoRegression):
            vars(module.model).update(vars(_zeroed(self._plain)))
            self._plain = self._step = None
            self.optimizers = []
        super().teardown()


def check_shardable(model: nn.Module) -> None:
    """Refuse what cannot be divided.

    Raises:
        BadInput: torch is too old, or a parameter is a single number without a dimension.
    """
    if not _is_supported():
        raise BadInput(
            f"trainer.strategy=fsdp: torch {torch.__version__} is too old for it; give "
            "trainer=ddp, or install a newer one"
        )
    for name, parameter in model.named_parameters():
        if parameter.ndim == 0:
            raise BadInput(
                f"trainer.strategy=fsdp: the model's {name} is a single number, which cannot be "
                "divided; give trainer=ddp"
            )


def _is_supported() -> bool:
    try:
        from torch.distributed.fsdp import FSDPModule
    except ImportError:
        return False
    return hasattr(FSDPModule, "set_force_sum_reduction_for_comms")


def shard(module: nn.Module, mesh: DeviceMesh) -> _Step:
    """Divide a module's parameters over the processes of the mesh, block by block."""
    from torch.distributed.fsdp import FSDPModule, fully_shard

    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # not channels_last, which FSDP refuses
        dist.broadcast(parameter.data, 0)
    step = _Step(module)
    divide = partial(fully_shard, mesh=mesh, reshard_after_forward=True)
    for block in (*blocks(module), step):
        divide(block)
    for divided in step.modules():
        if isinstance(divided, FSDPModule):
            # Some versions of gloo sum where they are asked for the mean: pytorch/pytorch#162338.
            divided.set_force_sum_reduction_for_comms(True)
    return step


def blocks(module: nn.Module) -> list[nn.Module]:
    """Return the blocks that a network repeats: those that are divided and gathered one by one.

    A block of more than an eighth of the parameters is left to the smaller ones that it has.
    """
    return list(_blocks(module, LARGEST_BLOCK * _size(module)))


def _blocks(module: nn.Module, limit: float) -> Iterator[nn.Module]:
    rows = nn.Sequential | nn.ModuleList
    for child in module.children():
        inner = list(_blocks(child, limit))
        is_block = isinstance(module, rows) and not isinstance(child, rows)
        if is_block and next(child.children(), None) and (not inner or 0 < _size(child) <= limit):
            yield child
        else:
            yield from inner


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _without_values(model: nn.Module) -> nn.Module:
    """Return a copy whose parameters take no memory, and that shares the buffers."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    return copy.deepcopy(model, memo)


def _zeroed(model: nn.Module) -> nn.Module:
    """Give the parameters memory again."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            zeros = torch.zeros_like(parameter, device="cpu")
            module.register_parameter(name, nn.Parameter(zeros, parameter.requires_grad))
    return model


def _gathered(value: Any, *, keep: bool) -> Any:
    """Return a whole tensor on the CPU for a divided one; nothing where it is not kept."""
    from torch.distributed.tensor import DTensor

    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor().detach()  # a collective: every process takes part
    if not keep:
        return None
    # The layout of other checkpoints: optimisers take it for that of the weights.
    layout = torch.channels_last if whole.ndim == 4 else torch.contiguous_format
    return torch.empty_like(whole, device="cpu", memory_format=layout).copy_(whole)


def _part(value: Any, parameter: Tensor) -> Any:
    """Return this process's part of what an optimiser keeps of a parameter."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value  # such as the number of steps
    assert isinstance(parameter, DTensor)
    whole = value.to(parameter.device).contiguous()
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements)
