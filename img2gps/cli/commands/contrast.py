"""`img2gps contrast STUDY --this lr=0.0005 --that lr=0.001`: one choice against another."""

from __future__ import annotations

import argparse
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

if TYPE_CHECKING:
    from img2gps.analysis.stats import Chance, Equivalence

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
    parser.add_argument(
        "--margin",
        type=float,
        metavar="METRES",
        help="test, too, whether the difference is smaller than this, so that both are as good",
    )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the difference with its interval."""
    from img2gps.analysis import collect
    from img2gps.analysis.choices import read_choice
    from img2gps.analysis.contrast import contrast
    from img2gps.core.errors import BadInput
    from img2gps.report import build

    if args.margin is not None and not args.margin > 0:
        raise BadInput(
            f"--margin {args.margin:g}: not above 0; give metres that do not matter to you"
        )
    roots = [args.root, Path("results")]
    this, that, where = map(read_choice, (args.this, args.that, args.where))
    study = collect.load_study(build.find(args.study, roots), roots)
    found = contrast(study, this, that, where, args.margin)
    print(f"{' '.join(args.this)}: {found.this_m:.1f} m; {' '.join(args.that)}: "
          f"{found.that_m:.1f} m (mean over {found.counted})")  # fmt: skip
    print(f"difference {found.difference}: {found.verdict}")
    if found.chance is not None and not math.isnan(found.chance.estimate):
        print(_chance(found.chance))
    if found.equivalence is not None:
        print(_equivalence(found.equivalence))
    for note in [*study.notes, *found.notes]:
        print(f"note: {note}")
    suggest(f"img2gps report {shlex.quote(args.study)}", "every cell with its interval", args.root)
    return 0


def _chance(found: Chance) -> str:
    ends = f"95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %"
    if math.isnan(found.low):
        ends = "no interval"
    return (
        "chance that a run of the first beats one of the second on as many other photos: "
        f"{found.estimate:.0%} ({ends})"
    )


def _equivalence(found: Equivalence) -> str:
    from img2gps.analysis.wording import span

    ends = f"90 % interval {span(found.interval, '+')}"
    if math.isnan(found.interval.low):
        ends = "no interval"
    verdict = "equivalent" if found.shown else "not shown to be equivalent"
    if found.interval.luck_unseen:
        verdict += ", because a cell has a single run: give each cell a second seed"
    return f"within a margin of {found.margin_m:g} m they are {verdict} ({ends})"
