"""The run folder and its files, which survive a kill at any moment.

docs/design.md has the formats. Nothing here needs torch, Lightning, Hydra, W&B or Optuna.
"""

from __future__ import annotations

import csv
import fcntl
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_csv, write_text_atomic
from img2gps.core.paths import expanded
from img2gps.runs.records import RESULT, STUDY, read_result
from img2gps.runs.states import RunState

CHECKPOINT = "last.ckpt"
CONFIG = "config.yaml"
HISTORY = "history.csv"
PREDICTIONS = "predictions.csv"
PREDICTIONS_BEST = "predictions_best.csv"
PREDICTIONS_TEST = "predictions_test.csv"
BASELINES = "baselines.csv"
LOCK = ".lock"
MEETING = ".processes"  # through it, the processes of a run on several devices find each other
NOTE = ".store.json"  # what the store listed when the folder was last the same
WINNER = "winner.json"  # of a study
UPLOADS = "wandb.json"  # of a run or a study: what W&B has of it
# Of a study whose workers run elsewhere: how they were submitted
SUBMISSIONS = ("slurm.jobs", "ray.address", "kubernetes.yaml", "skypilot.yaml")


class Locked(BadInput):
    """Another process is working on the same run."""


class Pruned(Exception):
    """Raised by an epoch hook to end a run early, as a pruner decides."""


class Diverged(Exception):
    """The loss became NaN or infinite."""


class History:
    """history.csv: one row per epoch, on disk before the next epoch begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, float]]:
        """Return all whole rows, without one that a kill has cut short."""
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
        """Add one epoch. The first row names the columns."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({key: repr(value) for key, value in row.items()})
            file.flush()
            os.fsync(file.fileno())

    def cut_after(self, epoch: int) -> None:
        """Drop the rows after `epoch`, whose weights are lost, and a row that was cut short."""
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
    """The folder of one run, locked while it is open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = History(path / HISTORY)
        self.checkpoint = path / CHECKPOINT

    def clear(self) -> None:
        """Delete everything but the lock, so that the run starts anew."""
        (self.path / RESULT).unlink(missing_ok=True)  # first: it makes a run count as done
        for path in self.path.iterdir():
            if path.name == LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def open_folder(path: Path) -> Iterator[RunFolder]:
    """Make and lock the run folder for this process.

    Raises:
        Locked: another process is working on the same run.
        BadInput: the folder cannot be made or written.
    """
    with _lock_file(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Locked(
                f"{path}: another process is running this run; wait for it, or stop it first"
            ) from error
        yield RunFolder(path)  # the kernel drops the lock, also after kill -9


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
    """Return the folder of a finished run with this id in any study below `roots`, or None."""
    for root in roots:
        for path in sorted(root.glob(f"*/{identifier}/{RESULT}")):
            result = read_result(path.parent)
            if result is not None and result.state is RunState.finished:
                return path.parent
    return None


def find_with_weights(folder: Path, roots: Sequence[Path]) -> Path | None:
    """Return the folder of this run that has weights, here or in any study below `roots`."""
    same = [folder, *(path for root in roots for path in sorted(root.glob(f"*/{folder.name}")))]
    return next((path for path in same if has_weights(path)), None)


def has_weights(folder: Path) -> bool:
    """Whether a run's weights are here, or in the store that the run came from."""
    listed = read_json(folder / NOTE) or {}
    return (folder / CHECKPOINT).is_file() or any(
        name.endswith(f"/{CHECKPOINT}") for name in listed
    )


def list_folders(root: Path) -> list[Path]:
    """Return every run folder below a runs root, sorted: `<study>/<run id>` with a config.yaml."""
    return sorted(path.parent for path in root.glob(f"*/*/{CONFIG}"))


def resolve_folder(name: str, roots: Sequence[Path]) -> Path:
    """Return the run folder that a user names by its path, the start of its run id, or its study.

    A study stands for its winner, and a name that is no study for the only run in its folder.

    Raises:
        BadInput: no run or several runs have that name.
    """
    given = expanded(name, "run")
    for path in (given, *(root / name for root in roots)):
        if (path / CONFIG).is_file():
            return path
    for root in roots:  # written by img2gps select
        winner = read_json(root / name / WINNER) or {}
        if (root / str(winner.get("path")) / CONFIG).is_file():
            return root / str(winner["path"])
    found = [folder for root in roots for folder in list_folders(root) if _is_called(folder, name)]
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


def _is_called(folder: Path, name: str) -> bool:
    if folder.parent.name == name:
        return not (folder.parent / STUDY).is_file()
    return len(name) >= 4 and folder.name.startswith(name)
