"""study.json: what the engine says of a study, and all that anyone else needs to read.

Knows nothing of Optuna, so that listing studies takes no time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from img2gps.core import process
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json

STUDY = "study.json"
SCHEMA = 1
STATES = ("finished", "running", "queued", "pruned", "diverged", "failed")


def write(root: str | Path, study: Mapping[str, Any]) -> None:
    """Replace a study's record in one step."""
    write_json(Path(root) / study["study"] / STUDY, study)


def now() -> str:
    """The present moment, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(root: str | Path, name: str) -> dict[str, Any]:
    """A study's record.

    Raises:
        BadInput: no such study, or a record that cannot be read.
    """
    path = Path(root) / name / STUDY
    found = read_json(path)
    if found is None:
        known = ", ".join(names(root)) or "none"
        why = "cannot be read" if path.exists() else "no such study"
        raise BadInput(f"{name}: {why} below {root}; studies there: {known} (see img2gps studies)")
    return found


def names(root: str | Path) -> list[str]:
    """Every study below a runs root, by name."""
    return sorted(path.parent.name for path in Path(root).glob(f"*/{STUDY}"))


def counts(cells: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Runs by state, every state in a fixed order."""
    found = Counter(cell["state"] for cell in cells)
    return {state: found[state] for state in STATES}


def running(study: Mapping[str, Any]) -> bool:
    """Whether an engine is at work on it, as far as this machine can tell."""
    engine = study.get("engine")
    return bool(engine) and not process.known_dead(engine)


def run_folder(root: str | Path, cell: Mapping[str, Any]) -> Path:
    """Where a run of the study lies; a linked one lies in another study's folder."""
    return Path(os.path.normpath(Path(root) / cell["path"]))
