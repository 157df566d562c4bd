"""Paths as people type them."""

from __future__ import annotations

from pathlib import Path

from img2gps.errors import BadInput


def expanded(given: str | Path, key: str) -> Path:
    """The path with `~` and `~user` replaced by the folder that they stand for.

    Raises:
        BadInput: a user whom this machine does not know.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise BadInput(f"{key}={given}: no such user's home; give the whole path") from error
