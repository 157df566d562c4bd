"""Where a ledger lives: a journal file that survives a kill at any moment, or any Optuna URL."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from img2gps.core.errors import BadInput

JOURNAL = "ledger.journal"
SQLITE_PATIENCE_S = 60.0  # how long a writer waits for another


class _KernelLock(BaseJournalFileLock):
    """A lock that the kernel drops with its holder.

    Optuna's own leaves a file behind when its holder is killed and stalls everyone for 30 s.
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


class _Journal(JournalFileBackend):
    """Optuna's journal file, without the torn line that a writer killed half-way leaves.

    Optuna would append to that line and no one could read the file again. Readers never take a
    line without its end, so cutting it off loses nothing that anyone has seen.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_MendingLock(str(path)))


class _MendingLock(_KernelLock):
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
    """Drop what follows the last line end."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0 or _byte(file, size - 1) == b"\n":
            return
        while size > 0 and _byte(file, size - 1) != b"\n":
            size -= 1
        file.truncate(size)


def _byte(file: Any, at: int) -> bytes:
    file.seek(at)
    return bytes(file.read(1))


def default_url(root: str, study: str) -> str:
    """The journal file in the study's own folder."""
    return str(Path(root) / study / JOURNAL)


def open_storage(url: str) -> BaseStorage:
    """The storage behind a journal file's path or a database URL.

    Raises:
        BadInput: a damaged journal file, a database that cannot be reached, or whose driver is
            missing.
    """
    quiet()
    if "://" not in url:
        path = Path(url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"{path.parent}: cannot be made ({error.strerror}); give another runs.root"
            ) from error
        try:
            return JournalStorage(_Journal(path))
        except (ValueError, KeyError, TypeError) as error:  # lines that are not the journal's
            raise BadInput(
                f"{path}: the ledger is damaged ({type(error).__name__}); put back a copy, or "
                "remove it and start the study again: its finished runs are found and not repeated"
            ) from error
    arguments: dict[str, Any] = {"pool_pre_ping": True}  # a server may close an idle connection
    sqlite = url.startswith("sqlite")
    if sqlite:
        arguments = {"connect_args": {"timeout": SQLITE_PATIENCE_S}}
    try:
        storage = RDBStorage(_with_driver(url), engine_kwargs=arguments)
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise BadInput(
            f"hydra.sweeper.storage={masked(url)}: cannot be opened ({reason}); check that the "
            "server runs and the URL is right, or leave storage out for a journal file"
        ) from error
    if sqlite:
        _begin_immediate(storage)
    return storage


def _with_driver(url: str) -> str:
    """PostgreSQL through psycopg 3, which the extra `postgres` installs."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def _begin_immediate(storage: RDBStorage) -> None:
    """SQLite: take the write lock when a transaction begins.

    A transaction that reads first and writes later lets two workers claim the same cell.
    """
    from sqlalchemy import event

    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late

    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", on_connect)
    event.listen(storage.engine, "begin", on_begin)
    storage.engine.dispose()  # connections opened before


def masked(url: str) -> str:
    """The URL without its passwords.

    >>> masked("postgresql://me:secret@h/db?user=me&password=secret")
    'postgresql://me:***@h/db?user=me&password=***'
    """
    url = re.sub(r"(://[^:/@]*):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"([?&][^=&]*(?:password|passwd|pwd)=)[^&]*", r"\1***", url)


def quiet() -> None:
    """Optuna and alembic speak of trials and migrations; a study has its own table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # TPE's groups, QMC
