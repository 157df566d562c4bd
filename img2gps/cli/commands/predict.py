"""`img2gps predict`: latitude and longitude of photos, by a finished run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from img2gps.photos.sources import Reject

HELP = "latitude and longitude of photos, by a finished run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="photo or folder")
    parser.add_argument("--run", required=True, help="run folder, run id or study with a winner")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--runs", default="runs", help="where run folders are (default: runs)")


def execute(args: argparse.Namespace) -> int:
    """Print one line a photo; 0 if all got an answer, 2 if a file could not be used."""
    from img2gps.core.files import read_json
    from img2gps.inference.predict import Predictor
    from img2gps.runs.folder import RESULT, resolve_folder

    files, problems = _files(args.photos)
    folder = resolve_folder(args.run, [Path(args.runs), Path("results")])
    predictor = Predictor.load(folder)
    result = read_json(folder / RESULT) or {}
    synthetic = bool(result.get("data", {}).get("synthetic"))
    if synthetic:
        print(
            "img2gps: trained on the built-in quad, which is synthetic: its answers mean nothing "
            "for photos of a real place",
            file=sys.stderr,
        )
    answers = list(predictor.photos(files))
    if args.json:
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
        print(json.dumps(rows, indent=1))
    else:
        width = max((len(a.photo) for a in answers), default=5)
        print(f"{'photo':<{width}}  {'lat_deg':>11}  {'lon_deg':>12}")
        for a in answers:
            if not a.error:
                print(f"{a.photo:<{width}}  {a.lat_deg:11.6f}  {a.lon_deg:12.6f}")
    for a in answers:
        if a.error:
            print(f"img2gps: {a.photo}: {a.error}", file=sys.stderr)
    for problem in problems:
        print(f"img2gps: {problem}", file=sys.stderr)
    return 2 if problems or any(a.error for a in answers) else 0


def _files(given: list[Path]) -> tuple[list[Path], list[str]]:
    """Files named, whatever they are, and photos below folders named, in order; what hid some."""
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
