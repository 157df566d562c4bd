"""What workers on other machines have in common, whoever starts them there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from img2gps.core.stores import url_of
from img2gps.runs.fetching import send

LOGS = Path("/tmp")  # noqa: S108  # of workers that share no disk: a folder that each machine has


def words(root: Path, study: str) -> list[str]:
    """Return what follows `img2gps` in the command of a worker."""
    return ["worker", study, "--runs", _place(root)]


def name_of(root: Path, study: str) -> str:
    """Return a name for a study's workers; equal names in two folders of runs are two studies."""
    return f"img2gps-{study}-{hashlib.sha256(_place(root).encode()).hexdigest()[:6]}"


def log_path(root: Path, study: str, name: str) -> Path:
    """Return where a worker's output goes: into the study's folder, if machines share one."""
    if url_of(root) is None:
        return root.resolve() / study / name
    return LOGS / f"{name_of(root, study)}-{name}"


def logs(root: Path, study: str, pattern: str) -> str:
    """Return where all workers' output goes, in words."""
    path = log_path(root, study, pattern)
    return f"{path}, each on its own machine" if url_of(root) else str(path)


def note_submitted(root: Path, study: str, file: str, text: str) -> None:
    """Note in the study's folder, and in its store, how workers were submitted.

    Other machines then know which scheduler to ask for the workers.
    """
    with (root / study / file).open("a", encoding="utf-8") as note:
        note.write(text)
    send(root, [f"{study}/{file}"])


def _place(root: Path) -> str:
    """Return what names a folder of runs on every machine."""
    return url_of(root) or str(root.resolve())
