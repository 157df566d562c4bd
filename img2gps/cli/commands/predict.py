"""`img2gps predict`: latitude and longitude of photos, by a finished run."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

if TYPE_CHECKING:
    from img2gps.inference.predict import Prediction
    from img2gps.photos.sources import Reject

HELP = "latitude and longitude of photos, by a finished run"
SYNTHETIC = (
    "trained on the built-in quad, which is synthetic: its answers mean nothing for photos of a "
    "real place"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="photo or folder")
    parser.add_argument("--run", required=True, help="run folder, run id or study with a winner")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Print one line for each photo; return 2 if a file could not be used."""
    from img2gps.inference.predict import Predictor
    from img2gps.runs.folder import resolve_folder
    from img2gps.runs.records import read_result

    files, problems = _files(args.photos)
    folder = resolve_folder(args.run, [args.root, Path("results")])
    predictor = Predictor.load(folder)
    result = read_result(folder)
    synthetic = result is not None and result.data.synthetic
    if synthetic:
        _warn(SYNTHETIC)
    answers = list(predictor.photos(files))
    print(_json(answers, synthetic) if args.json else _table(answers))
    problems = [f"{a.photo}: {a.error}" for a in answers if a.error] + problems
    for problem in problems:
        _warn(problem)
    study = shlex.quote(folder.resolve().parent.name)
    suggest(f"img2gps report {study}", "how far off such answers are", folder.parent.parent)
    return 2 if problems else 0


def _warn(message: str) -> None:
    print(f"img2gps: {message}", file=sys.stderr)


def _json(answers: Sequence[Prediction], synthetic: bool) -> str:
    rows = [
        {
            "photo": a.photo,
            "lat_deg": a.lat_deg,
            "lon_deg": a.lon_deg,
            "error": a.error or None,
            "synthetic": synthetic,
        }
        for a in answers
    ]
    return json.dumps(rows, indent=1)


def _table(answers: Sequence[Prediction]) -> str:
    width = max((len(a.photo) for a in answers), default=5)
    lines = [f"{'photo':<{width}}  {'lat_deg':>11}  {'lon_deg':>12}"]
    lines += [
        f"{a.photo:<{width}}  {a.lat_deg:11.6f}  {a.lon_deg:12.6f}" for a in answers if not a.error
    ]
    return "\n".join(lines)


def _files(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the files given and the photos below folders given, in order, and what is unreadable.

    Raises:
        BadInput: a folder without photos.
    """
    from img2gps.core.errors import BadInput
    from img2gps.photos.sources import photo_files

    files: list[Path] = []
    problems: list[str] = []
    for path in given:
        rejects: list[Reject] = []
        found = photo_files(path, rejects) if path.is_dir() else [path]
        unread = [f"{path / reject.file}: {reject.reason}; {reject.remedy}" for reject in rejects]
        if not found:
            empty = f"{path}: no photos in it; give photos or a folder of JPEG, HEIC, AVIF, PNG, "
            raise BadInput(unread[0] if unread else f"{empty}TIFF or WebP photos")
        files += found
        problems += unread
    return files, problems
