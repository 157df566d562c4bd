"""Lightning's Trainer as every run uses it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.strategies import Strategy

from img2gps.config.own import make_own
from img2gps.config.schema import Config, Family, Precision
from img2gps.core import hardware, signals
from img2gps.core.counted import counted
from img2gps.core.errors import GpuFull
from img2gps.core.load import SLACK_CORES, CpuTime, usable_cores
from img2gps.core.pinning import pinned
from img2gps.training.average import WeightAverage
from img2gps.training.checkpoint import CheckpointFile, is_last, load_weights, midway_file
from img2gps.training.data import PhotoData
from img2gps.training.devices import gpu_name
from img2gps.training.midway import MidwayCheckpoint
from img2gps.training.module import INNER_RMSE, GeoRegression
from img2gps.training.sharding import ShardedStrategy
from img2gps.training.team import ALONE, Team, TeamEnvironment, TeamStrategy

log = logging.getLogger(__name__)

LIGHTNING_PRECISION = {Precision.fp32: "32-true", Precision.bf16: "bf16-mixed"}


def seed_everything(seed: int, threads: int) -> None:
    """Set all seeds, the thread count and the order of additions, which decide a run's numbers."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    pl.seed_everything(seed, workers=True, verbose=False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS adds in one order
        torch.backends.cudnn.benchmark = False  # picks the fastest algorithm, not always the same
        torch.use_deterministic_algorithms(True, warn_only=True)


def make_trainer(
    config: Config,
    precision: Precision,
    checkpoint: Path,
    recorder: pl.Callback | None,
    saved: Callable[[], None] = lambda: None,
    team: Team = ALONE,
) -> pl.Trainer:
    """Return a Trainer that logs through `recorder` and saves `checkpoint` after every epoch.

    `saved` is called after each checkpoint, those inside an epoch included. Of a run's processes,
    the first alone has a recorder.
    """
    _quiet()
    callbacks = [] if recorder is None else [recorder]
    if config.ema is not None and not config.is_solved:
        callbacks.append(WeightAverage(decay=config.ema))
    if config.stops_early:
        callbacks.append(_early_stopping(config.patience))
    shown = config.trainer.progress_bar and sys.stderr.isatty() and team.leads
    if shown:
        callbacks.append(TQDMProgressBar(leave=False))
    callbacks += [make_own(f"callbacks.{k}", node) for k, node in config.callbacks.items()]
    callbacks.append(MidwayCheckpoint(midway_file(checkpoint), config.checkpoint_minutes))
    # After the validation, Lightning would save a run that does not resume identically.
    saving = ModelCheckpoint(
        checkpoint.parent,
        filename=checkpoint.stem,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=team.size,
        strategy=_strategy(config, team),
        precision=LIGHTNING_PRECISION[precision],  # type: ignore[arg-type]  # typed as literals
        max_epochs=config.epochs,
        limit_train_batches=config.trainer.limit_train_batches,
        limit_val_batches=config.trainer.limit_val_batches,
        gradient_clip_val=config.trainer.gradient_clip_val,
        accumulate_grad_batches=config.trainer.accumulate_grad_batches,
        callbacks=[*callbacks, saving],
        plugins=[
            CheckpointFile(config.epochs, saved, keep_optimizer=config.runs.keep_optimizer),
            TeamEnvironment(team),  # within Slurm, Lightning would take over its signals
        ],
        logger=False,
        enable_progress_bar=shown,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=checkpoint.parent,
        use_distributed_sampler=False,
    )


def _strategy(config: Config, team: Team) -> Strategy | str:
    if team.size == 1:
        return "auto"
    if config.trainer.is_sharded:
        return ShardedStrategy()
    own = config.model.family is Family.custom  # whose parameters may have no part in the loss
    return TeamStrategy(find_unused_parameters=own)


def warn_if_busy(since: CpuTime | None, threads: int, processes: int = 1) -> None:
    """Warn in one line if other programs have taken cores since that moment, with what it costs.

    `threads` is the number of each of the run's processes.
    """
    taken = since.taken_by_others() if since else None
    cores = usable_cores()
    threads *= processes
    if taken is not None and threads > cores - taken + SLACK_CORES:
        beside = max(1, round(cores - taken))
        log.warning(
            "other programs take %.1f of %d cores: training with %s will take at least %.1f times "
            "as long%s", taken, cores, counted(threads, "thread"), (threads + taken) / cores,
            f"; threads={beside} fits beside them" if beside < threads and processes == 1 else "",
        )  # fmt: skip


def fit(
    trainer: pl.Trainer,
    module: GeoRegression,
    data: PhotoData,
    checkpoint: Path,
    resume: Path | None = None,
) -> None:
    """Train to the end, from the start or from the checkpoint `resume`.

    Afterwards the module holds the predictions of the final epoch.
    """
    if not module.config.trainer.is_sharded:  # it would keep most of what sharding frees
        hardware.keep_freed_memory()
    module.model.use_channels_last()
    try:
        with _within_gpu_memory(module.config):
            _fit(trainer, module, data, resume)
        if isinstance(trainer.strategy, ShardedStrategy) and module.team.leads:
            load_weights(module, checkpoint)
    except SystemExit:  # how Lightning answers a SIGTERM, with status 0
        signals.check()
        raise
    if module.config.is_solved:  # Lightning saves only what an optimiser has changed
        trainer.save_checkpoint(checkpoint, weights_only=False)


def _fit(trainer: pl.Trainer, module: GeoRegression, data: PhotoData, resume: Path | None) -> None:
    if resume and _is_last(resume, trainer.max_epochs):
        load_weights(module, resume)
        trainer.validate(module, datamodule=data, verbose=False)
    else:
        with pinned(torch.get_num_threads()):
            trainer.fit(module, data, ckpt_path=resume, weights_only=True)


@contextmanager
def _within_gpu_memory(config: Config) -> Iterator[None]:
    """Say in one line that a GPU has too little memory, and leave none that others could use."""
    gpu = gpu_name(config.trainer.accelerator)
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        wanted = " ".join(str(error).split(". ")[1:3])
        raise GpuFull(
            f"batch_size={config.batch_size}: {gpu or 'the GPU'} has too little memory ({wanted}); "
            "give a smaller batch_size or image_size, or fewer workers (hydra.sweeper.workers=1)"
        ) from error
    finally:
        if gpu:
            torch.cuda.empty_cache()


def _early_stopping(patience: int | None) -> EarlyStopping:
    assert patience is not None
    return EarlyStopping(
        INNER_RMSE, patience=patience, check_finite=False, check_on_train_epoch_end=False
    )


def _is_last(checkpoint: Path, epochs: int | None) -> bool:
    """Whether the run had come to its end before it was interrupted."""
    return is_last(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True), epochs)


def _quiet() -> None:
    """Silence Lightning's warnings about choices that are made on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{name}.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        "Total length of `DataLoader` across ranks is zero",  # of split.n_val=0
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*The number of training batches.*",
        ".*`isinstance.treespec.*",
        ".*this fit will run with no optimizer.*",
        ".*`srun` command is available.*",  # Slurm starts workers, which need no srun
        ".*in eval mode at the start of training.*",
        ".*sync_dist=True.*",  # the figures are the same in all processes
        ".*`broadcast_buffers` is deprecated.*",  # what replaces it is too new
        ".*Grad strides do not match.*",  # of 1 x 1 convolutions in channels_last
        ".*GPU available but not used.*",  # trainer.accelerator=cpu says so
        ".*ended before the epoch ended.*",  # PhotoData skips the batches of that epoch
    ):
        warnings.filterwarnings("ignore", message)
