"""Write and read small files so that no reader ever sees half of one."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it exists whole or not at all, also after a power cut."""
    _write_atomic(path, lambda file: file.write(content))


def _write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_array_atomic(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file as `write_bytes_atomic` does, without a copy in memory."""
    _write_atomic(path, lambda file: np.save(file, array))


def write_text_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file as `write_bytes_atomic` does."""
    write_bytes_atomic(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN and infinity become null, because JSON has no number for them."""
    text = json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False)
    write_text_atomic(path, text + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table atomically. None becomes an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ()), list(reader)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if there is no readable one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
