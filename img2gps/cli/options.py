"""Options that several subcommands share."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from img2gps.core.paths import RUNS_VARIABLE, runs_folder, runs_root


def add_runs_option(parser: argparse.ArgumentParser, **changes: Any) -> None:
    """Declare `--runs DIR`, kept as `root`; `changes` are further arguments of the option.

    `--root` is its old name, which is still accepted.
    """
    option = {
        "dest": "root",
        "type": partial(runs_root, key="--runs"),
        "default": runs_folder(),
        "metavar": "DIR",
        "help": f"where run folders are, or a store's URL (default: {RUNS_VARIABLE}, or runs)",
        **changes,
    }
    parser.add_argument("--runs", **option)
    old = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    parser.add_argument("--root", **{**option, **old})
