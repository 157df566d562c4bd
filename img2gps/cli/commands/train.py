"""`img2gps train`: the same as `python -m img2gps.train`."""

from __future__ import annotations

import argparse
import sys

HELP = "train a run, or with -m a study; KEY=VALUE as for python -m img2gps.train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments. `cli.main` hands them on unread, because Hydra parses them."""
    words = parser.add_argument("words", nargs=argparse.REMAINDER, metavar="[-m] KEY=VALUE ...")
    words.complete = dict.fromkeys(("bash", "zsh"), "_img2gps_words")  # type: ignore[attr-defined]  # read by shtab


def execute(args: argparse.Namespace) -> int:
    """Train, and exit as `python -m img2gps.train` does."""
    from img2gps import train

    sys.argv[1:] = args.words
    train.main()
    return 0
