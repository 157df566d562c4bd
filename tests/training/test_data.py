"""Batches: every photo once an epoch, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from img2gps.core.geo import LabelScaler
from img2gps.training.data import Batch, EpochBatches, PhotoData
from tests.helpers.tiny import tiny_config

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
LAT, LON = 39.95 + RNG.random(20) / 1000, -75.19 + RNG.random(20) / 1000


def photo_data(*overrides: str) -> PhotoData:
    dataset = SimpleNamespace(pixels=lambda: PIXELS, lat_lon=lambda: (LAT, LON))
    split = SimpleNamespace(train=np.arange(0, 13), val=np.arange(13, 20))
    return PhotoData(
        dataset,  # type: ignore[arg-type]  # stands for a Dataset
        split,  # type: ignore[arg-type]  # stands for a Split
        LabelScaler.fit(LAT[:13], LON[:13]),
        tiny_config("batch_size=4", "val_batch_size=5", *overrides),
        lambda images: (images - 127.5) / 127.5,
    )


def batches(data: PhotoData, loader: object) -> list[Batch]:
    assert hasattr(loader, "__iter__")
    return [data.on_after_batch_transfer(rows, 0) for rows in loader]


@given(
    n=st.integers(1, 50),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 100),
)
def test_an_epoch_is_a_permutation(n: int, batch_size: int, seed: int, epoch: int) -> None:
    sampler = EpochBatches(n, batch_size, seed, drop_last=False)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert sorted(i for batch in drawn for i in batch) == list(range(n))
    assert len(drawn) == len(sampler)
    assert all(len(batch) == batch_size for batch in drawn[:-1])


def test_drop_last_drops_the_one_photo_batch_of_the_study() -> None:
    sizes = [len(b) for b in EpochBatches(681, 8, 0, drop_last=False)]
    assert sizes == [8] * 85 + [1]
    assert len(EpochBatches(681, 8, 0, drop_last=True)) == 85


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = EpochBatches(30, 7, seed, drop_last=False)
        list(sampler)  # an earlier pass changes nothing
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def first_epoch(*overrides: str) -> tuple[list[list[int]], Tensor]:
    """Rows of every training batch, and the first batch as training would see it."""
    data = photo_data(*overrides)
    rows = list(data.train_dataloader())
    fit = SimpleNamespace(total_batch_idx=0)
    device = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(training=True, fit_loop=fit, strategy=device)  # type: ignore[assignment]  # stands for a Trainer
    return [batch.tolist() for batch in rows], data.on_after_batch_transfer(rows[0], 0).inputs


def test_order_and_changes_to_photos_follow_the_seed_unless_they_have_their_own() -> None:
    crop = "augmentation=crop"
    rows, inputs = first_epoch(crop, "seed=3")
    same = first_epoch(crop, "seed=3", "order_seed=3", "augmentation_seed=3")
    assert same[0] == rows
    assert torch.equal(same[1], inputs)
    other_weights = first_epoch(crop, "seed=8", "order_seed=3", "augmentation_seed=3")
    assert other_weights[0] == rows
    assert torch.equal(other_weights[1], inputs)
    assert first_epoch(crop, "seed=3", "order_seed=8")[0] == first_epoch(crop, "seed=8")[0] != rows
    recropped = first_epoch(crop, "seed=3", "augmentation_seed=8")
    assert recropped[0] == rows
    assert not torch.equal(recropped[1], inputs)


def test_batch_holds_the_photos_of_its_rows() -> None:
    data = photo_data()
    for batch in batches(data, data.train_dataloader()):
        rows = batch.rows.numpy()
        expected = (PIXELS[rows].astype(np.float32) - 127.5) / 127.5
        assert np.allclose(batch.inputs.permute(0, 2, 3, 1).numpy(), expected)
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert np.array_equal(batch.label.numpy(), np.stack([LAT[rows], LON[rows]], 1))
        assert batch.targets.dtype == torch.float32


def test_targets_are_scaled_by_the_training_part_only() -> None:
    data = photo_data()
    targets: Tensor = data.targets[:13].double()
    assert targets.mean(0).abs().max() < 1e-6
    assert targets.std(0, correction=0).tolist() == pytest.approx([1, 1], abs=1e-6)
    by_hand = (LAT[15] - LAT[:13].mean()) / LAT[:13].std()
    assert data.targets[15, 0].item() == pytest.approx(by_hand, rel=1e-5)


def test_validation_covers_its_part_and_a_training_sample_of_the_same_size() -> None:
    data = photo_data()
    val, sample = (
        torch.cat([b.rows for b in batches(data, loader)]) for loader in data.val_dataloader()
    )
    assert val.tolist() == list(range(13, 20))
    assert len(sample) == 7
    assert set(sample.tolist()) <= set(range(13))
