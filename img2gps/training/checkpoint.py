"""Checkpoints on disk, which exist whole or not at all and are written without a copy in memory."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

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


class CheckpointFile(TorchCheckpointIO):
    """Lightning's own writer copies into memory first, then into /tmp, perhaps on another disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save what Lightning has collected."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save(checkpoint, Path(path))
