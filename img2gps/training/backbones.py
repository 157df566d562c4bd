"""Backbones: networks without their classifier, and the weights that they start from."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from img2gps.config.schema import Family, ModelConfig
from img2gps.core.errors import BadInput
from img2gps.training.maps import with_maps
from img2gps.training.views import average_views
from img2gps.training.weights import ResolvedWeights

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of [0, 1] RGB; torchvision's ImageNet recipe
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)  # EfficientNet-Lite was trained on [-1, 1]


@dataclass(frozen=True)
class Backbone:
    """A network that maps photos (n, 3, h, w) to features (n, width).

    Attributes:
        width: number of features of the whole photo.
        mean: of the pixels in [0, 1] that it was trained on, as `std`.
        channels: of the feature maps whose cells follow the features, if asked for.
    """

    net: nn.Module
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: tuple[int, ...] = ()


def build_backbone(
    config: ModelConfig, weights: ResolvedWeights, *, maps: bool = False
) -> Backbone:
    """Return the backbone of a family of `torchvision` or `timm` with its starting weights.

    With `maps` it also puts out its finer feature maps.

    Raises:
        BadInput: the name is unknown, an extra is missing, or the weights are of another model.
    """
    match config.family:
        case Family.efficientnet_lite:
            made = Backbone(*_timm(f"tf_{config.name}"), HALF, HALF)
        case Family.timm:
            net, width = _timm(config.name)
            mean, std = net.default_cfg["mean"], net.default_cfg["std"]
            made = Backbone(net, width, tuple(mean), tuple(std))
        case Family.mobilenet:
            made = Backbone(*_mobilenet(config.name), IMAGENET_MEAN, IMAGENET_STD)
        case _:
            made = Backbone(*_resnet(config.name), IMAGENET_MEAN, IMAGENET_STD)
    if weights.path is not None:
        renamed = config.family in (Family.efficientnet_lite, Family.mobilenet)
        in_order = renamed and weights.resolved == "imagenet"
        load_weights(made.net, Path(weights.path), in_order=in_order)
    if maps:
        net = with_maps(made.net, made.width, config.name)
        made = replace(made, net=net, channels=net.channels)
    average_views(made.net, config.test_views, made.width if maps else None)
    return made


def shared_backbone(
    config: ModelConfig, weights: ResolvedWeights, *, maps: bool = False
) -> Backbone:
    """Return a pretrained backbone that stays as it is, so that all runs of a process share it.

    No draw of it is seen in torch's generator, whether it is built or found.
    """
    with torch.random.fork_rng(devices=[]):
        return _shared(config.name, config.family, weights, maps, config.test_views)


@lru_cache(maxsize=4)
def _shared(
    name: str, family: Family, weights: ResolvedWeights, maps: bool, test_views: int
) -> Backbone:
    config = ModelConfig(name, family, test_views=test_views)
    return build_backbone(config, weights, maps=maps)


def _resnet(name: str) -> tuple[nn.Module, int]:
    import torchvision

    try:
        net = torchvision.models.get_model(name, weights=None)
        features = net.fc.in_features
    except (ValueError, AttributeError) as error:
        raise BadInput(f"model.name={name}: no ResNet of torchvision; try resnet18") from error
    net.fc = nn.Identity()
    return net, features


def _mobilenet(name: str) -> tuple[nn.Module, int]:
    import torchvision

    net = torchvision.models.get_model(name, weights=None)
    net.classifier = nn.Identity()
    return net, net.last_channel


def _timm(name: str) -> tuple[Any, int]:
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


def load_weights(backbone: nn.Module, path: Path, *, in_order: bool) -> None:
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
