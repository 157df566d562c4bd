"""`img2gps export`: a trained model in the form that another program or a course takes."""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

HELP = "write a trained model for a course's leaderboard, ONNX, a model hub or a page"
FORMATS = ("leaderboard", "onnx", "torch_export", "state_dict", "hub", "app")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--run`, `--to` and `--format`."""
    parser.add_argument(
        "--run", required=True, help="run folder, run id, study with a winner, or exported folder"
    )
    parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--format", required=True, choices=FORMATS)
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Write the folder, load it again, and say how closely it answers as the model does."""
    from img2gps.inference.export.formats import export
    from img2gps.inference.localizer import load

    for name in ("onnxscript", "onnx_ir"):  # they tell of each node that they simplify
        logging.getLogger(name).setLevel(logging.WARNING)
    deployed = load(args.run, [args.root, Path("results")])
    apart_m = export(deployed, args.to, args.format)
    card = deployed.card
    print(f"{card.title} -> {args.to} ({args.format})")
    print(f"  loaded again; its answers lie within {apart_m:.3f} m of the model's own")
    if card.expected is not None:
        print(f"  expect {card.expected.rmse_m:.1f} m RMSE; README.md says on which photos")
    where = shlex.quote(str(args.to))
    suggest(f"img2gps predict PHOTO.jpg --run {where}", "try what was written")
    return 0
