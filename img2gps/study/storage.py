"""Storages of ledgers: a journal file that survives a kill at any moment, or any Optuna URL.

A database may also be behind a proxy: see `img2gps.study.proxy`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file

from img2gps.core.errors import BadInput
from img2gps.core.hosts import is_loopback
from img2gps.core.stores import url_of
from img2gps.study.patience import Patience, Unreachable, is_crowded
from img2gps.study.spec import Limits

log = logging.getLogger(__name__)

JOURNAL = "ledger.journal"
OPENING_TRIES = 8
CROWDED_S = Limits().storage_patience_s  # until other workers leave a connection free
SQLITE_PATIENCE_S = 60.0  # seconds that a writer waits for another
PROXY = "grpc://"
PROXY_PORT = 13000  # Optuna's
PROXY_PATIENCE_S = 10.0  # with a proxy that has not answered yet


class _Journal(JournalFileBackend):
    """Optuna's journal file; `bulk` writes many lines and waits for the disk once."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_MendingLock(str(path)))
        self.path, self._bulk = path, False

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if not self._bulk:
            super().append_logs(logs)
            return
        with get_lock_file(self._lock), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        self._bulk = True
        try:
            yield
        finally:
            self._bulk = False
            with self.path.open("rb") as file:
                os.fsync(file.fileno())


@contextmanager
def in_bulk(storage: BaseStorage) -> Iterator[None]:
    """Write the journal lines of the block with one wait for the disk; a power cut may lose all."""
    backend = getattr(storage, "_backend", None)
    with backend.bulk() if isinstance(backend, _Journal) else nullcontext():
        yield


def database_of(storage: BaseStorage) -> RDBStorage | None:
    """Return the database behind a storage; None for a journal."""
    found = getattr(storage, "_backend", storage)  # Optuna puts a cache before it
    return found if isinstance(found, RDBStorage) else None


def file_of(storage: BaseStorage | None) -> Path | None:
    """Return the file that a journal or SQLite keeps its trials in; None for a database server."""
    backend = getattr(storage, "_backend", None)
    if isinstance(backend, _Journal):
        return backend.path
    database = None if storage is None else database_of(storage)
    if database is None or database.engine.dialect.name != "sqlite":
        return None
    return Path(str(database.engine.url.database))


class _KernelLock(BaseJournalFileLock):
    """A lock that the kernel releases when its holder ends.

    Optuna's own lock leaves a file behind when its holder is killed, and everyone waits for 30 s.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class _MendingLock(_KernelLock):
    """Removes the torn line that a writer leaves when it is killed half-way.

    Optuna would append to that line, and nobody could read the file again. Readers never take a
    line without its end, so the removal loses nothing that anyone has seen.
    """

    def __init__(self, journal: str) -> None:
        super().__init__(f"{journal}.lock")
        self._journal = journal

    def acquire(self) -> bool:
        taken = super().acquire()
        try:
            cut_torn_line(Path(self._journal))
        except BaseException:
            self.release()
            raise
        return taken


def cut_torn_line(path: Path) -> None:
    """Remove what follows the last line end."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def default_url(root: str | Path, study: str) -> str:
    """Return the journal file in the study's own folder.

    Raises:
        BadInput: that folder is the local copy of a store, which other machines do not see.
    """
    if (url := url_of(root)) is not None:
        raise BadInput(
            f"runs.root={url}: keeps no ledger, through which machines agree who runs what; give "
            "hydra.sweeper.storage=postgresql://USER@HOST/DATABASE (img2gps worker: --storage)"
        )
    return str(Path(root) / study / JOURNAL)


def open_storage(url: str) -> BaseStorage:
    """Open the storage behind a journal file's path, a database URL, or grpc://HOST:PORT.

    Raises:
        BadInput: the journal is damaged, or the database or the proxy cannot be reached or has no
            driver here.
    """
    quiet()
    if url.startswith(PROXY):
        return _behind_proxy(url)
    return _database(url) if "://" in url else _journal(Path(url))


def _journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{path.parent}: cannot be made ({error.strerror}); give another runs.root"
        ) from error
    try:
        return JournalStorage(_Journal(path))
    except (ValueError, KeyError, TypeError) as error:  # lines that no journal has
        raise BadInput(
            f"{path}: the ledger is damaged ({type(error).__name__}); put back a copy, or remove "
            "it and start the study again: its finished runs are found and not repeated"
        ) from error


def _database(url: str) -> BaseStorage:
    sqlite = url.startswith("sqlite")
    # A server may close an idle connection. One is kept; the others are left to other workers.
    arguments: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 9}
    if sqlite:
        arguments = {"connect_args": {"timeout": SQLITE_PATIENCE_S}}
    opening = partial(_retried, lambda: RDBStorage(_with_driver(url), engine_kwargs=arguments))
    try:
        storage: RDBStorage = Patience(None, CROWDED_S, passes=is_crowded).patient(opening)()
    except Unreachable as error:
        raise BadInput(
            f"hydra.sweeper.storage={masked(url)}: takes no more connections, also after "
            f"{CROWDED_S:g} s ({error}); raise its max_connections, or let workers share those of "
            "`img2gps proxy`"
        ) from error
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise BadInput(
            f"hydra.sweeper.storage={masked(url)}: cannot be opened ({reason}); check that the "
            "server runs and the URL is right, or leave storage out for a journal file"
        ) from error
    if sqlite:
        _begin_immediate(storage)
    return storage


def _behind_proxy(url: str) -> BaseStorage:
    where = f"hydra.sweeper.storage={url}"
    try:
        import grpc

        from img2gps.study.proxied import ProxiedStorage
    except ImportError as error:
        raise BadInput(
            f"{where}: gRPC is not installed; run `pip install 'img2gps[grpc]'`"
        ) from error
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PROXY_PORT
        storage = ProxiedStorage(host=host, port=port)
        storage.wait_server_ready(PROXY_PATIENCE_S)
        with suppress(KeyError):  # no study has that name, as a database that answers knows
            storage.get_study_id_from_name("")
    except grpc.RpcError as error:
        raise BadInput(
            f"{where}: the proxy cannot read its database; check that the database runs, and that "
            "`img2gps proxy` was given the right one"
        ) from error
    except (ConnectionError, ValueError) as error:
        raise BadInput(
            f"{where}: no proxy answers there ({error}); start one by "
            "`img2gps proxy --storage postgresql://USER@HOST/DATABASE`"
        ) from error
    if not is_loopback(host):
        log.warning("%s: is not on this machine. %s", url, OPEN_TO_ALL)
    return storage


OPEN_TO_ALL = (
    "A proxy asks for no password and encrypts nothing, so that whoever reaches its port can read, "
    "change and delete studies: keep it on 127.0.0.1 and reach it through a tunnel (ssh -L)."
)


def _retried(opening: Callable[[], RDBStorage]) -> RDBStorage:
    """Open a database; try again where several processes make its tables at the same moment."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(OPENING_TRIES):
        try:
            return opening()
        except (IntegrityError, ProgrammingError):  # another process was faster by a moment
            time.sleep(random.uniform(0.2, 1.0))
    return opening()


def _with_driver(url: str) -> str:
    """Name the driver for PostgreSQL: psycopg 3, which the extra `postgres` installs."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def _begin_immediate(storage: RDBStorage) -> None:
    """Make SQLite take the write lock when a transaction begins.

    If a transaction could read before it takes the lock, two workers could claim the same run.
    """
    from sqlalchemy import event

    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late

    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", on_connect)
    event.listen(storage.engine, "begin", on_begin)
    storage.engine.dispose()  # closes the connections opened before


def masked(url: str) -> str:
    """Return the URL without its passwords.

    >>> masked("postgresql://me:secret@h/db?user=me&password=secret")
    'postgresql://me:***@h/db?user=me&password=***'
    """
    url = re.sub(r"(://[^:/@]*):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"([?&][^=&]*(?:password|passwd|pwd)=)[^&]*", r"\1***", url)


def quiet() -> None:
    """Silence what Optuna and alembic say of trials and migrations; a study has its own display."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # e.g. TPE's groups
