"""`img2gps predict`: latitude and longitude of photos, by a finished run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "latitude and longitude of photos, by a finished run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="photo or folder")
    parser.add_argument("--run", required=True, help="run folder, run id or study with a winner")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--runs", default="runs", help="where run folders are (default: runs)")


def execute(args: argparse.Namespace) -> int:
    """Print one line a photo; 0 if all got an answer, 2 if a file could not be used."""
    from img2gps import runs
    from img2gps.predict import Predictor

    roots = [Path(args.runs), Path("results")]
    predictor = Predictor.load(runs.resolve_folder(args.run, roots))
    answers = list(predictor.photos(_files(args.photos)))
    if args.json:
        rows = [
            {"photo": a.photo, "lat_deg": a.lat_deg, "lon_deg": a.lon_deg, "error": a.error or None}
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
    return 2 if any(a.error for a in answers) else 0


def _files(given: list[Path]) -> list[Path]:
    """Photos named, and all files below folders named, in order."""
    out: list[Path] = []
    for path in given:
        out += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return out
