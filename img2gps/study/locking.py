"""Let one process at a time decide something about a study, among all machines at work on it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from img2gps.core.errors import BadInput
from img2gps.core.stores import url_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

LOCK = ".engine.lock"


@contextmanager
def study_lock(root: Path, study: str, ledger: BaseStorage | None = None) -> Iterator[None]:
    """Lock a study in its folder, which machines share; without such a folder, in its ledger, too.

    Raises:
        BadInput: the folder cannot be made.
    """
    with folder_lock(root, study), ledger_lock(root, study, ledger):
        yield


@contextmanager
def folder_lock(root: Path, study: str) -> Iterator[None]:
    """Lock a study in its folder; a new one that is refused meanwhile leaves no folder behind.

    Its ledger is to be opened inside: another process may have removed a file opened earlier.

    Raises:
        BadInput: the folder cannot be made.
    """
    folder = root / study
    try:
        with _file_lock(folder / LOCK):
            new = [path.name for path in folder.iterdir()] == [LOCK]
            try:
                yield
            except BadInput:
                if new:
                    _remove_unused(folder)
                raise
    except OSError as error:
        if folder.is_dir():
            raise
        raise BadInput(
            f"runs.root={root}: {folder} cannot be made ({error.strerror}); give another runs.root"
        ) from error


def _remove_unused(folder: Path) -> None:
    """Remove a study's folder that holds nothing but locks and a ledger without runs."""
    from img2gps.study.storage import JOURNAL

    found = list(folder.iterdir())
    if {path.name for path in found} <= {LOCK, JOURNAL, f"{JOURNAL}.lock"}:
        for path in found:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # another process has begun to use it
            folder.rmdir()


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = path.open("w")
        except FileNotFoundError:  # its folder has just been removed
            continue
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_at(path, lock):
                yield
                return


def _is_at(path: Path, lock: IO[str]) -> bool:
    """Return whether the open file is still the one at this path, which may have been removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False


@contextmanager
def ledger_lock(root: Path, study: str, ledger: BaseStorage | None) -> Iterator[None]:
    """Lock a study in its ledger where machines share no folder."""
    if ledger is None or url_of(root) is None:
        yield
    else:
        with _ledger_lock(ledger, study):
            yield


@contextmanager
def _ledger_lock(ledger: BaseStorage, study: str) -> Iterator[None]:
    from img2gps.study.storage import file_of
    from img2gps.study.tickets import ticket_lock

    if (file := file_of(ledger)) is not None:
        with _file_lock(file.with_name(f"{file.name}.{LOCK}")):
            yield
    elif (database := _postgresql(ledger)) is not None:
        with _advisory_lock(database, study):
            yield
    else:  # a database whose locks we do not know, or cannot reach through its proxy
        with ticket_lock(ledger, study):
            yield


def _postgresql(ledger: BaseStorage) -> RDBStorage | None:
    from img2gps.study.storage import database_of

    database = database_of(ledger)
    found = database is not None and database.engine.dialect.name == "postgresql"
    return database if found else None


@contextmanager
def _advisory_lock(database: RDBStorage, study: str) -> Iterator[None]:
    """Hold a lock of PostgreSQL, which the server drops with the connection, also after kill -9."""
    from sqlalchemy import text

    digest = hashlib.sha256(f"img2gps {study}".encode()).digest()
    key = {"key": int.from_bytes(digest[:8], signed=True)}
    with database.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
