"""Typed schema of `conf/` and its range checks.

The values live in `conf/` alone; the dataclasses here say what type and range they must have.
A group that a user extends carries `_target_` (see `docs/adopt.md`): its keys are then kept as
they stand in `custom` and nothing else of the group is checked.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import math
import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded, package_folder

MIN_IMAGE_SIZE = 32  # px: the stride of every backbone here
MAX_IMAGE_SIZE = 2048  # px: a batch of 16 is then 0.8 GB before the first layer
EXTENSIBLE_GROUPS = ("data", "model")
EPOCH_METRICS = (
    "train/mse",
    "train/rmse_m",
    "val/mse",
    "val/rmse_m",
    "val/mean_m",
    "val/median_m",
    "val/p90_m",
    "val/within_5m",
    "val/within_10m",
    "val/within_25m",
    "val/within_50m",
)  # what an epoch of every run has; a user's own metrics come on top as val/NAME


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


MODEL_NAMES = {
    Family.resnet: (
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
        *("wide_resnet50_2", "wide_resnet101_2"),
    ),
    Family.efficientnet_lite: tuple(f"efficientnet_lite{size}" for size in range(5)),
}  # of torchvision and timm; what else timm has is known to timm alone


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


class Accelerator(StrEnum):
    """What Lightning computes on; `auto` is the best that is there."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    cuda = "cuda"
    mps = "mps"
    tpu = "tpu"


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
    fit = value is None or (value > 0 and math.isfinite(value))
    _check(key, value, fit, f"must be above 0{unit}; give {key}=NUMBER")


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

    def __post_init__(self) -> None:
        if names := MODEL_NAMES.get(self.family):
            remedy = f"no {self.family}; one of: {', '.join(names)}; others: model=timm"
            _check("model.name", self.name, self.name in names, remedy)


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
        fit = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        told = f"[{','.join(str(beta) for beta in self.betas)}]"
        _check("optimizer.betas", told, fit, "must be two numbers in [0, 1), such as [0.9,0.999]")


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

    accelerator: Accelerator
    devices: Any
    limit_train_batches: int | float | None  # as in Lightning: 1 is one batch, 1.0 all of them
    limit_val_batches: int | float | None
    gradient_clip_val: float | None
    accumulate_grad_batches: int
    compile: bool
    progress_bar: bool

    def __post_init__(self) -> None:
        for key in ("limit_train_batches", "limit_val_batches"):
            value = getattr(self, key)
            fit = value is None or 0 < value <= 1 or (value > 1 and float(value).is_integer())
            remedy = "give a count of batches (1 is one batch) or a share up to 1.0 (all)"
            _check(f"trainer.{key}", value, fit, remedy)
            if isinstance(value, int) and value > 1:
                setattr(self, key, float(value))  # the same to Lightning, and so it is in run ids
        one = type(self.devices) is int and self.devices == 1
        _check(
            "trainer.devices",
            self.devices,
            one,
            "only 1 is supported, as a run's lock and numbers are those of one process; leave it "
            "out (CUDA_VISIBLE_DEVICES=N chooses a GPU)",
        )
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


def load(cfg: DictConfig) -> Config:
    """The composed configuration as a checked `Config`.

    Raises:
        BadInput: unknown key, wrong type or impossible value, with key, value and remedy.
    """
    from img2gps.config import messages

    try:
        plain = _keyed(OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise BadInput(messages.describe(error)) from error
    plain.pop("hydra", None)
    plain.pop("sweeps", None)
    for group in EXTENSIBLE_GROUPS:
        plain[group] = _set_custom_aside(group, plain.get(group) or {})
    config = from_dict(plain)
    config.runs.root = str(expanded(config.runs.root, "runs.root"))
    if config.runs.results:
        config.runs.results = str(expanded(config.runs.results, "runs.results"))
    _check_runnable(config)
    return config


def _check_runnable(config: Config) -> None:
    """What must hold of a run about to be made here, and need not of one that is only read."""
    needs_root = config.data.kind in (DataKind.photos, DataKind.csv, DataKind.huggingface)
    if needs_root and not config.data.root:
        raise BadInput("data.root: has no value; give data.root=PATH")
    for name, node in config.metrics.items():
        fit = isinstance(node, dict) and "_target_" in node
        _check(f"metrics.{name}", node, fit, f"give metrics.{name}._target_=package.function")
        taken = f"val/{name}" in EPOCH_METRICS
        _check("metrics", name, not taken, "a metric of that name is there; give another name")
    known = (*EPOCH_METRICS, *(f"val/{name}" for name in config.metrics))
    remedy = f"no metric of an epoch; one of: {', '.join(known)}"
    _check("monitor", config.monitor, config.monitor in known, remedy)
    warmup = config.scheduler.warmup_epochs
    _check(
        "scheduler.warmup_epochs",
        warmup,
        warmup == 0 or warmup < config.max_epochs,
        f"lr is reached after that many epochs, and there are max_epochs={config.max_epochs}; "
        "give fewer",
    )
    plain = not re.search(r"::|://", config.runs.root)
    remedy = "a folder of this machine, not an address; give runs.root=FOLDER"
    _check("runs.root", config.runs.root, plain, remedy)
    root = Path(config.runs.root).absolute()
    nearest = next(path for path in (root, *root.parents) if os.access(path, os.F_OK))
    fit = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    remedy = f"{nearest} is no folder that you may write to; give runs.root=FOLDER"
    _check("runs.root", config.runs.root, fit, remedy)
    wanted = config.trainer.accelerator
    remedy = "torch finds none here; leave it out, or give trainer.accelerator=cpu"
    _check("trainer.accelerator", wanted, _is_there(wanted), remedy)


def _is_there(accelerator: Accelerator) -> bool:
    if accelerator in (Accelerator.auto, Accelerator.cpu):
        return True
    import torch  # here, as composing a configuration does not wait for it

    found = {
        Accelerator.cuda: torch.cuda.is_available(),
        Accelerator.mps: torch.backends.mps.is_available(),
        Accelerator.tpu: importlib.util.find_spec("torch_xla") is not None,
    }
    found[Accelerator.gpu] = found[Accelerator.cuda] or found[Accelerator.mps]
    return found[accelerator]


def from_dict(plain: dict[str, Any]) -> Config:
    """A checked `Config` from plain values, such as a saved config.yaml.

    Raises:
        BadInput: unknown or missing key, wrong type or impossible value.
    """
    from img2gps.config import messages

    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), plain)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise BadInput(messages.describe(error)) from error
    assert isinstance(config, Config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain values, the inverse of `from_dict`; enums become their names."""
    return _keyed(OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))


def read(path: Path) -> Config:
    """The `Config` of a run's config.yaml, read as data: no `_target_` in it is ever called.

    Raises:
        BadInput: no file, no YAML, or not a run's.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if "${" in text:  # it would be looked up, in the environment for instance
            raise BadInput("a reference ${...} in it")
        plain = yaml.safe_load(text)
        if not isinstance(plain, dict):
            raise BadInput("no keys in it" if plain is not None else "empty")
        return from_dict(plain)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, BadInput) as error:
        reason = " ".join(str(error).split())
        raise BadInput(
            f"{path}: not a readable config.yaml ({reason}); name another run folder"
        ) from error


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


def register() -> None:
    """Make Hydra see `sweeps/*.yaml` as the group `sweeps`, from any working directory."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for path in sorted(package_folder("sweeps").glob("*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        store.store(
            name=path.stem, node=node, group="sweeps", package="_global_", provider=path.name
        )
