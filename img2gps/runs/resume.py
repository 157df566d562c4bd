"""Where a run begins: at the first epoch, or after the one that its checkpoint holds."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from img2gps.config.compose import config_to_dict
from img2gps.config.schema import Config
from img2gps.core import hardware
from img2gps.core.paths import expanded
from img2gps.runs.folder import RunFolder, read_config_plain, write_config

log = logging.getLogger(__name__)


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
    saved = {**config_to_dict(config), "threads": threads, "force": False}
    if config.data.root:  # wherever a later command is called from
        saved["data"]["root"] = str(expanded(config.data.root, "data.root").absolute())
    write_config(folder.path, saved)
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
    threads = read_config_plain(folder.path).get("threads")
    return threads if isinstance(threads, int) else None
