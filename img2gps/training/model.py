"""A backbone with the classifier replaced by two outputs: scaled latitude and longitude."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from img2gps.config.schema import Family, ModelConfig
from img2gps.core.errors import BadInput
from img2gps.training.weights import ResolvedWeights

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of [0, 1] RGB; torchvision's ImageNet recipe
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)  # EfficientNet-Lite was trained on [-1, 1]
STRIDE = 32  # of the last feature map, in all backbones built here


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
        self.backbone = backbone
        self.head = head
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return scaled positions, float32."""
        features = self.backbone(images)
        with torch.autocast(features.device.type, enabled=False):
            out: Tensor = self.head(features.float())
        return out

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


def build(config: ModelConfig, weights: ResolvedWeights) -> Regressor:
    """Return the model with its starting weights; torch's generator draws the head.

    Raises:
        BadInput: the name is unknown, an extra is missing, or the weights are of another model.
    """
    match config.family:
        case Family.resnet:
            made = _with_head(*_resnet(config.name), IMAGENET_MEAN, IMAGENET_STD)
        case Family.efficientnet_lite:
            made = _with_head(*_timm_backbone(f"tf_{config.name}"), HALF, HALF)
        case Family.timm:
            net, features = _timm_backbone(config.name)
            made = _with_head(net, features, net.default_cfg["mean"], net.default_cfg["std"])
        case Family.custom:
            made = _custom(config)
    if weights.path is not None:
        in_order = config.family is Family.efficientnet_lite and weights.resolved == "imagenet"
        _load(made.backbone, Path(weights.path), in_order=in_order)
    return made


def _with_head(
    net: nn.Module, features: int, mean: Sequence[float], std: Sequence[float]
) -> Regressor:
    return Regressor(net, nn.Linear(features, 2), tuple(mean), tuple(std))


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


def count_flops(model: nn.Module, image_size: int) -> float:
    """Return the operations of one photo's forward pass; a multiply-add counts as two."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    model.train(training)
    return float(counter.get_total_flops())


def _resnet(name: str) -> tuple[nn.Module, int]:
    import torchvision

    try:
        net = torchvision.models.get_model(name, weights=None)
        features = net.fc.in_features
    except (ValueError, AttributeError) as error:
        raise BadInput(f"model.name={name}: no ResNet of torchvision; try resnet18") from error
    net.fc = nn.Identity()
    return net, features


def _timm_backbone(name: str) -> tuple[Any, int]:
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise BadInput(f"model.name={name}: needs timm; pip install 'img2gps[timm]'") from error
    try:
        net = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise BadInput(f"model.name={name}: no model of timm; see timm.list_models()") from error
    # Some models have a layer behind the pooling, which then decides the width.
    return net, getattr(net, "head_hidden_size", None) or net.num_features


def _custom(config: ModelConfig) -> Regressor:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        net = instantiate(config.custom)
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise BadInput(
            f"model._target_: cannot be made ({reason}); check its name and arguments"
        ) from error
    return net if isinstance(net, Regressor) else Regressor(net, nn.Identity())


def _load(backbone: nn.Module, path: Path, *, in_order: bool) -> None:
    """Load a state dict without unpickling code, and leave out a classifier.

    `in_order` matches tensors by position, for files that name the same layers differently.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on such a file
        raise BadInput(
            f"weights={path}: not a plain state dict ({type(error).__name__}); save one with "
            "torch.save(model.state_dict(), PATH)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # a Lightning checkpoint, such as another run's last.ckpt
        state = {name.removeprefix("model.backbone."): value for name, value in state.items()}
    wanted = backbone.state_dict()
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"weights={path}: not a state dict of tensors; save one with torch.save")
    if in_order:
        state = dict(zip(wanted, state.values(), strict=False))
    missing = [name for name in wanted if name not in state]
    wrong = [n for n, v in wanted.items() if n in state and state[n].shape != v.shape]
    if missing or wrong:
        first = (missing or wrong)[0]
        raise BadInput(
            f"weights={path}: belongs to another architecture ({len(missing)} tensors missing, "
            f"{len(wrong)} of another shape, first: {first}); choose the model= it was made with"
        )
    backbone.load_state_dict({name: state[name] for name in wanted})
