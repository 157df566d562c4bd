"""`img2gps replay STUDY`: the cost of a search in place of a finished grid."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

HELP = "replay searches on a finished grid's curves: epochs until they find its winner"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`replay STUDY [--times N] [--out FILE]`."""
    parser.add_argument("study", help="name of a finished grid below the runs root")
    add_runs_option(parser)
    parser.add_argument("--times", type=int, default=200, help="replays a search (default 200)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")


def execute(args: argparse.Namespace) -> int:
    """Print the prices as a table."""
    from img2gps.core.errors import BadInput
    from img2gps.core.files import write_json
    from img2gps.study import replay

    if args.times < 1:
        raise BadInput(f"--times={args.times}: give 1 or more")
    roots = [args.root, Path("results")]
    found = replay.report(args.root / args.study, roots, times=args.times)
    for line in replay.table([replay.Price(**price) for price in found["prices"]]):
        print(line)
    print(
        f"{len(found['best_set']) - 1} of the {found['cells'] - 1} other cells are statistically "
        f"indistinguishable from the winner ({found['winner']})"
    )
    for note in found["notes"]:
        print(f"note: {note}")
    if args.out:
        try:
            write_json(args.out, found)
        except OSError as error:
            raise BadInput(
                f"--out {args.out}: cannot be written ({error.strerror}); name a file in a folder "
                "that you may write to"
            ) from error
    suggest(f"img2gps report {shlex.quote(args.study)}", "every cell with its interval", args.root)
    return 0
