"""Lightning's Trainer as every run uses it, and how a run starts, or goes on, in its folder."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar

from img2gps import config as configuration
from img2gps import hardware, signals
from img2gps.checkpoint import CheckpointFile
from img2gps.config import Config, Precision
from img2gps.data import PhotoData
from img2gps.module import GeoRegression
from img2gps.paths import expanded
from img2gps.recorder import Recorder
from img2gps.runs import CHECKPOINT, CONFIG, RunFolder, write_atomic

log = logging.getLogger(__name__)

LIGHTNING_PRECISION = {Precision.fp32: "32-true", Precision.bf16: "bf16-mixed"}


@dataclass(frozen=True)
class Start:
    """Where a run begins: after which epoch (0 = at the beginning), with how many threads."""

    epoch: int
    threads: int


def prepare(folder: RunFolder, config: Config) -> Start:
    """Read how far the run is, cut what is newer than its checkpoint, write config.yaml.

    A run that goes on keeps its thread count: 1 and 2 threads differ in the last bits.
    """
    threads = config.threads or hardware.cores()
    epoch = 0 if config.force else checkpoint_epoch(folder)
    if epoch:
        folder.history.cut_after(epoch)
        before = _threads_before(folder)
        if before is not None and before != threads:
            log.info("going on with %d threads, as the run began (not %d)", before, threads)
            threads = before
        log.info("going on after epoch %d of %d in %s", epoch, config.max_epochs, folder.path)
    else:
        folder.clear()
    saved = {**configuration.to_dict(config), "threads": threads, "force": False}
    if config.data.root:  # wherever a later command is called from
        saved["data"]["root"] = str(expanded(config.data.root, "data.root").absolute())
    text = yaml.safe_dump(saved, sort_keys=False, allow_unicode=True)
    write_atomic(folder.path / CONFIG, lambda file: print(text, end="", file=file))
    return Start(epoch, threads)


def checkpoint_epoch(folder: RunFolder) -> int:
    """Epochs that the folder's checkpoint holds; 0 without a usable one."""
    if not folder.checkpoint.is_file():
        return 0
    try:
        checkpoint = torch.load(folder.checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return int(checkpoint["epoch"]) + 1 if checkpoint["optimizer_states"] else 0
    except Exception as error:  # a damaged file fails in many ways
        log.warning("%s is damaged (%s): starting anew", folder.checkpoint, type(error).__name__)
        return 0


def _threads_before(folder: RunFolder) -> int | None:
    try:
        saved = yaml.safe_load((folder.path / CONFIG).read_text(encoding="utf-8"))
        return int(saved["threads"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None


def seed_everything(seed: int, threads: int) -> None:
    """Same seed and threads, same numbers."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    pl.seed_everything(seed, workers=True, verbose=False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def trainer(
    config: Config, precision: Precision, folder: RunFolder, recorder: Recorder
) -> pl.Trainer:
    """A Trainer that logs through `recorder` and saves last.ckpt after every epoch."""
    _quiet()
    callbacks: list[pl.Callback] = [recorder]
    shown = config.trainer.progress_bar and sys.stderr.isatty()
    if shown:
        callbacks.append(TQDMProgressBar(leave=False))
    # At the end of the training epoch, not of validation: only so is a resumed run identical.
    checkpoint = ModelCheckpoint(
        folder.path,
        filename=CHECKPOINT.removesuffix(".ckpt"),
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        precision=LIGHTNING_PRECISION[precision],  # type: ignore[arg-type]  # typed as literals
        max_epochs=config.max_epochs,
        limit_train_batches=config.trainer.limit_train_batches,
        limit_val_batches=config.trainer.limit_val_batches,
        gradient_clip_val=config.trainer.gradient_clip_val,
        accumulate_grad_batches=config.trainer.accumulate_grad_batches,
        callbacks=[*callbacks, checkpoint],
        plugins=[CheckpointFile()],
        logger=False,
        enable_progress_bar=shown,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder.path,
        use_distributed_sampler=False,
    )


def warn_of_single_photo_batch(n_train: int, batch_size: int, *, drop_last: bool) -> None:
    """The study's 681 photos in batches of 8 end every epoch on a batch of one photo."""
    if n_train % batch_size == 1 and batch_size > 1 and not drop_last:
        log.warning(
            "%d training photos in batches of %d: every epoch ends on a batch of one photo, a "
            "noisy step; drop_last=true leaves it out", n_train, batch_size,
        )  # fmt: skip


def fit(
    trainer: pl.Trainer, module: GeoRegression, data: PhotoData, folder: RunFolder, start: Start
) -> None:
    """Train to the end; afterwards the module holds the final epoch's predictions."""
    hardware.keep_freed_memory()
    module.model.to(memory_format=torch.channels_last)
    resume = folder.checkpoint if start.epoch else None
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except SystemExit:  # Lightning's own answer to a SIGTERM, which would end in status 0
        signals.check()
        raise
    if not module.epoch_metrics:  # all epochs were in the checkpoint already
        trainer.validate(module, datamodule=data, verbose=False)


def _quiet() -> None:
    """Silence what Lightning says about choices that were made on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{name}.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*The number of training batches.*",
        ".*`isinstance.treespec.*",
    ):
        warnings.filterwarnings("ignore", message)
