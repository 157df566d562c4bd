"""Run identity, the run folder, and its files: written so that a kill at any moment is harmless.

Knows nothing of torch, Lightning, Hydra, W&B or Optuna. The formats are in docs/design.md.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_csv, write_text_atomic
from img2gps.core.paths import expanded

CHECKPOINT = "last.ckpt"
CONFIG = "config.yaml"
HISTORY = "history.csv"
PREDICTIONS = "predictions.csv"
PREDICTIONS_BEST = "predictions_best.csv"
PREDICTIONS_TEST = "predictions_test.csv"
RESULT = "result.json"
LOCK = ".lock"
WINNER = "winner.json"  # of a study

SCHEMA = 1


class Locked(BadInput):
    """Another process is at work on the same run."""


class Pruned(Exception):
    """Raised by an epoch hook to end a run that is not worth going on with."""


class Diverged(Exception):
    """The loss became NaN or infinite."""


def run_id(identity: Mapping[str, Any]) -> str:
    """Ten hex digits of SHA-256 over what can change the result, in canonical JSON.

    >>> run_id({"lr": 0.001, "seed": 0}) == run_id({"seed": 0, "lr": 0.001})
    True
    """
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def without_fold(cell: str) -> str:
    """The cell that is ranked: the folds of a k-fold split, together, are one.

    >>> without_fold("lr=0.001,split=kfold,split.fold=3"), without_fold("split.fold=3")
    ('lr=0.001,split=kfold', 'folds')
    """
    return re.sub(r"(^|,)split\.fold=[^,]*", "", cell).lstrip(",") or "folds"


class History:
    """history.csv: one row an epoch, on disk before the next begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, float]]:
        """All whole rows; a row cut short by a kill is left out."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1].splitlines()
        rows = []
        for row in csv.DictReader(whole):
            rows.append({key: float(value) if value else math.nan for key, value in row.items()})
        return rows

    def append(self, row: Mapping[str, float]) -> None:
        """Add one epoch; the first row names the columns."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({key: repr(value) for key, value in row.items()})
            file.flush()
            os.fsync(file.fileno())

    def cut_after(self, epoch: int) -> None:
        """Drop rows newer than `epoch` (their weights were lost) and rows cut short."""
        rows = [row for row in self.rows() if row["epoch"] <= epoch]
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        exact = [
            {key: int(value) if key == "epoch" else repr(value) for key, value in row.items()}
            for row in rows
        ]
        write_csv(self.path, list(exact[0]), exact)


class RunFolder:
    """One run's folder, locked while it is open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = History(path / HISTORY)
        self.checkpoint = path / CHECKPOINT

    @property
    def result(self) -> dict[str, Any] | None:
        """What result.json says, or None."""
        return read_json(self.path / RESULT)

    def clear(self) -> None:
        """Forget everything but the lock: the run starts anew."""
        (self.path / RESULT).unlink(missing_ok=True)  # first: without it nothing counts as done
        for path in self.path.iterdir():
            if path.name == LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def open_folder(path: Path) -> Iterator[RunFolder]:
    """The run folder, made if need be, for this process alone.

    Raises:
        Locked: another process is at work on the same run.
        BadInput: the folder cannot be made or written.
    """
    with _lock_file(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked(
                f"{path}: another process is running this run; wait for it, or stop it first"
            ) from error
        yield RunFolder(path)  # the kernel drops the lock with the file, also after kill -9


def _lock_file(path: Path) -> TextIO:
    try:
        path.mkdir(parents=True, exist_ok=True)
        return (path / LOCK).open("w")
    except OSError as error:
        root = path.parent.parent  # <root>/<study>/<run id>
        raise BadInput(
            f"runs.root={root}: {error.filename} cannot be written ({error.strerror}); give "
            "runs.root=FOLDER that you may write to"
        ) from error


def read_config_plain(folder: Path) -> dict[str, Any]:
    """Return a run's config.yaml as plain values, unchecked; empty if it cannot be read."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader is much faster
    try:
        plain = yaml.load((folder / CONFIG).read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return plain if isinstance(plain, dict) else {}


def write_config(folder: Path, plain: Mapping[str, Any]) -> None:
    """Write a run's config.yaml, whole or not at all."""
    text = yaml.safe_dump(dict(plain), sort_keys=False, allow_unicode=True)
    write_text_atomic(folder / CONFIG, text)


def find_result(identifier: str, roots: Sequence[Path]) -> Path | None:
    """Folder of a finished run with this id in any study below `roots`; None if there is none."""
    for root in roots:
        for path in sorted(root.glob(f"*/{identifier}/{RESULT}")):
            result = read_json(path)
            if result is not None and result.get("state") == "finished":
                return path.parent
    return None


def list_folders(root: Path) -> list[Path]:
    """Every run folder below a runs root, sorted: `<study>/<run id>` with a config.yaml."""
    return sorted(path.parent for path in root.glob(f"*/*/{CONFIG}"))


def resolve_folder(name: str, roots: Sequence[Path]) -> Path:
    """The run folder that a user means by a path, (the start of) a run id, or a study's winner.

    Raises:
        BadInput: none, or several.
    """
    given = expanded(name, "run")
    if (given / CONFIG).is_file():
        return given
    for root in roots:  # what img2gps select has frozen
        winner = read_json(root / name / WINNER) or {}
        if (root / str(winner.get("path")) / CONFIG).is_file():
            return root / str(winner["path"])
    found = [
        folder
        for root in roots
        for folder in list_folders(root)
        if len(name) >= 4 and folder.name.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    where = ", ".join(str(root) for root in roots)
    if not found:
        raise BadInput(
            f"{name}: no such run below {where}; give a run folder, a run id, or a study "
            "of which img2gps select has frozen the winner"
        )
    listed = ", ".join(str(folder) for folder in found[:4])
    raise BadInput(f"{name}: several runs are called so ({listed}); give the folder")
