"""A store's files by their names, and what to do while the store cannot be reached."""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from img2gps.core.errors import BadInput
from img2gps.core.stores import url_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 300.0  # with a store that cannot be reached, where nothing can go on without it
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
QUIET_S = 5.0  # shorter absences are not reported
PARTIAL = ".partial-"
# In these a file is seen when it is whole. Elsewhere it is written under another name first.
WHOLE_AT_ONCE = ("s3", "s3a", "gs", "gcs", "az", "abfs", "memory")
OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    # The retries are ours, and a server that is gone must be noticed soon.
    "s3": {"config_kwargs": {"connect_timeout": 5, "retries": {"max_attempts": 1}}},
}
CHATTY = ("botocore", "aiobotocore")  # they tell where they have found a key
PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}


class StoreAway(BadInput):
    """The store cannot be reached, or refuses. What was to be copied to it is still here."""


class Vanished(Exception):
    """Another machine has deleted the file since it was listed."""


class Store:
    """The files below a URL. Names are relative to it, with slashes.

    Its calls fail at once; `patiently` tries them again.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._scheme = url.partition("://")[0]

    @classmethod
    def of(cls, root: str | Path) -> Store | None:
        """Return the store that a folder is the local copy of; None for a plain folder."""
        url = url_of(root)
        return None if url is None else cls(url)

    @cached_property
    def _files(self) -> AbstractFileSystem:
        import fsspec

        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            # Listings must be fresh: other machines write here, too.
            options = {"use_listings_cache": False, **OPTIONS.get(self._scheme, {})}
            return fsspec.filesystem(self._scheme, **options)
        except ImportError as error:
            package = PACKAGES.get(self._scheme, "the package that fsspec needs for it")
            remedy = "'img2gps[object-store]'" if package == "s3fs" else package
            raise BadInput(
                f"runs.root={self.url}: {package} is not installed; pip install {remedy}"
            ) from error
        except ValueError as error:
            raise BadInput(
                f"runs.root={self.url}: fsspec knows no {self._scheme}://; give s3://BUCKET/FOLDER "
                "or another URL that it knows"
            ) from error

    @cached_property
    def _root(self) -> str:
        return str(self._files._strip_protocol(self.url)).rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def listing(self, below: str = "") -> dict[str, str]:
        """Return the name of each file below a folder, with a text that changes when it does."""
        folder = self._path(below).rstrip("/")
        found = self._files.find(folder, detail=True)
        return {
            path.removeprefix(self._root).lstrip("/"): _signature(info)
            for path, info in sorted(found.items())
            if PARTIAL not in path and not path.endswith("/") and ".." not in path.split("/")
        }

    def put(self, file: Path, name: str) -> None:
        """Copy a file into the store, where it is seen whole or not at all."""
        path = self._path(name)
        if self._scheme in WHOLE_AT_ONCE:
            self._files.put_file(str(file), path)
            return
        partial = f"{path}{PARTIAL}{os.getpid()}"
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(file), partial)
        self._files.mv(partial, path)

    def get(self, name: str, file: Path) -> None:
        """Copy a file out of the store; it is there whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        mine = f"{os.getpid()}-{threading.get_ident()}"
        partial = file.with_name(f".{file.name}{PARTIAL}{mine}")
        try:
            self._files.get_file(self._path(name), str(partial))
            partial.replace(file)
        except FileNotFoundError as error:
            raise Vanished(name) from error
        finally:
            partial.unlink(missing_ok=True)

    def get_all(self, wanted: dict[str, Path]) -> None:
        """Copy many small files out of the store, several at once where the store allows it.

        Unlike those of `get`, the files must not matter before all of them are there.
        """
        for file in wanted.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        if not wanted:
            return
        paths, files = [self._path(name) for name in wanted], [str(f) for f in wanted.values()]
        try:
            self._files.get(paths, files)
        except FileNotFoundError as error:
            raise Vanished(min(wanted)) from error

    def remove(self, names: Iterable[str]) -> None:
        """Delete files, in this order."""
        for name in names:
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                continue


def _signature(info: dict[str, Any]) -> str:
    changed = next((info[k] for k in ("ETag", "etag", "md5Hash", "mtime") if info.get(k)), "")
    return f"{info.get('size')} {changed}"


def patiently(
    call: Callable[[], T],
    store: Store,
    *,
    patience_s: float = PATIENCE_S,
    first: bool = False,
    kept: str = "",
) -> T:
    """Return what a call to a store returns; try it again while the store cannot be reached.

    Args:
        call: the call, which can be repeated.
        store: the store, for the message.
        patience_s: for how long.
        first: whether nothing was asked of the store before, so that it is not tried again where
            it refuses. Later, a key may have run out that somebody will renew.
        kept: what the user has to know if it stays away.

    Raises:
        StoreAway: it stayed away, or refused at the first call.
    """
    absence = Absence(store)
    while True:
        try:
            found = call()
        except BadInput:
            raise
        except Exception as error:
            if first and _is_refusal(error):
                raise StoreAway(
                    f"runs.root={store.url}: {reason(error)}; check the name, and that you may "
                    "read and write there"
                ) from error
            absence.note(error)
            if absence.seconds > patience_s:
                raise StoreAway(
                    f"{store.url}: {_trouble(error)}, also after {patience_s:g} s "
                    f"({reason(error)}); {kept}give the same command again when that has changed"
                ) from error
            time.sleep(absence.pause())
        else:
            absence.end()
            return found


class Absence:
    """Counts how long a store has been away, and says so once, and when it is back."""

    def __init__(self, store: Store) -> None:
        self._store, self._told = store, False
        self._since: float | None = None
        self._pause_s = FIRST_PAUSE_S

    @property
    def seconds(self) -> float:
        """Return how long ago the first of the calls that failed has failed."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def note(self, error: Exception) -> None:
        """Take in that a call has failed."""
        if self._since is None:
            self._since = time.monotonic()
        if self.seconds > QUIET_S and not self._told:
            self._told = True
            log.warning(
                "%s: %s (%s); trying again", self._store.url, _trouble(error), reason(error)
            )

    def pause(self) -> float:
        """Return the seconds to wait before the next try, longer each time."""
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        return pause * random.uniform(0.5, 1.0)  # so that many machines do not come back at once

    def end(self) -> None:
        """Take in that a call has worked."""
        if self._told:
            log.warning("%s answers again", self._store.url)
        self._told, self._since, self._pause_s = False, None, FIRST_PAUSE_S


def _is_refusal(error: Exception) -> bool:
    """Whether a store's error is about what was asked for: no such bucket, no access, no key."""
    not_a_folder = FileNotFoundError | NotADirectoryError | FileExistsError
    if isinstance(error, not_a_folder | PermissionError | NotImplementedError):
        return True
    if isinstance(error, OSError) and error.errno == errno.EROFS:  # a disk for reading alone
        return True
    return type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")


def _trouble(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "a disk is full, so nothing can be copied"
    return "cannot be reached"


def reason(error: Exception) -> str:
    """Return what a store says in one line, without passwords and signatures of addresses."""
    line = " ".join(str(error).split()) or type(error).__name__
    line = re.sub(r"://[^/@\s]*@", "://***@", line)
    return re.sub(r"\?[^\s\"']*", "?...", line)[:200]
