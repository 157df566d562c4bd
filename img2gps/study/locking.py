"""Let one process at a time decide something about a study, among all machines at work on it."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

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
    folder = root / study
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"runs.root={root}: {folder} cannot be made ({error.strerror}); give another runs.root"
        ) from error
    apart = url_of(root) is not None
    with (
        _file_lock(folder / LOCK),
        _ledger_lock(ledger, study) if ledger is not None and apart else nullcontext(),
    ):
        yield


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
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
