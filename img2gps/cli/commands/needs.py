"""`img2gps needs STUDY`: how many photos and seeds would answer a question."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option

if TYPE_CHECKING:
    from img2gps.analysis.needs import Needs
    from img2gps.analysis.stats import Power
    from img2gps.runs.records import StudyRecord

HELP = "how many more seeds or photos would show that one cell is the best, or better than another"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`needs STUDY [--this KNOB=VALUE... --that KNOB=VALUE... [--where ...] [--difference M]]`."""
    parser.add_argument("study", help="name of a study below the runs root")
    for side, help_ in (
        ("this", "ask about a pair of cells: one choice, such as lr=0.001"),
        ("that", "and the other one; without a pair: whether the lowest cell alone is the best"),
        ("where", "what both must have besides"),
    ):
        parser.add_argument(f"--{side}", nargs="+", default=[], metavar="KNOB=VALUE", help=help_)
    parser.add_argument(
        "--difference",
        type=float,
        metavar="METRES",
        help="by which a pair is taken to differ (default: as observed, which flatters)",
    )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the power of more photos and seeds, the fewest that suffice, and the command."""
    from img2gps.analysis import needs
    from img2gps.analysis.choices import read_choice
    from img2gps.core.errors import BadInput
    from img2gps.report import build

    if bool(args.this) != bool(args.that):
        raise BadInput("--this and --that: give both, or neither to ask about the lowest cell")
    if args.difference is not None and not (args.this and args.difference > 0):
        raise BadInput("--difference: metres above 0, together with --this and --that")
    analysis = build.load(args.study, [args.root, Path("results")])
    if not analysis.rankings:
        raise BadInput(analysis.study.unranked)
    if args.this:
        this, that, where = map(read_choice, (args.this, args.that, args.where))
        found = needs.lower_of_two(analysis.study, this, that, where, args.difference)
    else:
        found = needs.one_winner(analysis.rankings[0])
    _show(found, analysis.study.record)
    return 0


def _show(found: Needs, study: StudyRecord) -> None:
    if found.sure_of_nothing:
        print(found.question)
        print(
            f"The {found.photos} photos are of so few spots that no power can be stated; validate "
            "on photos of more spots."
        )
        return
    print(f"{found.question} Power by simulation from this study's own errors:")
    seeds = list(dict.fromkeys(row.seeds for row in found.rows))
    print("photos" + "".join(f"{_seeds(k):>17}" for k in seeds))
    for photos in dict.fromkeys(row.photos for row in found.rows):
        powers = [_power(row) for row in found.rows if row.photos == photos]
        print(f"{photos:>6}" + "".join(f"{power:>17}" for power in powers))
    unsure = "the differences and their noise" if found.observed else "the noise"
    print(f"In brackets: its range in about 8 of 10 cases, as few photos show {unsure} badly.")
    if found.marks and seeds[0] == 1 and len(seeds) > 1:  # one alone: no seed changes the cells
        print("One seed shows no luck, so that no cell is marked as the best.")
    if found.in_doubt:
        print(
            f"May have gone astray: the single run of {', '.join(found.in_doubt[:5])}, which errs "
            "more than the other cells. These powers take it as it is; a second seed would tell."
        )
    print(f"here: {found.photos} photos, {_seeds(found.seeds)} a cell")
    if found.spread:
        print("More photos are taken to come from more ground: near spots may err alike.")
    for row in found.enough:
        size = f"{row.photos} photos with {_seeds(row.seeds)} a cell"
        print(f"80 %: {size}: {_power(row)}")
    if not found.enough:
        most = max(found.rows, key=lambda row: row.power)
        size = f"{most.photos} photos and {_seeds(most.seeds)}"
        print(f"80 %: not with these numbers (at most {most.power:.0%}, with {size})")
    best = found.by_seeds
    if best is not None and best.seeds > found.seeds and study.command:
        print(f"the missing runs take about {found.minutes(best):.0f} minutes:")
        print(command(study, best.seeds))


def command(study: StudyRecord, seeds: int) -> str:
    """Return the study's command with so many seeds a cell, those that it has among them."""
    from img2gps.report.steps import CONFIRM, SEEDS, with_override

    if study.confirmation is not None:
        top = len(study.confirmation.cells)
        return with_override(study.command, CONFIRM, f"{{top:{top},seeds:{seeds}}}")
    known = study.seeds or [0]
    more = range(max(known) + 1, max(known) + 1 + max(seeds - len(known), 0))
    return with_override(study.command, SEEDS, str([*known, *more]).replace(" ", ""))


def _power(row: Power) -> str:
    return f"{row.power:.0%} ({100 * row.low:.0f}-{row.high:.0%})"


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"
