"""Where MLflow keeps runs: a server that the user names, or a SQLite file beside the runs.

mlflow is imported inside functions, because the import takes seconds.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from img2gps.config.schema import LoggerConfig
from img2gps.core.errors import BadInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS = "MLFLOW_TRACKING_URI"  # MLflow's own variable: the address may hold a password
FILE = "mlflow.db"  # below the runs root, as the next two are
ARTIFACTS = "mlflow-artifacts"
LOCK = ".mlflow.lock"
FILE_S = 120.0  # a new file gets its tables in a second, on a busy machine in twenty
RETRY_S = 600  # after a failure, further runs of the process leave the server alone for this long
_SECRET = re.compile(r"(?<=://)\S*@|(?<=[?&])(password|token)=[^&\s]*")

_unreachable_at: float | None = None


@dataclass(frozen=True)
class Store:
    """An open store, and the experiment in it that runs belong to."""

    client: MlflowClient
    experiment_id: str
    address: str
    lock: FileLock  # of all processes that share the runs' folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes out of a SQLite file; a server takes care of that itself."""
        if not is_file(self.address):
            yield
            return
        with self.lock:
            yield


def check_installed() -> None:
    """Check that MLflow is there.

    Raises:
        BadInput: it is not.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise BadInput(
            "logger=mlflow: MLflow is not installed; run `pip install 'img2gps[mlflow]'` or choose "
            "another logger"
        )


def address_of(root: Path) -> str:
    """Return the store's address for runs below a root. It may hold a password."""
    return os.environ.get(ADDRESS) or f"sqlite:///{(root / FILE).resolve()}"


def is_file(address: str) -> bool:
    """Return whether an address is a SQLite file, which is there even if it takes its time."""
    return address.startswith("sqlite:")


def masked(text: str) -> str:
    """Return a text without the passwords of the addresses in it.

    >>> masked("http://me:secret@host/x?token=abc&a=1 is down")
    'http://***@host/x?***&a=1 is down'
    """
    return _SECRET.sub(lambda match: "***@" if match[0].endswith("@") else "***", text)


def said(error: BaseException) -> str:
    """Return the first line of an error's message without passwords, for a warning."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return masked(lines[0].partition(" with exception ")[0])[:200]  # repeats the address


def patience_s(address: str, logger: LoggerConfig) -> float:
    """Return the seconds that a store may take to answer."""
    return max(logger.timeout_s, FILE_S) if is_file(address) else logger.timeout_s


def open_store(root: Path, logger: LoggerConfig) -> Store:
    """Open the store for runs below a root, and make what it lacks.

    Raises:
        Exception: whatever MLflow raises when the server does not answer within the timeout.
    """
    _configure(logger.timeout_s)
    from mlflow import MlflowClient

    address = address_of(root)
    lock = FileLock(root / LOCK, timeout=patience_s(address, logger))
    with lock:  # two processes that make the same tables or experiment fail
        client = MlflowClient(address)
        found = client.get_experiment_by_name(logger.project)
        if found is not None:
            return Store(client, found.experiment_id, address, lock)
        place = (root / ARTIFACTS).resolve().as_uri() if is_file(address) else None
        made = client.create_experiment(logger.project, artifact_location=place)
        return Store(client, made, address, lock)


def _configure(timeout_s: float) -> None:
    """Have MLflow send no telemetry, say nothing, and give up in time, unless the user says else.

    Must be called before mlflow is imported.
    """
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, int(timeout_s))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # retries are no news


def note_unreachable() -> None:
    """Have the next runs of this process leave the server alone, so that not each waits for it."""
    global _unreachable_at
    _unreachable_at = time.monotonic()


def recently_unreachable() -> bool:
    """Return whether a run of this process recently failed to reach the server."""
    return _unreachable_at is not None and time.monotonic() - _unreachable_at < RETRY_S
