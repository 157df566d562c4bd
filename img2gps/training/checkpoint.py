"""Checkpoints on disk, which exist whole or not at all and are written without a copy in memory."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

MIDWAY = "midway"  # in a checkpoint inside an epoch: what the rest of the epoch depends on
FULL_BYTES = 2**20  # free, after a failed write


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write beside `path`, then move the file into place in one step."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save(checkpoint, partial)
        partial.replace(path)
    except BaseException as error:
        full = shutil.disk_usage(path.parent).free < FULL_BYTES
        partial.unlink(missing_ok=True)
        if full and isinstance(error, RuntimeError):  # torch's writer does not tell why
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def midway_file(checkpoint: Path) -> Path:
    """Return the file of the checkpoint inside an epoch, beside the one of its end."""
    return checkpoint.with_name(f"{MIDWAY}.ckpt")


def load_weights(module: pl.LightningModule, path: Path) -> None:
    """Give a module the weights, and what else it has saved, of a checkpoint."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)


def is_last(checkpoint: Mapping[str, Any], epochs: int | None) -> bool:
    """Whether a checkpoint is of the last epoch, so that nothing trains on from it."""
    if MIDWAY in checkpoint:
        return False
    states = checkpoint.get("callbacks", {}).items()
    stopped = any(
        state["stopped_epoch"] > 0 for name, state in states if name.startswith("EarlyStopping")
    )
    return stopped or checkpoint["epoch"] + 1 == epochs


class CheckpointFile(TorchCheckpointIO):
    """Writes checkpoints straight to their file, the one of the last epoch without the optimiser.

    Lightning's own writer copies into memory first, then into /tmp, perhaps on another disk.
    """

    def __init__(
        self,
        epochs: int,
        saved: Callable[[], None] = lambda: None,
        *,
        keep_optimizer: bool = False,
    ) -> None:
        """Take the most epochs of the run, and whether their end keeps the optimiser.

        `saved` is called after each checkpoint.
        """
        super().__init__()
        self.epochs, self.saved, self.keep_optimizer = epochs, saved, keep_optimizer

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save what Lightning has collected."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if is_last(checkpoint, self.epochs) and not self.keep_optimizer:
            checkpoint = {**checkpoint, "optimizer_states": [], "lr_schedulers": []}
            checkpoint.pop("current_model_state", None)  # beside the averaged weights of ema=
        save(checkpoint, Path(path))
        self.saved()
