"""Typed schema of `conf/`, its range checks, and where its files are.

The values live in `conf/` alone; the dataclasses here say what type and range they must have.
A group that a user extends carries `_target_` (see `docs/adopt.md`): its keys are then kept as
they stand in `custom` and nothing else of the group is checked.
"""

from __future__ import annotations

import difflib
import importlib.resources
import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from img2gps.errors import BadInput

MIN_IMAGE_SIZE = 32  # px: the stride of every backbone here
MAX_IMAGE_SIZE = 2048  # px: a batch of 16 is then 0.8 GB before the first layer
EXTENSIBLE_GROUPS = ("data", "model")
_TYPES = {
    "Float": "a number",
    "Integer": "a whole number",
    "Int": "a whole number",
    "Boolean": "true or false",
    "Bool": "true or false",
    "Str": "a text",
}


class DataKind(StrEnum):
    """Where photos come from."""

    quad = "quad"
    photos = "photos"
    csv = "csv"
    huggingface = "huggingface"
    custom = "custom"


class SplitKind(StrEnum):
    """How photos are divided."""

    random = "random"
    place = "place"
    time = "time"
    kfold = "kfold"
    place_kfold = "place_kfold"


class Family(StrEnum):
    """Who builds the backbone."""

    resnet = "resnet"
    efficientnet_lite = "efficientnet_lite"
    timm = "timm"
    custom = "custom"


class OptimizerName(StrEnum):
    """Optimisers."""

    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"


class SchedulerName(StrEnum):
    """Learning-rate schedules, stepped once an epoch."""

    step = "step"
    cosine = "cosine"
    none = "none"


class AugmentationName(StrEnum):
    """What happens to training pictures."""

    none = "none"
    colour = "colour"
    crop = "crop"
    erase = "erase"
    grayscale = "grayscale"


class Precision(StrEnum):
    """Arithmetic of the backbone; head, loss and metrics are always float32 or better."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class LoggerKind(StrEnum):
    """Where curves are mirrored; history.csv is always written."""

    wandb = "wandb"
    wandb_offline = "wandb_offline"
    csv = "csv"
    none = "none"
    tensorboard = "tensorboard"


def _check(key: str, value: object, ok: bool, remedy: str) -> None:
    if not ok:
        raise BadInput(f"{key}={value}: {remedy}")


def _positive(key: str, value: float | None, unit: str = "") -> None:
    _check(key, value, value is None or value > 0, f"must be above 0{unit}; give {key}=NUMBER")


def _within(key: str, value: float | None, low: float, high: float) -> None:
    _check(key, value, value is None or low <= value <= high, f"must lie between {low} and {high}")


@dataclass
class DataConfig:
    """Group `data`: a source of photos."""

    kind: DataKind
    name: str | None = None
    root: str | None = None
    n: int | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    part: str | None = None
    allow_outside: bool = False
    subset: str | None = None
    cache: str | None = None
    custom: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _positive("data.n", self.n)
        _within("data.width", self.width, 32, 4096)
        _within("data.height", self.height, 32, 4096)
        needs_root = self.kind in (DataKind.photos, DataKind.csv, DataKind.huggingface)
        if needs_root and not self.root:
            raise BadInput("data.root: has no value; give data.root=PATH")
        if self.root and not Path(self.root).expanduser().exists():
            raise BadInput(f"data.root={self.root}: no such file or folder; give data.root=PATH")


@dataclass
class SplitConfig:
    """Group `split`; counts are photos, values below 1 are fractions."""

    kind: SplitKind
    seed: int
    n_val: float
    n_test: float
    n_train: int | None = None
    fold: int = 0
    folds: int = 5
    block_m: float | None = None
    buffer_m: float | None = None

    def __post_init__(self) -> None:
        for key in ("n_val", "n_test"):
            value = getattr(self, key)
            whole = value < 1 or float(value).is_integer()
            _check(
                f"split.{key}", value, value >= 0 and whole, "give a count or a fraction below 1"
            )
        _positive("split.n_train", self.n_train)
        _positive("split.block_m", self.block_m, " metres")
        _check("split.buffer_m", self.buffer_m, (self.buffer_m or 0) >= 0, "metres, 0 or more")
        _within("split.folds", self.folds, 2, 1000)
        _within("split.fold", self.fold, 0, self.folds - 1)


@dataclass
class ModelConfig:
    """Group `model`: a backbone with a two-output head."""

    name: str
    family: Family
    depth: int | None = None
    custom: dict[str, Any] | None = None


@dataclass
class OptimizerConfig:
    """Group `optimizer`; lr stands at the root."""

    name: OptimizerName
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _within("optimizer.weight_decay", self.weight_decay, 0.0, 1.0)
        _within("optimizer.momentum", self.momentum, 0.0, 0.9999)
        for beta in self.betas:
            _within("optimizer.betas", beta, 0.0, 0.999999)


@dataclass
class SchedulerConfig:
    """Group `scheduler`."""

    name: SchedulerName
    warmup_epochs: int = 0
    step_size: int = 5
    gamma: float = 0.1
    min_factor: float = 0.0

    def __post_init__(self) -> None:
        _positive("scheduler.step_size", self.step_size, " epochs")
        _check("scheduler.gamma", self.gamma, 0 < self.gamma <= 1, "must lie in (0, 1]")
        _within("scheduler.min_factor", self.min_factor, 0.0, 1.0)
        _within("scheduler.warmup_epochs", self.warmup_epochs, 0, 10_000)


@dataclass
class AugmentationConfig:
    """Group `augmentation`."""

    name: AugmentationName
    strength: float = 0.0
    min_area: float = 1.0
    probability: float = 0.0
    max_area: float = 0.0

    def __post_init__(self) -> None:
        _within("augmentation.strength", self.strength, 0.0, 1.0)
        _within("augmentation.min_area", self.min_area, 0.05, 1.0)
        _within("augmentation.probability", self.probability, 0.0, 1.0)
        _within("augmentation.max_area", self.max_area, 0.0, 0.9)


@dataclass
class TrainerConfig:
    """Group `trainer`: what people vary of Lightning's Trainer."""

    accelerator: str
    devices: Any
    limit_train_batches: float | None
    limit_val_batches: float | None
    gradient_clip_val: float | None
    accumulate_grad_batches: int
    compile: bool
    progress_bar: bool

    def __post_init__(self) -> None:
        for key in ("limit_train_batches", "limit_val_batches"):
            value = getattr(self, key)
            whole = value is None or value <= 1 or float(value).is_integer()
            _check(f"trainer.{key}", value, whole, "give a count of batches or a share up to 1")
            _positive(f"trainer.{key}", value)
        _positive("trainer.gradient_clip_val", self.gradient_clip_val)
        _positive("trainer.accumulate_grad_batches", self.accumulate_grad_batches)


@dataclass
class LoggerConfig:
    """Group `logger`."""

    kind: LoggerKind
    project: str = "img2gps"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    checkpoint: bool = False
    system_metrics: bool = False
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        _positive("logger.timeout_s", self.timeout_s, " seconds")


@dataclass
class RunsConfig:
    """Where run folders are."""

    root: str
    results: str | None
    keep_optimizer: bool


@dataclass
class Config:
    """One run, complete and checked."""

    data: DataConfig
    split: SplitConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    augmentation: AugmentationConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    runs: RunsConfig
    study: str
    seed: int
    lr: float
    batch_size: int
    val_batch_size: int
    max_epochs: int
    drop_last: bool
    image_size: int
    weights: str
    weights_required: bool
    precision: Precision
    threads: int | None
    monitor: str
    metrics: dict[str, Any]
    baselines: bool
    force: bool

    def __post_init__(self) -> None:
        _check("lr", self.lr, 0 < self.lr < 100, "must be above 0 and below 100, such as lr=0.001")
        for key in ("batch_size", "val_batch_size", "max_epochs"):
            _positive(key, getattr(self, key))
        _within("image_size", self.image_size, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)
        _within("seed", self.seed, 0, 2**32 - 1)
        _within("split.seed", self.split.seed, 0, 2**32 - 1)
        _within("threads", self.threads, 1, 1024)
        named = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.study) is not None
        _check("study", self.study, named, "a folder name: letters, digits, '.', '_' and '-'")
        if self.monitor.startswith("val/") and "/" in self.monitor[4:]:
            raise BadInput(f"monitor={self.monitor}: a metric such as val/rmse_m")


def load(cfg: DictConfig) -> Config:
    """The composed configuration as a checked `Config`.

    Raises:
        BadInput: unknown key, wrong type or impossible value, with key, value and remedy.
    """
    try:
        plain = _keyed(OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise BadInput(describe(error)) from error
    plain.pop("hydra", None)
    plain.pop("sweeps", None)
    for group in EXTENSIBLE_GROUPS:
        plain[group] = _set_custom_aside(group, plain.get(group) or {})
    return from_dict(plain)


def from_dict(plain: dict[str, Any]) -> Config:
    """A checked `Config` from plain values, such as a saved config.yaml."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), plain)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise BadInput(describe(error)) from error
    assert isinstance(config, Config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values, the inverse of `from_dict`; enums become their names."""
    return _keyed(OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))


def read(path: Path) -> Config:
    """The `Config` of a run's config.yaml, read as data: no `_target_` in it is ever called."""
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(
            f"{path}: not a readable config.yaml ({error}); name a run folder"
        ) from error
    return from_dict(plain)


def _keyed(container: object) -> dict[str, Any]:
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _set_custom_aside(group: str, node: dict[str, Any]) -> dict[str, Any]:
    target = node.get("_target_")
    if target is None:
        return node
    name = str(node.get("name") or str(target).rpartition(".")[2])
    kept = {key: value for key, value in node.items() if key not in ("name", "kind", "family")}
    if group == "data":
        return {"name": name, "kind": "custom", "cache": kept.pop("cache", None), "custom": kept}
    return {"name": name, "family": "custom", "custom": kept}


def describe(error: Exception) -> str:
    """One line (key, value, remedy) out of an error of Hydra's or OmegaConf's."""
    text = str(error)
    key = getattr(error, "full_key", None) or _first(r"full_key: (\S+)", text) or ""
    first = text.strip().splitlines()[0].strip() if text.strip() else type(error).__name__
    if missing := _first(r"Missing mandatory value: (\S+)", text):
        return f"{missing}: has no value; give {missing}=VALUE"
    if wrong := re.search(r"Value '(.*)' is not a valid (\w+)", text):
        return f"{key}={wrong[1]}: not {_TYPES.get(wrong[2].capitalize(), wrong[2])}"
    if wrong := re.search(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", text):
        return f"{key}={wrong[1]}: not {_TYPES.get(wrong[2], wrong[2])}"
    if choice := re.search(r"Invalid value '(.*)', expected one of \[(.*)\]", text):
        return f"{key}={choice[1]}: no such choice; one of: {choice[2]}"
    if null := _first(r"Incompatible value 'None' for field of type '(\w+)'", text):
        return f"{key}=null: needs {_TYPES.get(null.capitalize(), null)}"
    if unknown := _first(r"Could not override '([^']+)'", text):
        return f"{unknown}: no such key{_suggestion(unknown)}; see --cfg job for all keys"
    if unknown := _first(r"Key '([^']+)' (?:is )?not in '?\w+'?", text):
        full = key or unknown
        return f"{full}: no such key{_suggestion(full)}; see --cfg job for all keys"
    if choice := re.search(r"Could not find '([^']+)'", text):
        group, _, option = choice[1].rpartition("/")
        available = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return f"{group or option}={option}: no such choice; one of: {', '.join(available)}"
    return f"{key}: {first}" if key and key not in first else " ".join(first.split())


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _suggestion(key: str) -> str:
    schema = OmegaConf.structured(Config)
    known = [str(name) for name in schema]
    for group in ("data", "split", "optimizer", "scheduler", "augmentation", "trainer", "logger"):
        fields = Config.__dataclass_fields__[group].type
        known += [f"{group}.{name}" for name in globals()[str(fields)].__dataclass_fields__]
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def package_folder(name: str) -> Path:
    """`conf` or `sweeps`: inside the installed package, else beside it in a checkout."""
    package = Path(str(importlib.resources.files("img2gps")))
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is neither in {package} nor beside it")


def register() -> None:
    """Make Hydra see `sweeps/*.yaml` as the group `sweeps`, from any working directory."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for path in sorted(package_folder("sweeps").glob("*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        store.store(
            name=path.stem, node=node, group="sweeps", package="_global_", provider=path.name
        )


def cache_folder() -> Path:
    """Where dataset caches go unless data.cache says otherwise: IMG2GPS_CACHE, or the user's."""
    if chosen := os.environ.get("IMG2GPS_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "img2gps"
