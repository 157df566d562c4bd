"""Plan a run before it trains: its data set, split, weights, precision and run id."""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.config.schema import Accelerator, Config, DataKind, Precision, TrainedPart
from img2gps.core import hardware
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.paths import cache_folder, expanded
from img2gps.photos.split import Split, make_split
from img2gps.runs.identity import run_identity
from img2gps.runs.names import run_id
from img2gps.training import weights

if TYPE_CHECKING:
    from img2gps.photos.dataset import Dataset
    from img2gps.photos.ingest import Source
    from img2gps.training.speed import Speed

DIVIDED = {"cpu": "core", "cuda": "GPU"}  # on which several processes train a run together
QUAD_DEFAULTS = ("n", "width", "height", "seed", "part")


@dataclass(frozen=True)
class RunPlan:
    """A planned run: everything that its run id depends on is resolved."""

    run_id: str
    folder: Path
    config: Config
    identity: dict[str, Any]
    dataset: Dataset
    split: Split
    weights: weights.ResolvedWeights
    precision: Precision
    speed: Speed | None  # None if the configuration leaves nothing to measure

    @property
    def threads(self) -> int:
        """Return the number of threads of each process, unless the run resumes with another."""
        if self.config.threads is not None:
            return self.config.threads
        available = max(1, hardware.cores() // self.config.trainer.devices)
        return self.speed.threads(self.precision, available) if self.speed else available


class OpenData:
    """Data sets and splits that are open already, so that the runs of a study share them."""

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}
        self._splits: dict[str, tuple[Split, dict[str, str]]] = {}

    def dataset(self, config: Config) -> Dataset:
        """Return the data set of a configuration; it is opened the first time only."""
        key = f"{config.data} {config.image_size}"
        if key not in self._datasets:
            self._datasets[key] = open_dataset(config)
        return self._datasets[key]

    def split(self, config: Config) -> tuple[Split, dict[str, str]]:
        """Return the split of a configuration and the digests that stand for it in run ids."""
        key = f"{config.data} {config.image_size} {config.split}"
        if key not in self._splits:
            dataset = self.dataset(config)
            split = open_split(config, dataset)
            self._splits[key] = split, split_identity(dataset, split)
        return self._splits[key]


def plan_run(
    config: Config,
    resolved: weights.ResolvedWeights | None = None,
    data: OpenData | None = None,
    precision: Precision | None = None,
) -> RunPlan:
    """Open (or build) the data set, split it, resolve weights and precision, and name the run.

    Args:
        config: the run.
        resolved: weights that were resolved before; None resolves them here.
        data: data sets and splits that other runs have opened.
        precision: what `precision=auto` stands for in the run's study; None decides it here.

    Raises:
        BadInput: the data, the split or the weights are not available as asked.
    """
    check_machine(config)
    data = data or OpenData()
    dataset = data.dataset(config)
    split, digests = data.split(config)
    _check_batches(config, _n_trained(config, dataset, split))
    _check_limits(config, split)
    _check_errors_known(config, dataset)
    if resolved is None:
        resolved = weights.resolve(config.model, config.weights, required=config.weights_required)
    speed = _measure(config, settled=precision is not None)
    if config.model.train is TrainedPart.head:
        precision = Precision.fp32  # so that runs of any precision share frozen features
    elif config.precision is not Precision.auto:
        precision = config.precision
    elif precision is None:
        assert speed is not None
        precision = speed.precision
    identity = run_identity(config, dataset.fingerprint, digests, resolved.identity(), precision)
    identifier = run_id(identity)
    folder = Path(config.runs.root) / config.study / identifier
    return RunPlan(identifier, folder, config, identity, dataset, split, resolved, precision, speed)


def check_machine(config: Config) -> None:
    """Check that this machine has the device and a writable folder for the run.

    Raises:
        BadInput: it does not; the message has the remedy.
    """
    root = Path(config.runs.root).absolute()
    nearest = next(path for path in (root, *root.parents) if os.access(path, os.F_OK))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(
            f"runs.root={config.runs.root}: {nearest} is no folder that you may write to; give "
            "runs.root=FOLDER"
        )
    wanted = config.trainer.accelerator
    if not _is_available(wanted):
        raise BadInput(
            f"trainer.accelerator={wanted}: torch finds none here; leave it out, or give "
            "trainer.accelerator=cpu"
        )
    check_devices(config)


def check_devices(config: Config, workers: int = 1) -> None:
    """Check that there is a device for each process of the runs that go on at once.

    Raises:
        BadInput: there are too few, or only one process can use the accelerator.
    """
    devices, accelerator = config.trainer.devices, config.trainer.accelerator
    if devices == 1:
        return
    from img2gps.training.devices import kind_and_count

    kind, found = kind_and_count(accelerator)
    if kind not in DIVIDED:
        raise BadInput(
            f"trainer.devices={devices}: with {kind}, a run takes one device; leave it out, or "
            "give trainer.accelerator=cpu"
        )
    there = f"there {'is' if found == 1 else 'are'} {counted(found, DIVIDED[kind])} here"
    if devices > found:
        raise BadInput(f"trainer.devices={devices}: {there}; give trainer.devices={found} at most")
    if devices * workers > found:
        raise BadInput(
            f"hydra.sweeper.workers={workers}: with trainer.devices={devices} they take "
            f"{devices * workers}, and {there}; give hydra.sweeper.workers={found // devices} at "
            "most"
        )


def _is_available(accelerator: Accelerator) -> bool:
    if accelerator in (Accelerator.auto, Accelerator.cpu):
        return True
    import torch

    found = {
        Accelerator.cuda: torch.cuda.is_available(),
        Accelerator.mps: torch.backends.mps.is_available(),
        Accelerator.tpu: importlib.util.find_spec("torch_xla") is not None,
    }
    found[Accelerator.gpu] = found[Accelerator.cuda] or found[Accelerator.mps]
    return found[accelerator]


def source(config: Config) -> Source:
    """Return the source of photos that `data=...` names."""
    from img2gps.photos import ingest

    data = config.data
    match data.kind:
        case DataKind.quad:
            chosen = {key: getattr(data, key) for key in QUAD_DEFAULTS}
            given = {key: value for key, value in chosen.items() if value is not None}
            return ingest.QuadSource(**given, name=data.name)
        case DataKind.photos:
            return ingest.FolderSource(
                _root(config),
                name=data.name,
                track=data.track,
                clock_offset_s=data.clock_offset_s,
                track_gap_s=data.track_gap_s,
            )
        case DataKind.csv:
            return ingest.CsvSource(_root(config), allow_outside=data.allow_outside, name=data.name)
        case DataKind.huggingface:
            return ingest.HuggingFaceSource(
                _root(config), split=data.subset or "train", name=data.name
            )
        case DataKind.custom:
            # Configurations of saved runs never come here: their `_target_` must not be called.
            from hydra.errors import InstantiationException
            from hydra.utils import instantiate

            try:
                made: Source = instantiate(data.custom)
            except InstantiationException as error:
                reason = " ".join(str(error.__cause__ or error).split())
                raise BadInput(f"data._target_: cannot be made ({reason}); check it") from error
            return made


def open_dataset(config: Config) -> Dataset:
    """Return the data set of the configured source; build its cache if there is none."""
    from img2gps.photos import ingest

    folder = expanded(config.data.cache, "data.cache") if config.data.cache else cache_folder()
    return ingest.ingest(
        source(config),
        image_size=config.image_size,
        cache_dir=folder,
        threads=config.threads,
        deadline_s=config.data.deadline_s,
        one_of_each=config.data.one_of_each,
        progress=config.trainer.progress_bar,
    )


def open_split(config: Config, dataset: Dataset) -> Split:
    """Divide a data set as `split=...` asks."""
    return make_split(dataset.manifest, config.split)


def _measure(config: Config, *, settled: bool) -> Speed | None:
    """Measure what the configuration leaves open: the precision, the threads, or both.

    A frozen backbone has no training step to measure.
    """
    if config.model.train is TrainedPart.head:
        return None
    if config.precision is not Precision.auto and config.threads is not None:
        return None
    from img2gps.training.speed import measure_speed

    accelerator = config.trainer.accelerator
    return measure_speed(config.model, config.image_size, accelerator, settled=settled)


def _root(config: Config) -> Path:
    """Return where the photos are. Checked only here, because predicting needs no photos."""
    if not config.data.root:  # published runs have none
        raise BadInput("data.root: has no value; give data.root=PATH")
    path = expanded(config.data.root, "data.root")
    if not path.exists():
        raise BadInput(f"data.root={config.data.root}: no such file or folder; give data.root=PATH")
    return path


def _n_trained(config: Config, dataset: Dataset, split: Split) -> int:
    """Return how many photos an epoch trains on: those that decide when to stop do not train."""
    if config.stops_early:
        from img2gps.training.inner import hold_out_inner

        split, _ = hold_out_inner(dataset, split, config.split)
    return len(split.train)


def _check_batches(config: Config, n_train: int) -> None:
    from img2gps.training.model import check_image_size

    check_image_size(config.model, config.image_size)
    if config.drop_last and n_train < config.batch_size:
        raise BadInput(
            f"batch_size={config.batch_size}: larger than the training part ({n_train} photos), "
            "and drop_last=true would leave no batch; lower batch_size or set drop_last=false"
        )
    if not config.is_solved:
        _check_single_photo(config, n_train)


def _check_single_photo(config: Config, n_train: int) -> None:
    """Refuse a batch of one photo if batch normalisation would get a single value of it."""
    from img2gps.training.model import smallest_feature_map

    if config.batch_size > 1 and (n_train % config.batch_size != 1 or config.drop_last):
        return
    frozen = config.model.train is TrainedPart.head
    least = config.min_image_size or config.image_size
    one_cell = not frozen and smallest_feature_map(config.model, least) == 1
    if one_cell or "mlp" in config.head_names:
        key = "min_image_size" if config.min_image_size else "image_size"
        cause = f"at {key}={least}" if one_cell else "with head=mlp"
        raise BadInput(
            f"batch_size={config.batch_size}: a batch of one photo (of {n_train}) {cause} leaves "
            "batch normalisation a single value; set drop_last=true, another batch_size"
            + (f" or a larger {key}" if one_cell else "")
        )


def _check_errors_known(config: Config, dataset: Dataset) -> None:
    """Refuse to weigh photos by errors of which the data set has none."""
    if config.data.weight_by_error and not dataset.manifest["gps_error_m"].notna().any():
        raise BadInput(
            f"data.weight_by_error=true: none of the {len(dataset)} photos says how exact its "
            "position is (gps_error_m); leave it out"
        )


def _check_limits(config: Config, split: Split) -> None:
    """Refuse a share of batches that comes to none; Lightning would refuse it only in training."""
    for part, size in (("train", config.batch_size), ("val", config.val_batch_size)):
        share = getattr(config.trainer, f"limit_{part}_batches")
        whole = part == "train" and config.drop_last
        batches = (math.floor if whole else math.ceil)(len(getattr(split, part)) / size)
        if isinstance(share, float) and share < 1 and int(share * batches) == 0:
            raise BadInput(
                f"trainer.limit_{part}_batches={share}: of {batches} batches that is none; give a "
                "count (1 is one batch) or a larger share"
            )


def split_identity(dataset: Dataset, split: Split) -> dict[str, str]:
    """Return digests of the training photos and of the validation photos."""
    content = dataset.manifest["content"].to_numpy()
    parts = {part: [str(c) for c in content[getattr(split, part)]] for part in ("train", "val")}
    return {part: run_id({"content": rows}) for part, rows in parts.items()}
