"""What identifies a run: everything that can change its result, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from img2gps import training
from img2gps.config.newer import as_older
from img2gps.config.schema import DEFAULT_HEAD, AugmentationName, Config, Precision

ROOT_KNOBS = ("seed", "lr", "batch_size", "val_batch_size", "max_epochs", "drop_last", "image_size")
GROUPS = ("model", "optimizer", "scheduler", "metrics")
NEWER_KNOBS = (
    "loss",
    "ema",
    "callbacks",
    "min_image_size",
    "patience",
)  # where they are not at their default
NOT_OF_THE_TRAINER = ("accelerator", "devices", "strategy", "progress_bar")  # they change no result


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
    knobs = as_older(config, asdict(config))
    trainer = {k: v for k, v in knobs["trainer"].items() if k not in NOT_OF_THE_TRAINER}
    changed = config.augmentation.name is not AugmentationName.none
    identity = {
        "data": data,
        "split": dict(split),
        "weights": dict(weights),
        "augmentation": knobs["augmentation"] if changed else {"name": "none"},
        "trainer": trainer,
        "precision": str(precision),
        **{key: knobs[key] for key in (*GROUPS, *ROOT_KNOBS)},
        **{key: knobs[key] for key in NEWER_KNOBS if key in knobs},
    }
    if config.data.weight_by_error:
        identity["weight_by_error"] = True
    if config.seed_of_order != config.seed:
        identity["order_seed"] = config.seed_of_order
    draws_changes = changed or config.min_image_size is not None
    if draws_changes and config.seed_of_augmentation != config.seed:
        identity["augmentation_seed"] = config.seed_of_augmentation
    if config.head != DEFAULT_HEAD:
        identity["head"] = _heads(config)
    if training.TRAINING_VERSION > 1:  # the ids of version 1 are older than the version
        identity["training_version"] = training.TRAINING_VERSION
    return identity


def _heads(config: Config) -> dict[str, Any]:
    """Return the knobs of the heads in use."""
    knobs = asdict(config.heads)
    heads = {name: knobs.get(name, {}) for name in config.head_names}
    return heads | {"average": knobs["average"]} if len(heads) > 1 else heads
