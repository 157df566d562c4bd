"""Stores: where `runs.root=URL` keeps runs, and the folder of this machine in which they are made.

A store is a bucket, or another folder that a URL names, which machines share in place of a disk.
Programs work in a *local copy* of it. Everything that takes a folder of runs takes a local copy,
which tells by a file in it that it is one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.files import write_text_atomic

MARK = ".store"  # in a local copy: the URL of its store
LONGEST_NAME = 60  # characters of the URL in the name of its local copy


def local_copy(url: str, key: str, below: Path) -> Path:
    """Return the folder, one of those in `below`, in which a store's runs are made and read.

    Raises:
        BadInput: the URL cannot be used, or the folder cannot be made.
    """
    url = _checked(url, key)
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", url).strip("-.")[-LONGEST_NAME:]
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    folder = below / f"{readable}-{digest}"
    if url_of(folder) != url:
        try:
            write_text_atomic(folder / MARK, url + "\n")
        except OSError as error:
            raise BadInput(
                f"{key}: {folder}, where its runs are made, cannot be written ({error.strerror}); "
                "let IMG2GPS_CACHE name a folder that you may write to"
            ) from error
    return folder


def url_of(root: str | Path) -> str | None:
    """Return the URL of the store that a folder is the local copy of; None if it is a plain one."""
    try:
        return (Path(root) / MARK).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def as_typed(root: str | Path) -> str:
    """Return what a user gives to name a folder of runs: a store's URL, or the path itself."""
    return url_of(root) or str(root)


def _checked(url: str, key: str) -> str:
    """Return the URL without a slash at its end. A refusal never repeats a password."""
    scheme, _, rest = url.partition("://")
    if "::" in url or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or not rest.strip("/"):
        raise BadInput(f"{key}: not the URL of a store; give one such as s3://BUCKET/FOLDER")
    if re.search(":.*@", rest) or re.search(r"[?#]", rest):
        raise BadInput(
            f"{key}={scheme}://...: must hold no key, password or option; give these as the store "
            "expects them, such as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if scheme == "file" and not rest.startswith("/"):
        raise BadInput(f"{key}={url}: the path must be absolute; give file:///FOLDER")
    if any(part in (".", "..") for part in rest.split("/")):
        raise BadInput(f"{key}={url}: must not hold `.` or `..`; give the whole path")
    return url.rstrip("/")
