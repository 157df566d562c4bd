"""`img2gps contrast STUDY --this lr=0.0005 --that lr=0.001`: one choice against another."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

HELP = "test whether one choice beats another, all else equal, by pairs of a study's cells"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`contrast STUDY --this KNOB=VALUE... --that KNOB=VALUE... [--where KNOB=VALUE...]`."""
    parser.add_argument("study", help="name of a study below the runs root")
    for side, help_ in (
        ("this", "the choice in question; name=PATTERN for cells with names, * = anything"),
        ("that", "what it is compared with"),
        ("where", "what both must have besides"),
    ):
        parser.add_argument(
            f"--{side}",
            nargs="+",
            default=[],
            metavar="KNOB=VALUE",
            required=side != "where",
            help=help_,
        )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the difference with its interval."""
    from img2gps.analysis import collect
    from img2gps.analysis.choices import read_choice
    from img2gps.analysis.contrast import contrast
    from img2gps.report import build

    roots = [args.root, Path("results")]
    this, that, where = map(read_choice, (args.this, args.that, args.where))
    study = collect.load_study(build.find(args.study, roots), roots)
    found = contrast(study, this, that, where)
    print(f"{' '.join(args.this)}: {found.this_m:.1f} m; {' '.join(args.that)}: "
          f"{found.that_m:.1f} m (mean over {found.counted})")  # fmt: skip
    print(f"difference {found.difference}: {found.verdict}")
    for note in found.notes:
        print(f"note: {note}")
    suggest(f"img2gps report {shlex.quote(args.study)}", "every cell with its interval", args.root)
    return 0
