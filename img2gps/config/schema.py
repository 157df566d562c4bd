"""The typed schema of `conf/`, with a range check for every knob.

The values live in `conf/` alone. The dataclasses here say which type and range each value must
have, and look at nothing outside the configuration. A group that users extend with a class of
their own (`data` or `model` with `_target_`, see `docs/adopt.md`) keeps its keys unchecked in
`custom`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from img2gps.config.checks import check, positive, within
from img2gps.config.heads import (
    DENSITY_HEADS,
    FROZEN_HEADS,
    HEADS,
    MAPS_HEADS,
    SOLVED_HEADS,
    WEIGHTED_HEADS,
    HeadsConfig,
)
from img2gps.core.errors import BadInput

DEFAULT_HEAD = "linear"
MIN_IMAGE_SIZE = 32  # px; the stride of every backbone here
MAX_TEST_VIEWS = 6  # the whole photo, its middle and its four corners
MAX_DEVICES = 1024  # a mistake above it
MAX_IMAGE_SIZE = 2048  # px; a batch of 16 then takes 0.8 GB before the first layer
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
)  # of every epoch of every run; a user's own metrics come on top as val/NAME
SPLIT_RULES = (1, 2)
COSTS = (
    "cost/seconds",
    "cost/train_seconds",
    "cost/peak_memory_mb",
    "cost/peak_gpu_memory_mb",
    "cost/predict_ms",
    "model/parameters",
    "model/flops",
)  # of a run as a whole; a study may aim at them beside a metric of an epoch
DENSITY_METRICS = ("val/nll", "val/coverage_50", "val/coverage_90")  # of heads that give a density


# Sources of photos; `custom` is a class of the user's own.
DataKind = StrEnum("DataKind", ["quad", "photos", "csv", "huggingface", "custom"])
# Ways to divide photos into parts.
SplitKind = StrEnum("SplitKind", ["random", "place", "time", "kfold", "place_kfold"])
# Libraries that build the backbone; `custom` is a class of the user's own.
Family = StrEnum("Family", ["resnet", "efficientnet_lite", "mobilenet", "timm", "custom"])
# What of a model is trained.
TrainedPart = StrEnum("TrainedPart", ["all", "last_blocks", "head"])
# What training minimises: the study's mean squared error, robust errors in metres, or the negative
# log likelihood of a head that gives a density.
LossName = StrEnum("LossName", ["mse", "huber", "l2_m", "nll", "custom"])
OptimizerName = StrEnum("OptimizerName", ["adam", "adamw", "sgd", "custom"])
# Learning-rate schedules, which step once an epoch.
SchedulerName = StrEnum("SchedulerName", ["step", "cosine", "none", "custom"])
# Random changes to training photos.
AugmentationName = StrEnum(
    "AugmentationName", ["none", "colour", "crop", "erase", "grayscale", "blur", "rotate", "custom"]
)
# Arithmetic of the backbone. Head, loss and metrics always use float32 or better.
Precision = StrEnum("Precision", ["auto", "fp32", "bf16"])
# Devices that Lightning computes on; `auto` takes the best one available.
Accelerator = StrEnum("Accelerator", ["auto", "cpu", "gpu", "cuda", "mps", "tpu"])
# What each of the processes of a run keeps: a copy of the weights, or its part of them.
StrategyName = StrEnum("StrategyName", ["ddp", "fsdp"])
# Services that mirror a run. history.csv is written in any case.
LoggerKind = StrEnum(
    "LoggerKind", ["wandb", "wandb_offline", "csv", "none", "tensorboard", "mlflow"]
)

MODEL_NAMES = {
    Family.resnet: (
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
        *("wide_resnet50_2", "wide_resnet101_2"),
    ),
    Family.efficientnet_lite: tuple(f"efficientnet_lite{size}" for size in range(5)),
    Family.mobilenet: ("mobilenet_v2",),
}  # in torchvision and timm; only timm knows the names of family timm


@dataclass
class DataConfig:
    """Group `data`: the source of the photos."""

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
    deadline_s: float = 20.0
    one_of_each: bool = False
    track: str | None = None
    clock_offset_s: float = 0.0
    track_gap_s: float = 60.0
    weight_by_error: bool = False
    custom: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        positive("data.n", self.n)
        positive("data.deadline_s", self.deadline_s, " seconds")
        positive("data.track_gap_s", self.track_gap_s, " seconds")
        within("data.width", self.width, 32, 4096)
        within("data.height", self.height, 32, 4096)


@dataclass
class SplitConfig:
    """Group `split`. Counts are photos; values below 1 are fractions."""

    kind: SplitKind = SplitKind.random
    seed: int = 0
    n_val: float = 60  # the k-fold kinds do not read it: the fold decides
    n_test: float = 0  # whole blocks, chosen first; the same for every kind and every n_val
    n_train: int | None = None  # the first photos of the training rank; None = all of them
    fold: int = 0
    folds: int = 5
    block_m: float | None = None  # None = from the buffer and the ground that the photos cover
    buffer_m: float | None = None  # None = the spot radius
    group_near_copies: bool = False  # runs from before near copies were found have no such key
    rule: int = 1  # of choosing blocks; runs from before rule 2 have no such key

    def __post_init__(self) -> None:
        for key in ("n_val", "n_test"):
            value = getattr(self, key)
            fit = 0 <= value < 1 or (value >= 1 and float(value).is_integer())
            check(f"split.{key}", value, fit, "give a count or a fraction below 1")
        within("split.seed", self.seed, 0, 2**32 - 1)
        positive("split.n_train", self.n_train)
        positive("split.block_m", self.block_m, " metres")
        fit = 0 <= (self.buffer_m or 0) < math.inf
        check("split.buffer_m", self.buffer_m, fit, "metres, 0 or more")
        within("split.folds", self.folds, 2, 1000)
        within("split.rule", self.rule, SPLIT_RULES[0], SPLIT_RULES[-1])
        within("split.fold", self.fold, 0, self.folds - 1)


@dataclass
class ModelConfig:
    """Group `model`: a backbone with a two-output head."""

    name: str
    family: Family
    depth: int | None = None
    custom: dict[str, Any] | None = None
    train: TrainedPart = TrainedPart.all
    pretrained: str | None = None  # of a model of one's own: what the weights that it loads are
    test_views: int = 1

    def __post_init__(self) -> None:
        within("model.test_views", self.test_views, 1, MAX_TEST_VIEWS)
        if names := MODEL_NAMES.get(self.family):
            remedy = f"no {self.family}; one of: {', '.join(names)}; others: model=timm"
            check("model.name", self.name, self.name in names, remedy)
            # model.name=resnet18 may follow model=resnet50, whose depth would name another run.
            self.depth = int(re.findall(r"\d+", self.name)[0])


@dataclass
class LossConfig:
    """Group `loss`."""

    name: LossName = LossName.mse
    delta_m: float = 25.0  # of huber: from where on an error counts by its distance
    custom: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        positive("loss.delta_m", self.delta_m, " metres")


@dataclass
class OptimizerConfig:
    """Group `optimizer`. The learning rate is a knob of the root."""

    name: OptimizerName
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    momentum: float = 0.0
    backbone_lr: float = 1.0
    decay_norms: bool = True
    custom: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        positive("optimizer.backbone_lr", self.backbone_lr)
        within("optimizer.weight_decay", self.weight_decay, 0.0, 1.0)
        within("optimizer.momentum", self.momentum, 0.0, 0.9999)
        fit = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        told = f"[{','.join(str(beta) for beta in self.betas)}]"
        check("optimizer.betas", told, fit, "must be two numbers in [0, 1), such as [0.9,0.999]")


@dataclass
class SchedulerConfig:
    """Group `scheduler`."""

    name: SchedulerName
    warmup_epochs: int = 0
    step_size: int = 5
    gamma: float = 0.1
    min_factor: float = 0.0
    custom: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        positive("scheduler.step_size", self.step_size, " epochs")
        check("scheduler.gamma", self.gamma, 0 < self.gamma <= 1, "must lie in (0, 1]")
        within("scheduler.min_factor", self.min_factor, 0.0, 1.0)
        within("scheduler.warmup_epochs", self.warmup_epochs, 0, 10_000)


@dataclass
class AugmentationConfig:
    """Group `augmentation`."""

    name: AugmentationName
    strength: float = 0.0
    min_area: float = 1.0
    probability: float = 0.0
    max_area: float = 0.0
    degrees: float = 0.0
    chain: dict[str, bool] = field(default_factory=dict)
    custom: dict[str, Any] | None = None

    @property
    def names(self) -> list[AugmentationName]:
        """What happens to a photo, in order: several with `augmentation=[crop,colour]`."""
        chained = [AugmentationName(name) for name in self.chain]
        return chained if len(chained) > 1 else [self.name]

    def __post_init__(self) -> None:
        if len(self.chain) < 2:
            self.chain = {}
        within("augmentation.degrees", self.degrees, 0.0, 180.0)
        within("augmentation.strength", self.strength, 0.0, 1.0)
        within("augmentation.min_area", self.min_area, 0.05, 1.0)
        within("augmentation.probability", self.probability, 0.0, 1.0)
        within("augmentation.max_area", self.max_area, 0.0, 0.9)


@dataclass
class TrainerConfig:
    """Group `trainer`: the arguments of Lightning's Trainer that people vary."""

    accelerator: Accelerator
    devices: Any  # a number; Lightning also knows lists and words
    limit_train_batches: int | float | None  # as in Lightning: 1 = one batch, 1.0 = all
    limit_val_batches: int | float | None
    gradient_clip_val: float | None
    accumulate_grad_batches: int
    compile: bool
    progress_bar: bool
    strategy: StrategyName = StrategyName.ddp

    @property
    def is_sharded(self) -> bool:
        """Whether each process of the run has a part of the weights."""
        return self.devices > 1 and self.strategy is StrategyName.fsdp

    def __post_init__(self) -> None:
        for key in ("limit_train_batches", "limit_val_batches"):
            value = getattr(self, key)
            fit = value is None or 0 < value <= 1 or (value > 1 and float(value).is_integer())
            remedy = "give a count of batches (1 is one batch) or a share up to 1.0 (all)"
            check(f"trainer.{key}", value, fit, remedy)
            if isinstance(value, int) and value > 1:
                setattr(self, key, float(value))  # run ids have always had it as a float
        fit = type(self.devices) is int and 1 <= self.devices <= MAX_DEVICES
        remedy = (
            f"give how many train the run together, from 1 to {MAX_DEVICES} "
            "(CUDA_VISIBLE_DEVICES=N chooses a GPU)"
        )
        check("trainer.devices", self.devices, fit, remedy)
        positive("trainer.gradient_clip_val", self.gradient_clip_val)
        positive("trainer.accumulate_grad_batches", self.accumulate_grad_batches)


@dataclass
class LoggerConfig:
    """Group `logger`; `also` names further loggers of the same run."""

    kind: LoggerKind
    also: list[LoggerKind] = field(default_factory=list)
    project: str = "img2gps"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    checkpoint: bool = False
    system_metrics: bool = False
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        positive("logger.timeout_s", self.timeout_s, " seconds")

    @property
    def kinds(self) -> list[LoggerKind]:
        """Every logger of the run, each once."""
        return list(dict.fromkeys([self.kind, *self.also]))


@dataclass
class RunsConfig:
    """Group `runs`: where run folders are."""

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
    monitor: Any  # a metric, or a list of several aims
    metrics: dict[str, Any]
    baselines: bool
    force: bool
    loss: LossConfig = field(default_factory=LossConfig)
    ema: float | None = None
    min_image_size: int | None = None
    patience: int | None = None
    head: str = DEFAULT_HEAD
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)
    order_seed: int | None = None
    augmentation_seed: int | None = None
    checkpoint_minutes: float | None = None

    @property
    def aims(self) -> list[str]:
        """The figures that a study makes small or large, the one of every epoch first."""
        return list(self.monitor) if isinstance(self.monitor, list) else [self.monitor]

    @property
    def seed_of_order(self) -> int:
        """The seed of the order in which training meets the photos."""
        return self.seed if self.order_seed is None else self.order_seed

    @property
    def seed_of_augmentation(self) -> int:
        """The seed of the random changes to training photos."""
        return self.seed if self.augmentation_seed is None else self.augmentation_seed

    @property
    def head_names(self) -> tuple[str, ...]:
        """The heads whose answers are averaged; mostly one."""
        return tuple(self.head.split("+"))

    @property
    def is_solved(self) -> bool:
        """Whether there is nothing to learn by gradient descent."""
        return all(name in SOLVED_HEADS for name in self.head_names)

    @property
    def needs_maps(self) -> bool:
        """Whether a head reads feature maps beside the features of the whole photo."""
        return any(name in MAPS_HEADS for name in self.head_names)

    @property
    def epochs(self) -> int:
        """The epochs of a run: one if there is nothing to learn by gradient descent."""
        return 1 if self.is_solved else self.max_epochs

    @property
    def stops_early(self) -> bool:
        """Whether an inner part of the training photos decides when training ends."""
        return self.patience is not None and not self.is_solved

    def __post_init__(self) -> None:
        for name in self.head_names:
            remedy = f"no head; one of: {', '.join(HEADS)}; or several joined by + (their average)"
            check("head", self.head, name in HEADS, remedy)
        once = len(set(self.head_names)) == len(self.head_names)
        check("head", self.head, once, "a head is named twice; name it once")
        check("lr", self.lr, 0 < self.lr < 100, "must be above 0 and below 100, such as lr=0.001")
        for key in ("batch_size", "val_batch_size", "max_epochs"):
            positive(key, getattr(self, key))
        fit = self.ema is None or 0 < self.ema < 1
        check("ema", self.ema, fit, "a decay between 0 and 1, such as ema=0.99, or null")
        within("image_size", self.image_size, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)
        within("min_image_size", self.min_image_size, MIN_IMAGE_SIZE, self.image_size)
        positive("patience", self.patience, " epochs")
        for key in ("seed", "order_seed", "augmentation_seed"):
            within(key, getattr(self, key), 0, 2**32 - 1)
        within("threads", self.threads, 1, 1024)
        fit = self.checkpoint_minutes is None or 0 < self.checkpoint_minutes < math.inf
        check("checkpoint_minutes", self.checkpoint_minutes, fit, "minutes above 0, or null")
        named = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.study) is not None
        check("study", self.study, named, "a folder name: letters, digits, '.', '_' and '-'")

    def check_trainable(self) -> None:
        """Check what training needs beyond what reading a saved configuration needs.

        Raises:
            BadInput: a value that no training can use, with the remedy.
        """
        needs_root = self.data.kind in (DataKind.photos, DataKind.csv, DataKind.huggingface)
        if needs_root and not self.data.root:
            raise BadInput("data.root: has no value; give data.root=PATH")
        for group, called in (("metrics", "function"), ("callbacks", "Class")):
            for name, node in getattr(self, group).items():
                key = f"{group}.{name}"
                fit = isinstance(node, dict) and "_target_" in node
                check(key, node, fit, f"give {key}._target_=package.{called}")
        for name in self.metrics:
            free = f"val/{name}" not in (*EPOCH_METRICS, *DENSITY_METRICS)
            check("metrics", name, free, "a metric of that name exists; give another name")
        known = (*EPOCH_METRICS, *(f"val/{name}" for name in self.metrics))
        if self.head in DENSITY_HEADS:
            known = (*known, *DENSITY_METRICS)
        self._check_monitor(known)
        warmup = self.scheduler.warmup_epochs
        fit = warmup == 0 or warmup < self.max_epochs
        remedy = (
            "lr is reached only after that many epochs, and there are "
            f"max_epochs={self.max_epochs}; give fewer"
        )
        check("scheduler.warmup_epochs", warmup, fit, remedy)
        own = self.model.family is Family.custom
        fit = not own or (self.head == "linear" and self.model.train is TrainedPart.all)
        remedy = "a model of your own has a head of its own; leave out head= and model.train="
        check("head", self.head, fit, remedy)
        self._check_losses()
        self._check_devices()
        frozen = self.model.train is TrainedPart.head
        remedy = "a backbone that is not trained sees one size only; leave it out, or model.train="
        check("min_image_size", self.min_image_size, not (frozen and self.min_image_size), remedy)
        needs_frozen = any(name in FROZEN_HEADS for name in self.head_names)
        remedy = "needs a backbone that is not trained; add model.train=head"
        check("head", self.head, frozen or not needs_frozen, remedy)
        self._check_root()

    def _check_monitor(self, known: tuple[str, ...]) -> None:
        first, *others = self.aims or [""]
        remedy = f"not a metric of an epoch; give one of: {', '.join(known)}"
        check("monitor", first, first in known, remedy)
        for aim in others:
            remedy = f"not a figure of a run; give one of: {', '.join((*known, *COSTS))}"
            check("monitor", aim, aim in (*known, *COSTS), remedy)
        told = f"[{','.join(map(str, self.aims))}]"
        once = len(set(self.aims)) == len(self.aims)
        check("monitor", told, once, "an aim is named twice; name it once")

    def _check_losses(self) -> None:
        """Check that the heads can be trained with the loss and with weights of the labels."""
        trained = [name for name in self.head_names if name not in SOLVED_HEADS]
        if self.loss.name is LossName.nll:
            without = [name for name in trained if name not in DENSITY_HEADS]
            remedy = (
                f"head={without[0] if without else self.head} gives no density; give "
                f"head={DENSITY_HEADS[0]}, or another loss="
            )
            check("loss", "nll", bool(trained) and not without, remedy)
        if self.data.weight_by_error:
            other = [name for name in self.head_names if name not in WEIGHTED_HEADS]
            remedy = (
                f"head={self.head} does not use it; give one of head={', '.join(WEIGHTED_HEADS)}, "
                "or leave it out"
            )
            check("data.weight_by_error", "true", not other, remedy)
            remedy = "a loss of your own weighs its photos itself; leave it out"
            check("data.weight_by_error", "true", self.loss.custom is None, remedy)

    def _check_devices(self) -> None:
        devices = self.trainer.devices
        if devices == 1:
            return
        frozen = self.model.train is TrainedPart.head
        remedy = (
            "model.train=head computes features once and takes one device; give trainer.devices=1, "
            "or leave model.train=head out"
        )
        check("trainer.devices", devices, not frozen, remedy)
        remedy = "trainer.compile=true takes one device; leave one of them out"
        check("trainer.devices", devices, not self.trainer.compile, remedy)
        remedy = (
            f"each takes its share of batch_size={self.batch_size}, so some would have no photo; "
            f"give trainer.devices={self.batch_size} at most, or a larger batch_size"
        )
        check("trainer.devices", devices, self.batch_size >= devices, remedy)
        own = self.trainer.is_sharded and self.optimizer.name is OptimizerName.custom
        remedy = (
            "an optimiser of your own may need whole weights, of which each process has a part; "
            "give trainer=ddp, or another optimizer="
        )
        check("trainer.strategy", self.trainer.strategy, not own, remedy)

    def _check_root(self) -> None:
        remedy = (
            "neither a folder nor the URL of a store; give runs.root=FOLDER or s3://BUCKET/FOLDER"
        )
        check("runs.root", self.runs.root, "::" not in self.runs.root, remedy)
