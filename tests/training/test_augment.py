"""Augmentations keep shape and range, depend on their generator alone, and never mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import rotate as scipy_rotate
from scipy.ndimage import uniform_filter
from torch import Tensor

from img2gps.config.schema import AugmentationConfig, AugmentationName
from img2gps.training import augment as module
from img2gps.training.augment import augment, blur, colour, crop, erase, grayscale, resize, rotate

ALL = [
    AugmentationConfig(AugmentationName.none),
    AugmentationConfig(AugmentationName.colour, strength=0.4),
    AugmentationConfig(AugmentationName.crop, min_area=0.5),
    AugmentationConfig(AugmentationName.erase, probability=0.9, max_area=0.2),
    AugmentationConfig(AugmentationName.grayscale, probability=0.5),
    AugmentationConfig(AugmentationName.blur, probability=0.5),
    AugmentationConfig(AugmentationName.rotate, degrees=30.0),
    AugmentationConfig(
        AugmentationName.crop, strength=0.4, min_area=0.5, chain={"crop": True, "colour": True}
    ),
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


def test_blur_is_scipys_mean_of_nine_pixels() -> None:
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)) * 255
    found = blur(images, 1.0, torch.Generator().manual_seed(1))
    expected = uniform_filter(images.numpy(), size=(1, 1, 3, 3), mode="nearest")
    assert found.numpy() == pytest.approx(expected, abs=1e-3)
    assert torch.equal(blur(images, 0.0, torch.Generator().manual_seed(1)), images)


def test_rotation_is_scipys_about_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 33), indexing="ij")
    images = (100 + 50 * x - 30 * y + 20 * x * y).expand(1, 3, 33, 33)
    monkeypatch.setattr(module, "_uniform", lambda *_: torch.full((1, 1, 1, 1), 20.0))
    found = rotate(images, 30.0, torch.Generator())[0, 0].numpy()
    expected = scipy_rotate(images[0, 0].numpy(), 20.0, reshape=False, order=1, mode="mirror")
    middle = slice(8, 25)  # away from the corners
    assert found[middle, middle] == pytest.approx(expected[middle, middle], abs=0.2)


def test_batches_take_every_size_between_the_least_and_their_own() -> None:
    sides = {resize(pictures(side=64), 32, seeded(seed)).shape[-1] for seed in range(40)}
    assert sides == {32, 48, 64}


def test_a_smaller_batch_shows_the_whole_photo() -> None:
    ramp = torch.linspace(0, 255, 64).expand(2, 3, 64, 64).contiguous()
    small = next(
        found for seed in range(40) if (found := resize(ramp, 32, seeded(seed))).shape[-1] == 32
    )
    assert small[0, 0, 0].numpy() == pytest.approx(
        np.interp((np.arange(32) + 0.5) / 32, (np.arange(64) + 0.5) / 64, np.linspace(0, 255, 64)),
        abs=2.5,
    )
