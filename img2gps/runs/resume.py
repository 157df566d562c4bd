"""Where a run starts: at its first epoch, after the epoch of its checkpoint, or inside an epoch."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from img2gps.config.compose import config_to_dict
from img2gps.core.counted import counted
from img2gps.core.paths import expanded
from img2gps.runs.folder import RunFolder, read_config_plain, write_config
from img2gps.runs.plan import RunPlan
from img2gps.training.checkpoint import MIDWAY, is_last, midway_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        epoch: the epochs that it has behind it.
        threads: its number of threads.
        checkpoint: what it goes on from; None = it starts anew.
    """

    epoch: int
    threads: int
    checkpoint: Path | None


def prepare(folder: RunFolder, planned: RunPlan) -> Start:
    """Find where the run starts, drop what is newer than its checkpoint, and write config.yaml.

    A resumed run keeps its thread count, because 1 and 2 threads differ in the last bits.
    """
    config, threads = planned.config, planned.threads
    epoch = 0 if config.force else checkpoint_epoch(folder, config.epochs)
    midway = midway_file(folder.checkpoint)
    batches = 0 if config.force else _batches_done(midway, epoch)
    checkpoint = midway if batches else folder.checkpoint if epoch else None
    if checkpoint:
        folder.history.cut_after(epoch)
        before = _threads_before(folder)
        if before is not None and before != threads:
            how = counted(before, "thread")
            log.info("going on with %s, as the run began (not %d)", how, threads)
            threads = before
        _note_devices(folder, config.trainer.devices)
        where = f"in epoch {epoch + 1}" if batches else f"after epoch {epoch}"
        after = f", after batch {batches}," if batches else ""
        log.info("going on %s of %d%s in %s", where, config.max_epochs, after, folder.path)
    else:
        folder.clear()
    if not batches:
        midway.unlink(missing_ok=True)
    saved = {**config_to_dict(config), "threads": threads, "force": False}
    if config.data.root:  # so that later commands find it from any folder
        saved["data"]["root"] = str(expanded(config.data.root, "data.root").absolute())
    write_config(folder.path, saved)
    return Start(epoch, threads, checkpoint)


def _note_devices(folder: RunFolder, devices: int) -> None:
    """Say so if the run goes on with another number of processes: a machine may have fewer."""
    before = (read_config_plain(folder.path).get("trainer") or {}).get("devices", devices)
    if before != devices:
        log.info(
            "going on with trainer.devices=%s, and not %s as before: figures may differ in their "
            "last digits", devices, before,
        )  # fmt: skip


def checkpoint_epoch(folder: RunFolder, epochs: int) -> int:
    """Return after how many epochs the run can go on; 0 if there is no usable checkpoint.

    The checkpoint of the last epoch needs no optimiser.
    """
    if not folder.checkpoint.is_file():
        return 0
    try:
        checkpoint = torch.load(folder.checkpoint, map_location="cpu", weights_only=True, mmap=True)
        epoch = int(checkpoint["epoch"]) + 1
        return epoch if checkpoint["optimizer_states"] or is_last(checkpoint, epochs) else 0
    except Exception as error:  # a damaged file fails in many ways
        log.warning("%s is damaged (%s): starting anew", folder.checkpoint, type(error).__name__)
        return 0


def _batches_done(midway: Path, epoch: int) -> int:
    """Return after how many batches of the epoch that comes next the run can go on."""
    if not midway.is_file():
        return 0
    try:
        checkpoint = torch.load(midway, map_location="cpu", weights_only=True, mmap=True)
        return int(checkpoint[MIDWAY]["batches"]) if checkpoint["epoch"] == epoch else 0
    except Exception as error:  # a damaged file fails in many ways
        log.warning("%s is damaged (%s): left out", midway, type(error).__name__)
        return 0


def _threads_before(folder: RunFolder) -> int | None:
    threads = read_config_plain(folder.path).get("threads")
    return threads if isinstance(threads, int) else None
