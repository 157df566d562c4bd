"""LightningDataModule over a dataset cache.

The loaders hand out row numbers only. A batch is gathered from the uint8 cache, turned to float,
varied and normalised as whole tensors, after the rows have reached the device: no per-photo
Python, no worker processes, and on CUDA the whole cache may stay on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from img2gps.config.schema import AugmentationConfig, AugmentationName
from img2gps.core.geo import LabelScaler
from img2gps.training.augment import augment

Rows = NDArray[np.int64]
DEVICE_SHARE = 0.3  # of the free device memory that the cache may take


def derived_seed(*parts: int) -> int:
    """An independent 32-bit seed for each combination of parts, such as (seed, epoch)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class Batch(NamedTuple):
    """Photos on their way to the model."""

    images: Tensor  # (n, 3, h, w) float32, normalised, channels_last
    targets: Tensor  # (n, 2) float32, scaled latitude and longitude
    label: Tensor  # (n, 2) float64, degrees
    rows: Tensor  # (n,) int64, rows of the manifest


class EpochBatches(Sampler[list[int]]):
    """Batches of positions 0..n-1, shuffled by (seed, epoch) alone.

    An epoch's order depends on no generator's history, so a resumed run sees the same batches.
    Lightning calls `set_epoch`.
    """

    def __init__(self, n: int, batch_size: int, seed: int | None, *, drop_last: bool) -> None:
        self.n = n
        self.batch_size = batch_size
        self.seed = seed  # None: in order
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch (from 0)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.n)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        for i in range(len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size].tolist()


class RowDataset(Dataset[Tensor]):
    """A list of positions to the manifest's rows, as one tensor."""

    def __init__(self, rows: Rows) -> None:
        self.rows = torch.from_numpy(np.ascontiguousarray(rows))

    def __getitem__(self, positions: list[int]) -> Tensor:
        return self.rows[positions]


class PixelStore:
    """Gathers float pixels of rows: from the memory map, or from a copy on the device."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = np.asarray(pixels)  # still mapped, without memmap's own slower indexing
        self.resident: Tensor | None = None
        self._asked = False

    def move_to(self, device: torch.device) -> None:
        """Copy the cache to a CUDA device once, where it takes a small part of its memory."""
        if device.type != "cuda" or self._asked:
            return
        self._asked = True  # asking the device at each batch would make the CPU wait for it
        free, _ = torch.cuda.mem_get_info(device)
        if self.pixels.nbytes < DEVICE_SHARE * free:
            self.resident = torch.from_numpy(np.array(self.pixels)).to(device)

    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        """(n, 3, h, w) float32 in [0, 255], channels_last, on the device."""
        if self.resident is not None:
            picked = self.resident[rows.to(device)]
        else:
            picked = torch.from_numpy(self.pixels.take(rows.cpu().numpy(), axis=0))
            if device.type == "cuda":
                picked = picked.pin_memory().to(device, non_blocking=True)
        # NHWC storage seen as NCHW is what channels_last means: no copy is made here.
        return picked.permute(0, 3, 1, 2).to(torch.float32)


class PhotoData(pl.LightningDataModule):
    """Training and validation batches of one split.

    `val_dataloader` gives two loaders: the validation part and a fixed sample of the training
    part of the same size, on which the training error is measured in evaluation mode.
    """

    def __init__(
        self,
        *,
        pixels: NDArray[np.uint8],
        lat: NDArray[np.float64],
        lon: NDArray[np.float64],
        train: Rows,
        val: Rows,
        scaler: LabelScaler,
        batch_size: int,
        val_batch_size: int,
        drop_last: bool,
        seed: int,
        augmentation: AugmentationConfig,
        normalise: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.store = PixelStore(pixels)
        self.train, self.val = train, val
        # Rows are in order of content, which says nothing of the place: the first are a sample.
        self.train_sample = train[: len(val)]
        self.label = torch.from_numpy(np.stack([lat, lon], axis=-1).astype(np.float64))
        self.targets = torch.from_numpy(scaler.scale(lat, lon).astype(np.float32))
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.drop_last, self.seed = drop_last, seed
        self.augmentation = augmentation
        self.normalise = normalise

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Shuffled by (seed, epoch)."""
        return _loader(
            self.train,
            EpochBatches(len(self.train), self.batch_size, self.seed, drop_last=self.drop_last),
        )

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        """The validation part and the training sample, in order."""
        return [
            _loader(rows, EpochBatches(len(rows), self.val_batch_size, None, drop_last=False))
            for rows in (self.val, self.train_sample)
        ]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        """Rows stay where they are; `on_after_batch_transfer` takes the pictures across."""
        self.store.move_to(device)
        return batch

    def on_after_batch_transfer(self, rows: Tensor, _: int) -> Batch:
        """Rows to a whole batch on the device."""
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        images = self.store.gather(rows, device)
        if (
            self.augmentation.name is not AugmentationName.none
            and trainer is not None
            and trainer.training
        ):
            batch = trainer.fit_loop.total_batch_idx + 1  # also where several make one step
            draws = torch.Generator().manual_seed(derived_seed(self.seed, batch))
            images = augment(images, self.augmentation, draws)
        return Batch(
            self.normalise(images),
            self.targets[rows].to(device, non_blocking=True),
            self.label[rows],
            rows,
        )


def _loader(rows: Rows, batches: EpochBatches) -> DataLoader[Tensor]:
    # batch_size=None hands each list of positions to the dataset whole.
    return DataLoader(RowDataset(rows), sampler=batches, batch_size=None)
