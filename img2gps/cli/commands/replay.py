"""`img2gps replay STUDY...`: the cost and the errors of other ways, on finished studies."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest
from img2gps.core.counted import among_others

if TYPE_CHECKING:
    from img2gps.analysis.overview import Analysis

HELP = "replay races and searches on finished studies: their cost, and how often they are wrong"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`replay STUDY... [--times N] [--margin-m M] [--out FILE]`."""
    parser.add_argument("study", nargs="+", help="names of finished studies below the runs root")
    add_runs_option(parser)
    parser.add_argument("--times", type=int, default=200, help="replays of each way (default 200)")
    parser.add_argument(
        "--margin-m", type=float, default=0.0, help="the margin of the race in metres (default 0)"
    )
    parser.add_argument("--out", type=Path, help="write the figures as JSON")


def execute(args: argparse.Namespace) -> int:
    """Print a table for each study."""
    from img2gps.cli.writing import check_file, writing
    from img2gps.core.errors import BadInput
    from img2gps.core.files import write_json

    check_file("--out", args.out)
    if args.times < 1:
        raise BadInput(f"--times={args.times}: give 1 or more")
    if not args.margin_m >= 0:
        raise BadInput(f"--margin-m={args.margin_m:g}: give metres, 0 or more")
    found = [_replayed(args, name) for name in args.study]
    if args.out:
        with writing("--out", args.out):
            write_json(args.out, found[0] if len(found) == 1 else found)
    study = shlex.quote(args.study[0])
    suggest(f"img2gps report {study}", "every cell with its interval", args.root)
    return 0


def _replayed(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Print the tables of one study; return its figures."""
    from img2gps.analysis.collect import load_study
    from img2gps.analysis.overview import analyse
    from img2gps.study import replay

    analysis = analyse(load_study(args.root / name, [args.root, Path("results")]))
    answers = _judged(analysis, args)
    found = replay.report(replay.read(analysis), times=args.times)
    for line in replay.table([replay.Price(**price) for price in found["prices"]]):
        print(line)
    same, others = len(found["best_set"]) - 1, found["cells"] - 1
    which, are = among_others(same, others, "cell"), "is" if others == 1 else "are"
    print(f"{which} {are} statistically indistinguishable from the winner ({found['winner']})")
    for note in found["notes"]:
        print(f"note: {note}")
    return {**found, "answers": answers}


def _judged(analysis: Analysis, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Print what each way answers; nothing where the study has a single seed."""
    from img2gps.runs.race import Rules
    from img2gps.study import judging, rest

    recorded = judging.read(analysis)
    if recorded.seeds < 2:
        print(f"{recorded.name}: one seed, so there is no race to replay")
        return []
    found = judging.judge(recorded, rules=Rules(args.margin_m), times=args.times)
    print(
        f"{recorded.name}: {recorded.cells} cells with {recorded.seeds} seeds; runs and epochs are "
        f"shares of the grid's; wrong: more than {rest.NOTICED_M:g} m above the best cell; "
        "lost: a better cell was given up"
    )
    for line in judging.table(found):
        print(line)
    return [asdict(one) for one in found]
