"""Augmentations keep shape and range, depend on their generator alone, and never mirror."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from img2gps.config.schema import AugmentationConfig, AugmentationName
from img2gps.training.augment import augment, colour, crop, erase, grayscale

ALL = [
    AugmentationConfig(AugmentationName.none),
    AugmentationConfig(AugmentationName.colour, strength=0.4),
    AugmentationConfig(AugmentationName.crop, min_area=0.5),
    AugmentationConfig(AugmentationName.erase, probability=0.9, max_area=0.2),
    AugmentationConfig(AugmentationName.grayscale, probability=0.5),
]


def pictures(n: int = 8, side: int = 24) -> Tensor:
    return 255 * torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("config", ALL, ids=lambda c: str(c.name))
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_shape_and_range_stay(config: AugmentationConfig, seed: int) -> None:
    before = pictures()
    out = augment(before.clone(), config, seeded(seed))
    assert out.shape == before.shape
    assert float(out.min()) >= 0
    assert float(out.max()) <= 255


@pytest.mark.parametrize("config", ALL[1:], ids=lambda c: str(c.name))
def test_same_generator_same_pictures_other_generator_others(config: AugmentationConfig) -> None:
    first, again, other = (augment(pictures(), config, seeded(s)) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_colour_of_strength_zero_changes_nothing() -> None:
    assert torch.allclose(colour(pictures(), 0.0, seeded()), pictures(), atol=1e-3)


def test_crop_of_the_whole_area_changes_nothing() -> None:
    assert torch.allclose(crop(pictures(), 1.0, seeded()), pictures(), atol=1e-3)


def test_crop_never_mirrors() -> None:
    ramp = torch.arange(24.0).expand(8, 3, 24, 24)
    for seed in range(5):
        assert (crop(ramp.clone(), 0.3, seeded(seed)).diff(dim=3) >= -1e-4).all()


def test_erase_covers_about_the_area_asked_for() -> None:
    white = torch.full((400, 3, 32, 32), 255.0)
    covered = (erase(white, 1.0, 0.2, seeded()) != 255).float().mean(dim=(1, 2, 3))
    assert float(covered.max()) <= 0.23  # whole pixels
    assert 0.03 < float(covered.mean()) < 0.2  # centres near the border lose a part
    assert torch.equal(erase(white, 0.0, 0.2, seeded()), white)


def test_grayscale_has_three_equal_channels() -> None:
    out = grayscale(pictures(), 1.0, seeded())
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])
