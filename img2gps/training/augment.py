"""Random changes to training photos, on whole batches of float pixels in [0, 255].

There is no horizontal flip, because a mirrored place is another place, and no change of hue,
which is slow and of no use here. Every draw comes from the given generator, so a resumed run sees
the same photos.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from img2gps.config.own import own_function
from img2gps.config.schema import AugmentationConfig, AugmentationName
from img2gps.core.errors import BadInput

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
GREY = 127.5
SIDE_STEP = 16  # px between the sizes of batches


def augment(images: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Return photos of the same shape (n, 3, h, w) and range [0, 255], each changed by itself."""
    for name in config.names:
        images = _change(images, name, config, generator)
    return images


def _change(
    images: Tensor, name: AugmentationName, config: AugmentationConfig, generator: Generator
) -> Tensor:
    match name:
        case AugmentationName.none:
            return images
        case AugmentationName.colour:
            return colour(images, config.strength, generator)
        case AugmentationName.crop:
            return crop(images, config.min_area, generator)
        case AugmentationName.erase:
            return erase(images, config.probability, config.max_area, generator)
        case AugmentationName.grayscale:
            return grayscale(images, config.probability, generator)
        case AugmentationName.blur:
            return blur(images, config.probability, generator)
        case AugmentationName.rotate:
            return rotate(images, config.degrees, generator)
        case AugmentationName.custom:
            return _own(images, config, generator)


def own_augmentation(config: AugmentationConfig) -> Callable[..., Any] | None:
    """Return the augmentation of the user's own, if the configuration has one.

    Raises:
        BadInput: it cannot be found, or cannot be called with photos and a generator.
    """
    if config.custom is None:
        return None
    return own_function("augmentation", config.custom, "images", "generator")


def _own(images: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    own = own_augmentation(config)
    changed = images if own is None else own(images, generator)
    if not isinstance(changed, Tensor) or changed.shape != images.shape:
        what = list(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise BadInput(
            f"augmentation._target_={(config.custom or {})['_target_']}: returns {what}; return "
            f"photos of the shape that it is given, {list(images.shape)}"
        )
    return changed


def _uniform(images: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    """Return one random number per photo, shape (n, 1, 1, 1)."""
    drawn = torch.rand(len(images), generator=generator) * (high - low) + low
    return drawn.view(-1, 1, 1, 1).to(images.device)


def _luma(images: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def colour(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Multiply brightness, contrast and saturation, each by up to 1 +- strength."""
    low, high = 1 - strength, 1 + strength
    images = (images * _uniform(images, low, high, generator)).clamp_(0, 255)
    mean = _luma(images).mean(dim=(2, 3), keepdim=True)
    images = mean.lerp(images, _uniform(images, low, high, generator)).clamp_(0, 255)
    return _luma(images).lerp(images, _uniform(images, low, high, generator)).clamp_(0, 255)


def crop(images: Tensor, min_area: float, generator: Generator) -> Tensor:
    """Cut out a part of at least min_area of each photo and scale it up again, bilinearly."""
    side = _uniform(images, min_area, 1.0, generator).sqrt().flatten()
    shift_x = _uniform(images, -1.0, 1.0, generator).flatten() * (1 - side)
    shift_y = _uniform(images, -1.0, 1.0, generator).flatten() * (1 - side)
    zero = torch.zeros_like(side)
    rows = [torch.stack([side, zero, shift_x], 1), torch.stack([zero, side, shift_y], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def erase(images: Tensor, probability: float, max_area: float, generator: Generator) -> Tensor:
    """Put a grey rectangle of up to max_area on a photo, with the given probability."""
    _, _, height, width = images.shape
    hit = _uniform(images, 0.0, 1.0, generator) < probability
    area = _uniform(images, 0.02, max(max_area, 0.02), generator)
    aspect = torch.exp(_uniform(images, -1.0, 1.0, generator))
    half_h = ((area * aspect).sqrt() / 2).clamp(max=0.5)
    half_w = ((area / aspect).sqrt() / 2).clamp(max=0.5)
    y = torch.linspace(0, 1, height, device=images.device).view(1, 1, -1, 1)
    x = torch.linspace(0, 1, width, device=images.device).view(1, 1, 1, -1)
    inside_y = (y - _uniform(images, 0.0, 1.0, generator)).abs() <= half_h
    inside_x = (x - _uniform(images, 0.0, 1.0, generator)).abs() <= half_w
    return torch.where(hit & inside_y & inside_x, GREY, images)


def resize(images: Tensor, least: int, generator: Generator) -> Tensor:
    """Scale a square batch to a random side, `SIDE_STEP` pixels apart, from `least` to its own."""
    side = images.shape[-1]
    steps = (side - least) // SIDE_STEP
    side -= SIDE_STEP * int(torch.randint(steps + 1, (), generator=generator))
    if side == images.shape[-1]:
        return images
    return functional.interpolate(
        images, (side, side), mode="bilinear", align_corners=False, antialias=True
    )


def grayscale(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Take the colour from a photo, with the given probability."""
    hit = _uniform(images, 0.0, 1.0, generator) < probability
    return torch.where(hit, _luma(images), images)


def blur(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Replace each pixel of some photos by the mean of 3 x 3, as a shaky hand does."""
    hit = _uniform(images, 0.0, 1.0, generator) < probability
    edges = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return torch.where(hit, functional.avg_pool2d(edges, 3, stride=1), images)


def rotate(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Turn each photo by up to so many degrees; its mirrored edges fill the corners."""
    angle = torch.deg2rad(_uniform(images, -degrees, degrees, generator).flatten())
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
