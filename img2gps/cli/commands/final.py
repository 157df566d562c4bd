"""`img2gps final STUDY`: make the final model of a study."""

from __future__ import annotations

import argparse

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

HELP = "make a study's final model: the average of the winning cell's runs, or a refit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("study", help="name of a study whose winner is selected")
    parser.add_argument(
        "--refit",
        action="store_true",
        help="train the winner's settings once more on every photo, validation and test included",
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=0,
        metavar="K",
        help="train the winner's settings on K folds and average these, for an error and a radius "
        "from photos that chose nothing",
    )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Write the model and say what it is and what error to expect."""
    from img2gps.core.errors import BadInput
    from img2gps.study.final import make_final

    if args.refit and args.folds:
        raise BadInput("--refit, --folds: give one of them")
    made, folder = make_final(args.study, args.root, refit=args.refit, folds=args.folds)
    card, expected = made.card, made.card.expected
    members = "1 run" if len(card.runs) == 1 else f"{len(card.runs)} runs"
    print(f"{card.title} -> {folder} ({card.kind} of {members})")
    if expected is not None:
        ends = "" if expected.low_m is None else f" ({expected.low_m:.1f} to {expected.high_m:.1f})"
        print(f"  expect {expected.rmse_m:.1f} m RMSE{ends} on {expected.n_photos} {expected.what}")
        if expected.mean_predictor_rmse_m is not None:
            print(f"  the mean predictor gets {expected.mean_predictor_rmse_m:.1f} m")
        if expected.flattered:
            print(f"  optimistic: these photos selected it among {expected.ranked_cells} cells")
    if card.trust is not None and card.trust.radius_m is not None:
        print(f"  9 of 10 true positions lie within {card.trust.radius_m:.0f} m of its answers")
    suggest(f"img2gps predict PHOTO.jpg --run {args.study}", "ask it", args.root)
    return 0
