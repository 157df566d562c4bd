"""The LightningDataModule: batches of photos out of a data set's cache.

The loaders hand out row numbers only. Once they have reached the device, the batch is gathered
from the uint8 cache, turned to float, augmented and normalised as a whole: no Python per photo, no
worker processes, and on CUDA the whole cache may stay on the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from img2gps.config.schema import AugmentationName, Config
from img2gps.core.geo import LabelScaler
from img2gps.training.augment import augment, resize
from img2gps.training.losses import label_weights
from img2gps.training.team import WHOLE, Share, Team

if TYPE_CHECKING:
    from img2gps.photos.dataset import Dataset
    from img2gps.photos.split import Split

log = logging.getLogger(__name__)

Rows = NDArray[np.int64]
SAMPLE = 60  # training photos whose error is measured where no photo validates
DEVICE_SHARE = 0.3  # largest share of the free device memory that the cache may take


def derived_seed(*parts: int) -> int:
    """Return an independent 32-bit seed for each combination, such as (seed, epoch)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class Batch(NamedTuple):
    """A batch of photos, ready for the model."""

    inputs: Tensor  # (n, 3, h, w) float32, normalised, channels_last
    targets: Tensor  # (n, 2) float32, scaled latitude and longitude
    label: Tensor  # (n, 2) float64, degrees
    rows: Tensor  # (n,) int64, rows of the manifest
    weight: Tensor | None = None  # (n,) float32, of each photo in the loss
    share: Share = WHOLE  # of the batch, which other processes may have parts of


class EpochBatches(Sampler[list[int]]):
    """Batches of positions 0..n-1, shuffled by (seed, epoch) alone.

    The order of an epoch does not depend on the epochs before it, so a resumed run sees the same
    batches. Lightning calls `set_epoch`. The first epoch lacks the `skipped` batches.
    """

    def __init__(
        self, n: int, batch_size: int, seed: int | None, *, drop_last: bool, skipped: int = 0
    ) -> None:
        self.n = n
        self.batch_size = batch_size
        self.seed = seed  # None: in order
        self.drop_last = drop_last
        self.skipped = skipped
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.n)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        first, self.skipped = self.skipped, 0
        for i in range(first, len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size].tolist()


class RowDataset(TorchDataset[Tensor]):
    """Returns the manifest rows of a list of positions, as one tensor."""

    def __init__(self, rows: Rows) -> None:
        self.rows = torch.from_numpy(np.ascontiguousarray(rows))

    def __getitem__(self, positions: list[int]) -> Tensor:
        return self.rows[positions]


class PixelStore:
    """Gathers the pixels of rows from the memory map, or from a copy on the device."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = np.asarray(pixels)  # still mapped, without the slower indexing of np.memmap
        self.resident: Tensor | None = None
        self._asked = False

    def move_to(self, device: torch.device) -> None:
        """Copy the cache to a CUDA device once, if it takes a small part of the free memory."""
        if device.type != "cuda" or self._asked:
            return
        self._asked = True  # once, because asking the device makes the CPU wait for it
        free, _ = torch.cuda.mem_get_info(device)
        if self.pixels.nbytes < DEVICE_SHARE * free:
            self.resident = torch.from_numpy(np.array(self.pixels)).to(device)

    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        """Return pixels (n, 3, h, w) on the device: float32 in [0, 255], channels_last."""
        if self.resident is not None:
            picked = self.resident[rows.to(device)]
        else:
            picked = torch.from_numpy(self.pixels.take(rows.cpu().numpy(), axis=0))
            if device.type == "cuda":
                picked = picked.pin_memory().to(device, non_blocking=True)
        # channels_last is NHWC storage seen as NCHW, so this makes no copy.
        return picked.permute(0, 3, 1, 2).to(torch.float32)


class PhotoData(pl.LightningDataModule):
    """Training and validation batches of one split.

    `val_dataloader` returns loaders of the validation part, of a fixed sample of the training part
    of the same size, on which the training error is measured in evaluation mode, and of the
    `inner` photos, if there are any.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        scaler: LabelScaler,
        config: Config,
        normalise: Callable[[Tensor], Tensor],
        inner: Rows | None = None,
    ) -> None:
        super().__init__()
        self.team = Team()
        lat, lon = dataset.lat_lon()
        self.store = PixelStore(dataset.pixels())
        self.train, self.val, self.inner = split.train, split.val, inner
        # Rows are ordered by content, which says nothing of the place, so the first are a sample.
        self.train_sample = self.train[: len(self.val) or SAMPLE]
        self.label = torch.from_numpy(np.stack([lat, lon], axis=-1))
        self.targets = torch.from_numpy(scaler.scale(lat, lon).astype(np.float32))
        self.weight = None
        if config.data.weight_by_error:
            errors_m = dataset.manifest["gps_error_m"].to_numpy(np.float64)
            self.weight = label_weights(errors_m, self.train)
        self.config = config
        self.normalise = normalise
        self.skipped_batches = 0  # of the epoch in which training goes on
        _warn_of_single_photo(len(self.train), config)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Return the training batches, shuffled by (seed, epoch)."""
        batch_size, drop_last = self.config.batch_size, self.config.drop_last
        rows = self.train
        if self.config.is_solved:  # nothing is learned from batches: one shows the training error
            rows, batch_size, drop_last = self.train_sample, len(self.train_sample), False
        batches = EpochBatches(
            len(rows),
            batch_size,
            self.config.seed_of_order,
            drop_last=drop_last,
            skipped=self.skipped_batches,
        )
        return _loader(rows, batches)

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        """Return the batches, in order, of each part whose errors are measured."""
        batch_size = self.config.val_batch_size
        return [
            _loader(rows, EpochBatches(len(rows), batch_size, None, drop_last=False))
            for rows in (self.val, self.train_sample, self.inner)
            if rows is not None
        ]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        """Leave the rows where they are; `on_after_batch_transfer` moves the photos."""
        self.store.move_to(device)
        return batch

    def on_after_batch_transfer(self, rows: Tensor, _: int) -> Batch:
        """Turn rows into a batch on the device, or into this process's share of it."""
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        share = self.team.share(len(rows))
        mine = rows[share.photos]
        return Batch(
            self._inputs(rows, share, device),
            self.targets[mine].to(device, non_blocking=True),
            self.label[mine],
            mine,
            None if self.weight is None else self.weight[mine].to(device),
            share,
        )

    def _inputs(self, rows: Tensor, share: Share, device: torch.device) -> Tensor:
        """Return the share's photos, changed at random while training, and normalised.

        Each process changes the whole batch, so that a photo's changes do not depend on the shares.
        """
        if self.trainer is not None and self.trainer.training and self._changes:
            images = self.store.gather(rows, device)
            images = self._changed(images, self.trainer)[share.photos]
        else:
            images = self.store.gather(rows[share.photos], device)
        return self.normalise(images)

    @property
    def _changes(self) -> bool:
        """Whether training photos are changed at random."""
        config = self.config
        return config.augmentation.name is not AugmentationName.none or bool(config.min_image_size)

    def _changed(self, images: Tensor, trainer: pl.Trainer) -> Tensor:
        """Return the photos of a training batch as the seed and the batch's number change them."""
        augmentation, least = self.config.augmentation, self.config.min_image_size
        batch = trainer.fit_loop.total_batch_idx + 1  # counts batches, not optimiser steps
        seed = derived_seed(self.config.seed_of_augmentation, batch)
        draws = torch.Generator().manual_seed(seed)
        images = augment(images, augmentation, draws)
        return images if least is None else resize(images, least, draws)


class FeatureData(PhotoData):
    """Batches of frozen features in the place of photos."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        scaler: LabelScaler,
        config: Config,
        features: NDArray[Any],
        inner: Rows | None = None,
    ) -> None:
        super().__init__(dataset, split, scaler, config, lambda pixels: pixels, inner)
        self.features = features

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        """Leave the rows where they are."""
        return batch

    def _inputs(self, rows: Tensor, share: Share, device: torch.device) -> Tensor:
        mine = rows[share.photos].numpy()
        return torch.from_numpy(self.features[mine]).float().to(device)


def _loader(rows: Rows, batches: EpochBatches) -> DataLoader[Tensor]:
    # batch_size=None hands each list of positions to the dataset as a whole.
    return DataLoader(RowDataset(rows), sampler=batches, batch_size=None)


def _warn_of_single_photo(n_train: int, config: Config) -> None:
    """Warn if every epoch ends on a single photo, as the study's 681 photos do in batches of 8."""
    if config.is_solved:
        return
    if n_train % config.batch_size == 1 and config.batch_size > 1 and not config.drop_last:
        log.warning(
            "%d training photos in batches of %d: every epoch ends on a batch of one photo, a "
            "noisy step; drop_last=true leaves it out", n_train, config.batch_size,
        )  # fmt: skip
