"""The last line of a subcommand: which command is of use next."""

from __future__ import annotations

import sys
from pathlib import Path

from img2gps.core.advice import next_step


def suggest(command: str, why: str, root: Path | None = None) -> None:
    """Print the next command and why, to stderr so that stdout holds the results alone."""
    print(next_step(command, why, root), file=sys.stderr)  # noqa: T201
