"""The last line of a command: the most useful next command, and why."""

from __future__ import annotations

import shlex
from pathlib import Path

from img2gps.core.paths import runs_folder
from img2gps.core.stores import as_typed


def next_step(command: str, why: str, root: str | Path | None = None) -> str:
    """Return a line that names the next command, which can be pasted into a shell.

    Args:
        command: the command as it is typed.
        why: what it gives.
        root: the folder of runs that it needs, added as `--runs` unless it is the default.

    >>> next_step("img2gps report mine", "tables and figures", "my runs")
    "next: img2gps report mine --runs 'my runs'    # tables and figures"
    """
    return f"next: {command if root is None else with_runs(command, root)}    # {why}"


def with_runs(command: str, root: str | Path) -> str:
    """Return a command that is to use this folder of runs; `--runs` is added where it is needed.

    >>> with_runs("img2gps sync mine", "elsewhere")
    'img2gps sync mine --runs elsewhere'
    """
    if Path(root).resolve() == runs_folder().resolve():
        return command
    return f"{command} --runs {shlex.quote(as_typed(root))}"
