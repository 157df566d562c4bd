"""Paths that people type, and folders that belong to the package or to the user."""

from __future__ import annotations

import errno
import importlib.resources
import os
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.stores import local_copy

RUNS_VARIABLE = "IMG2GPS_RUNS"


def expanded(given: str | Path, key: str) -> Path:
    """Return the path with `~` and `~user` replaced by the home folder that they stand for.

    Raises:
        BadInput: this machine does not know the user, or the system refuses even to look there.
    """
    if given == "":  # Path would make it the current folder
        raise BadInput(f"{key}: is empty; give a path")
    try:
        path = Path(given).expanduser()
    except RuntimeError as error:
        raise BadInput(f"{key}={given}: no such user's home; give the whole path") from error
    try:
        path.lstat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # it may still be made
            raise BadInput(f"{path}: {error.strerror}; give another path ({key})") from error
    return path


def runs_root(given: str | Path, key: str) -> Path:
    """Return the folder of runs that a path names, or the local copy of the store of a URL.

    Raises:
        BadInput: the path or the URL cannot be used.
    """
    if "://" in str(given):
        return local_copy(str(given), key, cache_folder() / "stores")
    return expanded(given, key)


def runs_folder() -> Path:
    """Return the folder of all studies and runs: IMG2GPS_RUNS, or `runs` in the working folder."""
    return runs_root(os.environ.get(RUNS_VARIABLE) or "runs", RUNS_VARIABLE)


def package_folder(name: str) -> Path:
    """Return `conf`, `sweeps` or `models`: in an installed package inside it, else beside it."""
    package = Path(str(importlib.resources.files("img2gps")))
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is neither in {package} nor beside it")


def cache_folder() -> Path:
    """Return the folder of data set caches: IMG2GPS_CACHE, or `img2gps` in the user's cache."""
    if chosen := os.environ.get("IMG2GPS_CACHE"):
        return expanded(chosen, "IMG2GPS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "img2gps"
