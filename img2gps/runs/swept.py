"""The knobs that people vary, as results, trackers and tables of single runs name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_GROUPS = {"optimizer": "name", "scheduler": "name", "augmentation": "name", "split": "kind"}

_USUAL = {
    "head": "linear",
    "loss": "mse",
    "train": "all",
    "order_seed": None,
    "augmentation_seed": None,
}


def swept(config: Mapping[str, Any], n_train: int | None = None) -> dict[str, Any]:
    """Return the knobs that people vary of a resolved configuration, flat.

    `n_train` is the number of training photos, once it is known. A model of one depth only has
    None there; other knobs that the configuration lacks are left out.

    >>> swept({"lr": 0.001, "model": {"name": "resnet18", "family": "resnet"}})
    {'model': 'resnet18', 'depth': 18, 'lr': 0.001}
    """
    model = config.get("model")
    values = {
        "model": _choice(model, "name"),
        "depth": _depth(model) if isinstance(model, Mapping) else None,
        **{key: config.get(key) for key in ("lr", "batch_size", "seed")},
        **{group: _choice(config.get(group), key) for group, key in _GROUPS.items()},
        **{key: config.get(key) for key in ("max_epochs", "image_size")},
        "n_train": n_train,
        **_unusual(config),
    }
    return {key: value for key, value in values.items() if value is not None or key == "depth"}


def _unusual(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return newer knobs where they are not at their default, which older runs do not name."""
    model = config.get("model")
    values = {
        "head": config.get("head"),
        "loss": _choice(config.get("loss"), "name"),
        "train": model.get("train") if isinstance(model, Mapping) else None,
        **{key: config.get(key) for key in ("order_seed", "augmentation_seed")},
    }
    return {key: value for key, value in values.items() if value != _USUAL[key]}


def _choice(group: Any, key: str) -> Any:
    return group.get(key) if isinstance(group, Mapping) else group


def _depth(model: Mapping[str, Any]) -> int | None:
    """Return the number of layers as the name has it, because model.name= may have changed it."""
    resnet = model.get("family") == "resnet"
    layers = re.search(r"\d+", str(model.get("name"))) if resnet else None
    return int(layers[0]) if layers else model.get("depth")
