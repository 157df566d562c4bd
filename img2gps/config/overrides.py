"""The training command that reproduces a saved configuration."""

from __future__ import annotations

import shlex
from typing import Any

from hydra import compose, initialize_config_dir

from img2gps.config.compose import config_to_dict, register_sweeps, typed_config
from img2gps.config.schema import Config, DataKind
from img2gps.core.nested import flat
from img2gps.core.paths import package_folder

GROUPS = ("data", "split", "model", "optimizer", "scheduler", "augmentation", "loss")
NO_ROOT = "DIR"  # stands for a folder that the reader knows
_NOT_THE_RUN = ("runs.", "logger.", "trainer.progress_bar", "force", "threads", "data.cache")


def training_command(config: Config) -> str:
    """Return `python -m img2gps.train ...` with what differs from the defaults."""
    return shlex.join(["python", "-m", "img2gps.train", *overrides(config)])


def overrides(config: Config) -> list[str]:
    """Return the groups and keys in which a configuration differs from the defaults."""
    wanted = flat(config_to_dict(config))
    if config.data.kind not in (DataKind.quad, DataKind.custom) and not config.data.root:
        wanted["data.root"] = NO_ROOT  # published runs do not say where the photos lay
    default = flat(config_to_dict(_composed([])))
    chained = [str(name) for name in config.augmentation.names]
    groups = [f"augmentation=[{','.join(chained)}]"] if len(chained) > 1 else []
    for group in GROUPS:
        if group == "augmentation" and len(chained) > 1:
            continue
        key = f"{group}.kind" if group in ("data", "split") else f"{group}.name"
        choices = {path.stem for path in (package_folder("conf") / group).glob("*.yaml")}
        choice = str(wanted[key])
        if wanted[key] != default[key] and (choice in choices or group == "model"):
            groups.append(f"{group}={choice if choice in choices else 'timm'}")
    default = flat(config_to_dict(_composed(groups)))
    keys = [
        f"{key}={_text(value)}"
        for key, value in wanted.items()
        if (value != default.get(key) or value == NO_ROOT) and not key.startswith(_NOT_THE_RUN)
    ]
    return groups + keys


def _composed(given: list[str]) -> Config:
    """Return what these groups choose. They may need keys that are not among them, so no check."""
    register_sweeps()
    with initialize_config_dir(str(package_folder("conf")), version_base="1.3"):
        return typed_config(compose("train", overrides=given))


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(" ", "") if isinstance(value, list | tuple) else str(value)
