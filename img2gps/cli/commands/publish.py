"""`img2gps publish STUDY`: copy a study without weights and paths, to be committed."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

HELP = "copy a study and its runs, without weights, to where they can be committed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("study", help="name of a study below the runs root")
    add_runs_option(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("results"),
        help="default: results, where resuming and reports also look",
    )  # fmt: skip
    parser.add_argument(
        "--moved",
        action="store_true",
        help="move all positions to 0 N, 0 E; leave out the photos' names and times",
    )


def execute(args: argparse.Namespace) -> int:
    """Copy the study and print what was copied."""
    from img2gps.core.counted import counted
    from img2gps.core.errors import BadInput
    from img2gps.study.publish import publish

    try:
        done = publish(args.study, args.root, args.out, moved=args.moved)
    except OSError as error:
        raise BadInput(
            f"{error.filename or args.out}: {error.strerror or error}; give the study's whole "
            "folder, and --out=FOLDER that you may write to"
        ) from error
    left = f"; {counted(done.left_out, 'planned run')} without a result" if done.left_out else ""
    print(f"{done.folder}: {done.runs} runs, {done.size_bytes / 1e6:.1f} MB{left}")
    suggest(f"img2gps report {shlex.quote(args.study)}", "the same page from the copy", args.out)
    return 0
