"""Retry a storage that is unavailable for a while: its server restarts, or the disk is full."""

from __future__ import annotations

import errno
import logging
import random
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError

log = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
QUIET_S = 5.0  # shorter absences are not reported


class Unreachable(BaseException):  # a BaseException, so that training code does not catch it
    """The storage did not come back in time."""


class Patience:
    """Tries a storage's calls again until it answers, for `patience_s` seconds at most.

    Attributes:
        patience_s: after an absence of that length, every call fails at once.
        hurried: asked before each try; once it returns true, nothing is tried again.
    """

    def __init__(
        self,
        storage: BaseStorage | None,
        patience_s: float,
        passes: Callable[[BaseException], bool] | None = None,
    ) -> None:
        """Make the calls of a storage patient, if there is one yet.

        Args:
            storage: the storage.
            patience_s: how long to try again.
            passes: tells which errors may pass by themselves; by default `is_passing`.
        """
        self.patience_s, self._passes = patience_s, passes or is_passing
        self.hurried: Callable[[], bool] = lambda: False
        self._gone = False
        for name in dir(BaseStorage) if storage is not None else ():
            if not name.startswith("_"):
                setattr(storage, name, self.patient(getattr(storage, name)))

    def patient(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that is tried again."""

        @wraps(call)
        def tried(*args: Any, **options: Any) -> Any:
            started, pause, told = time.monotonic(), FIRST_PAUSE_S, False
            while True:
                try:
                    found = call(*args, **options)
                except Exception as error:
                    if not self._passes(error):
                        raise
                    away = time.monotonic() - started
                    reason = _reason(error)
                    if self._gone or away > self.patience_s or self.hurried():
                        self._gone = True
                        raise Unreachable(reason) from error
                    if away > QUIET_S and not told:
                        log.warning("the ledger cannot be reached (%s); trying again", reason)
                        told = True
                    # Jitter, so that many workers do not come back at the same moment.
                    time.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                else:
                    self._gone = False
                    return found

        return tried


def _reason(error: BaseException) -> str:
    """Return what the database or the disk says, without what SQLAlchemy adds."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if _from_proxy(cause):
        cause = cause.details()  # type: ignore[union-attr]  # of a class that may not be loaded
    return " ".join(str(getattr(cause, "orig", None) or cause).split())[:200]


def is_passing(error: BaseException) -> bool:
    """Whether an error of a storage may pass by itself."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    # A connection that breaks while its transaction ends leaves a transaction to roll back.
    gone = OperationalError | InterfaceError | PendingRollbackError
    return isinstance(error, gone) or is_full(error) or _from_proxy(error)


def is_crowded(error: BaseException | None) -> bool:
    """Whether PostgreSQL has as many connections as it allows."""
    crowded = ("too many clients already", "remaining connection slots are reserved")
    while error is not None:
        if any(words in str(error) for words in crowded):
            return True
        error = error.__cause__
    return False


def _from_proxy(error: BaseException | None) -> bool:
    """Whether a proxy cannot be reached, or itself cannot reach its database."""
    grpc = sys.modules.get("grpc")  # loaded only where the ledger is behind a proxy
    return grpc is not None and isinstance(error, grpc.RpcError)


def is_full(error: BaseException | None) -> bool:
    """Whether a disk without room is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False
