"""Paths as people type them, and of what comes with the package."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

from img2gps.core.errors import BadInput


def expanded(given: str | Path, key: str) -> Path:
    """The path with `~` and `~user` replaced by the folder that they stand for.

    Raises:
        BadInput: a user whom this machine does not know.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise BadInput(f"{key}={given}: no such user's home; give the whole path") from error


def package_folder(name: str) -> Path:
    """`conf` or `sweeps`: inside the installed package, else beside it in a checkout."""
    package = Path(str(importlib.resources.files("img2gps")))
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is neither in {package} nor beside it")


def cache_folder() -> Path:
    """Return where data sets are cached unless data.cache says otherwise.

    That is IMG2GPS_CACHE, or `img2gps` in the user's cache folder.
    """
    if chosen := os.environ.get("IMG2GPS_CACHE"):
        return expanded(chosen, "IMG2GPS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "img2gps"
