"""Knobs that older versions did not have, so that their runs and studies keep their names.

A newer knob at its default leaves a run as it was. It is therefore left out of what names the run
or the study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from img2gps.config.schema import Config

NEWER = {
    "": (
        *("head", "heads", "loss", "ema", "callbacks", "min_image_size", "patience"),
        *("order_seed", "augmentation_seed"),
    ),
    "data": ("weight_by_error",),
    "model": ("train", "pretrained", "test_views"),
    "optimizer": ("backbone_lr", "decay_norms", "custom"),
    "scheduler": ("custom",),
    "augmentation": ("chain", "degrees", "custom"),
}  # by group; "" is the root


def as_older(config: Config, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values of a configuration without its newer knobs that are at their default."""
    kept = dict(plain)
    for group, names in NEWER.items():
        node = getattr(config, group) if group else config
        usual = {name for name in names if getattr(node, name) == _default(node, name)}
        if group and isinstance(kept.get(group), Mapping):
            kept[group] = {k: v for k, v in kept[group].items() if k not in usual}
        elif not group:
            kept = {k: v for k, v in kept.items() if k not in usual}
    return kept


def _default(node: Any, name: str) -> Any:
    (found,) = (field for field in fields(node) if field.name == name)
    return found.default if found.default_factory is MISSING else found.default_factory()
