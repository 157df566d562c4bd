"""What identifies a run: everything that can change its result, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from img2gps import training
from img2gps.config.schema import AugmentationName, Config, Precision

ROOT_KNOBS = ("seed", "lr", "batch_size", "val_batch_size", "max_epochs", "drop_last", "image_size")
NOT_OF_THE_TRAINER = ("accelerator", "devices", "progress_bar")  # they change no result


def run_identity(
    config: Config,
    data: str,
    split: Mapping[str, str],
    weights: Mapping[str, str],
    precision: Precision,
) -> dict[str, Any]:
    """Return what the run id is a hash of: no path, worker, logger or thread count is in it.

    Args:
        config: the run.
        data: fingerprint of the data set.
        split: digests of the training and of the validation photos.
        weights: the weights that training really starts from.
        precision: the arithmetic that `auto` stands for.
    """
    trainer = {k: v for k, v in asdict(config.trainer).items() if k not in NOT_OF_THE_TRAINER}
    augmentation = asdict(config.augmentation)
    if config.augmentation.name is AugmentationName.none:
        augmentation = {"name": "none"}
    identity = {
        "data": data,
        "split": dict(split),
        "model": asdict(config.model),
        "weights": dict(weights),
        "optimizer": asdict(config.optimizer),
        "scheduler": asdict(config.scheduler),
        "augmentation": augmentation,
        "trainer": trainer,
        "metrics": config.metrics,
        "precision": str(precision),
        **{key: getattr(config, key) for key in ROOT_KNOBS},
    }
    if training.TRAINING_VERSION > 1:  # the ids of version 1 are older than the version
        identity["training_version"] = training.TRAINING_VERSION
    return identity
