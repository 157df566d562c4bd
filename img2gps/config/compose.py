"""Configurations from Hydra and from saved files: composed, read, checked, and written as data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from img2gps.config import messages
from img2gps.config.schema import Config, DataKind
from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded, package_folder, runs_root

# Hydra 1.3 warns without this argument; Hydra 1.4 deprecates it.
HYDRA_DEFAULTS = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
QUAD_N_VAL = 60  # photos, as in the study
OWN_SHARE_VAL = 0.2  # of the user's own photos


# Groups in which a class or function of the user's own may stand, named by `_target_`.
OWN_GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "augmentation")


def register_sweeps() -> None:
    """Let Hydra find `sweeps/*.yaml` as the group `sweeps` from any working directory."""
    store = ConfigStore.instance()
    for path in sorted(package_folder("sweeps").glob("*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        store.store(
            name=path.stem, node=node, group="sweeps", package="_global_", provider=path.name
        )


def load_config(cfg: DictConfig) -> Config:
    """Return the checked `Config` of what Hydra has composed.

    Raises:
        BadInput: an unknown key, a wrong type or an impossible value; the message names the key,
            the value and the remedy.
    """
    config = typed_config(cfg)
    config.check_trainable()
    return config


def typed_config(cfg: DictConfig) -> Config:
    """Return the `Config` of what Hydra has composed, which need not be trainable as a whole.

    Raises:
        BadInput: an unknown key or a wrong type.
    """
    try:
        plain = _plain(OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise BadInput(messages.describe(error)) from error
    for group in ("hydra", "sweeps"):
        plain.pop(group, None)
    for group in OWN_GROUPS:
        plain[group] = _own_class(group, plain.get(group) or {})
    _choose_n_val(plain)
    config = config_from_dict(plain)
    config.runs.root = str(runs_root(config.runs.root, "runs.root"))
    if config.runs.results:
        config.runs.results = str(expanded(config.runs.results, "runs.results"))
    return config


def config_from_dict(plain: dict[str, Any]) -> Config:
    """Return the checked `Config` of plain values, such as those of a saved config.yaml.

    Raises:
        BadInput: an unknown or missing key, a wrong type or an impossible value.
    """
    try:
        config = OmegaConf.to_object(OmegaConf.merge(_schema(), plain))
    except OmegaConfBaseException as error:
        raise BadInput(messages.describe(error)) from error
    assert isinstance(config, Config)
    return config


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return plain values, enums as their names; the inverse of `config_from_dict`."""
    return _plain(_without_classes(config))


def read_config(path: Path) -> Config:
    """Return the `Config` in a run's config.yaml. No `_target_` in the file is ever called.

    Raises:
        BadInput: the file is missing, not YAML, or not the configuration of a run.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if "${" in text:  # OmegaConf would look it up, in the environment for instance
            raise BadInput("a reference ${...} in it")
        plain = yaml.safe_load(text)
        if not isinstance(plain, dict):
            raise BadInput("no keys in it" if plain is not None else "empty")
        return config_from_dict(plain)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, BadInput) as error:
        reason = " ".join(str(error).split())
        raise BadInput(
            f"{path}: not a readable config.yaml ({reason}); name another run folder"
        ) from error


@cache
def _schema() -> DictConfig:
    schema: DictConfig = OmegaConf.structured(Config)  # takes 10 ms; merging copies it
    return schema


def _without_classes(value: object) -> object:
    """Return what `OmegaConf.to_container` does for a checked value, in a hundredth of the time."""
    match value:
        case Enum():
            return value.name
        case dict():
            return {key: _without_classes(part) for key, part in value.items()}
        case list() | tuple():
            return [_without_classes(part) for part in value]
    if is_dataclass(value):
        return {field.name: _without_classes(getattr(value, field.name)) for field in fields(value)}
    return value


def _plain(container: object) -> dict[str, Any]:
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _choose_n_val(plain: dict[str, Any]) -> None:
    """Set how many photos validate where the configuration leaves it open.

    The study's 60 of 741 photos would take most of a small collection.
    """
    split = plain.get("split") or {}
    if "n_val" in split and split["n_val"] is None:
        built_in = plain["data"].get("kind") == DataKind.quad
        split["n_val"] = QUAD_N_VAL if built_in else OWN_SHARE_VAL


def _own_class(group: str, node: dict[str, Any]) -> dict[str, Any]:
    """Move the arguments of a user's own class (a group with `_target_`) into `custom`."""
    target = node.get("_target_")
    if target is None:
        return node
    name = str(node.get("name") or str(target).rpartition(".")[2])
    kept = {key: value for key, value in node.items() if key not in ("name", "kind", "family")}
    if group == "data":
        shared: dict[str, Any] = {
            key: kept.pop(key) for key in ("cache", "weight_by_error") if key in kept
        }
        return {"name": name, "kind": "custom", **shared, "custom": kept}
    if group != "model":
        return {"name": "custom", "custom": kept}
    # Of the model that the class takes the place of:
    how: dict[str, Any] = {key: kept.pop(key) for key in ("train", "test_views") if key in kept}
    if isinstance(kept.get("pretrained"), str):  # true and false are arguments of the class
        how["pretrained"] = kept.pop("pretrained")
    return {"name": name, "family": "custom", "custom": kept, **how}
