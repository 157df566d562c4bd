"""A backbone with the classifier replaced by two outputs: scaled latitude and longitude."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from img2gps.config.own import make_own
from img2gps.config.schema import Family, ModelConfig, TrainedPart
from img2gps.core.errors import BadInput
from img2gps.training.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    build_backbone,
    load_weights,
    shared_backbone,
)
from img2gps.training.heads.trained import linear
from img2gps.training.heads.training import training_loss
from img2gps.training.losses import Loss
from img2gps.training.stages import before_last_stride
from img2gps.training.views import average_views
from img2gps.training.weights import ResolvedWeights

# Of backbones that runs share: operations and features of one photo, by image size.
_KNOWN_FLOPS: WeakKeyDictionary[nn.Module, dict[int, tuple[float, Tensor]]] = WeakKeyDictionary()
STRIDE = 32  # of the last feature map, in all backbones built here


def study_head(backbone: Backbone) -> nn.Module:
    """Return the head of the study: one linear layer."""
    return linear(backbone.width)


class Regressor(nn.Module):
    """Maps photos (n, 3, h, w) to scaled positions (n, 2).

    The backbone may run in bf16. The head always uses float32, because eight bits of mantissa would
    round positions to half a metre. The arguments `mean` and `std` are those of pixels in
    [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.backbone_is_known = False  # a checkpoint then leaves it out
        self._frozen: tuple[nn.Module, ...] = ()
        self.backbone = backbone
        self.head = head
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return scaled positions, float32."""
        return self.answer(self.backbone(images))

    def answer(self, features: Tensor) -> Tensor:
        """Return the scaled positions (n, 2), float32, of what the backbone has put out."""
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.head(features.float())
        return out

    def head_loss(self, features: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """Return the loss of the heads that are trained: their own, or the run's."""
        with torch.autocast(features.device.type, enabled=False):
            return training_loss(self.head, features.float(), targets, loss)

    def use_channels_last(self) -> None:
        """Take the memory layout in which training is fastest, unless the backbone is shared.

        Frozen features are computed in the layout that it was loaded in.
        """
        if not self.backbone_is_known:
            self.to(memory_format=torch.channels_last)

    def freeze(self, modules: Sequence[nn.Module]) -> None:
        """Train these modules no longer and keep them in evaluation mode."""
        self._frozen = tuple(modules)
        for module in modules:
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is trained; the rest stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn pixels in [0, 255], float32 (n, 3, h, w), into the backbone's input, in place."""
        mean, std, flat = self.mean, self.std, pixels
        if pixels.is_contiguous(memory_format=torch.channels_last):
            # Whole rows at once. Broadcasting over the channels, which are innermost, would run
            # in loops of three numbers and take five times as long.
            width = pixels.shape[-1]
            mean, std = mean.flatten().repeat(width), std.flatten().repeat(width)
            flat = pixels.permute(0, 2, 3, 1).flatten(2)
        flat.sub_(mean).div_(std)
        return pixels


def build(
    config: ModelConfig,
    weights: ResolvedWeights,
    make_head: Callable[[Backbone], nn.Module] = study_head,
    *,
    maps: bool = False,
) -> Regressor:
    """Return the model with its starting weights; torch's generator draws the head.

    Args:
        config: the backbone, and how much of it is trained.
        weights: what the backbone starts from.
        make_head: returns the head for what the backbone puts out.
        maps: whether the backbone puts out its finer feature maps as well.

    Raises:
        BadInput: the name is unknown, an extra is missing, or the weights are of another model.
    """
    if config.family is Family.custom:
        made = _custom(config)
        average_views(made.backbone, config.test_views)
        if weights.path is not None:
            load_weights(made.backbone, Path(weights.path), in_order=False)
    else:
        frozen = config.train is TrainedPart.head and weights.pretrained
        make = shared_backbone if frozen else build_backbone
        backbone = make(config, weights, maps=maps)
        head = make_head(backbone)
        made = Regressor(backbone.net, head, backbone.mean, backbone.std)
    match config.train:
        case TrainedPart.head:
            made.freeze([made.backbone])
            made.backbone_is_known = weights.pretrained
        case TrainedPart.last_blocks:
            made.freeze(before_last_stride(made.backbone))
        case TrainedPart.all:
            pass
    return made


def smallest_feature_map(config: ModelConfig, image_size: int) -> int:
    """Return the side of the last feature map; 2 (safe) for a model of the user's own."""
    return 2 if config.family is Family.custom else math.ceil(image_size / STRIDE)


def check_image_size(config: ModelConfig, image_size: int) -> None:
    """Refuse a size that the model, such as a vision transformer, cannot take.

    Raises:
        BadInput: the model takes another size, which the message names.
    """
    if config.family is not Family.timm or importlib.util.find_spec("timm") is None:
        return  # convolutions take any size; `build` tells of a missing timm
    known = importlib.import_module("timm").get_pretrained_cfg(config.name)
    if known is not None and known.fixed_input_size and known.input_size[-1] != image_size:
        wanted = known.input_size[-1]
        raise BadInput(
            f"image_size={image_size}: {config.name} takes pictures of {wanted} pixels only; give "
            f"image_size={wanted}"
        )


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_flops(model: Regressor, image_size: int) -> float:
    """Return the operations of one photo's forward pass; a multiply-add counts as two."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    if not model.backbone_is_known:
        return _flops_of(model, image)[0]
    known = _KNOWN_FLOPS.setdefault(model.backbone, {})
    if image_size not in known:  # all runs of a process share the backbone
        known[image_size] = _flops_of(model.backbone, image)
    flops, features = known[image_size]
    return flops + _flops_of(model.head, features.float())[0]


def _flops_of(model: nn.Module, inputs: Tensor) -> tuple[float, Tensor]:
    """Return the operations of a forward pass, and what it puts out."""
    from torch.utils.flop_counter import FlopCounterMode

    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = model(inputs)
    model.train(training)
    return float(counter.get_total_flops()), out


def _custom(config: ModelConfig) -> Regressor:
    net = make_own("model", config.custom or {})
    return net if isinstance(net, Regressor) else Regressor(net, nn.Identity())
