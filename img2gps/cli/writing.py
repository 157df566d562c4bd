"""Refuse, in one line, files and folders that an option names and that cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from img2gps.core.errors import BadInput


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Raise `BadInput` where the block cannot write what `option` names."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"{option} {path}: cannot be written ({error.strerror or error}); name a place that "
            "you may write to"
        ) from error


def check_file(option: str, path: Path | None) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        BadInput: naming the option.
    """
    if path is None:
        return
    if path.is_dir():
        raise BadInput(f"{option} {path}: is a folder; name a file")
    check_folder(option, path.parent)


def check_folder(option: str, path: Path | None) -> None:
    """Refuse a folder that cannot be made or written to, before anything is computed.

    Raises:
        BadInput: naming the option.
    """
    if path is None:
        return
    existing = next((place for place in (path, *path.parents) if place.exists()), Path())
    if not existing.is_dir():
        raise BadInput(f"{option}: {existing} is a file, not a folder; name another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise BadInput(f"{option}: you may not write to {existing}; name another place")
