"""`img2gps diff`: the keys in which two runs differ, and the error of each photo."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest
from img2gps.core.paths import RUNS_VARIABLE, runs_folder

if TYPE_CHECKING:
    from img2gps.analysis.compare import Photo

HELP = "the keys in which two runs differ, and their errors photo by photo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("a", metavar="RUN", help="run folder or (start of a) run id")
    parser.add_argument("b", metavar="RUN", help="the run to compare with")
    add_runs_option(
        parser,
        action="append",
        default=None,
        help=f"where run folders are; may be repeated (default: {RUNS_VARIABLE} or runs; results)",
    )
    parser.add_argument(
        "--photos", type=int, default=20, metavar="N", help="photos to list, 0 for all (default 20)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every photo to FILE")


def execute(args: argparse.Namespace) -> int:
    """Print the comparison."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from img2gps.analysis import compare
    from img2gps.cli.writing import check_file, writing
    from img2gps.core.errors import BadInput
    from img2gps.runs.folder import resolve_folder

    if args.photos < 0:
        raise BadInput(f"--photos {args.photos}: give 0 for all, or how many to list")
    check_file("--csv", args.csv)
    roots = args.root or [runs_folder(), Path("results")]
    first, second = (resolve_folder(name, roots) for name in (args.a, args.b))
    found = compare.compare(first, second)
    console = Console(highlight=False)

    keys = Table("key", first.name, second.name, box=None, pad_edge=False)
    for key, a, b in found.keys:
        keys.add_row(Text(key), Text(a), Text(b))
    console.print(keys if found.keys else "The runs differ in no key.")
    console.print()
    for line in found.summary():
        console.print(Text(line))
    if not found.photos and args.csv:
        raise BadInput(
            f"--csv {args.csv}: not written, because the runs have no validation photo in common; "
            "compare finished runs of one data set and split"
        )
    if not found.photos:
        return 0
    shown = found.photos[: args.photos or None]
    photos = Table("photo", f"{first.name} (m)", f"{second.name} (m)", "difference (m)")
    photos.box, photos.pad_edge = None, False
    for column in photos.columns[1:]:
        column.justify = "right"
    for photo in shown:
        figures = f"{photo.a_m:.1f}", f"{photo.b_m:.1f}", f"{photo.difference_m:+.1f}"
        photos.add_row(Text(photo.photo), *figures)
    console.print()
    console.print(photos)
    if len(shown) < len(found.photos):
        left = len(found.photos) - len(shown)
        console.print(f"{left} more photos, which differ less (--photos 0 lists all)")
    if args.csv:
        with writing("--csv", args.csv):
            _write(found.photos, args.csv)
        console.print(Text(f"written: {args.csv}"))
    study = shlex.quote(first.resolve().parent.name)
    suggest(f"img2gps report {study}", "whether a choice beats luck", first.parent.parent)
    return 0


def _write(photos: Sequence[Photo], path: Path) -> None:
    """Write the errors of all photos as CSV."""
    from img2gps.core.files import write_csv

    columns = ["photo", "a_m", "b_m", "difference_m"]
    rows = [{column: getattr(photo, column) for column in columns} for photo in photos]
    write_csv(path, columns, rows)
