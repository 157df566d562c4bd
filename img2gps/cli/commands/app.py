"""`img2gps app`: a page to drop photos on."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option

if TYPE_CHECKING:
    from img2gps.inference.app.model import Model

HELP = "serve a page to drop photos on, and the same answers as JSON"
NEEDS = ("starlette", "uvicorn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--run",
        "--study",
        default="",
        help="study, run id, run folder or exported folder (default: the newest study's winner)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    parser.add_argument("--port", type=int, default=7860, help="0 for any (default: 7860)")
    parser.add_argument("--expose", action="store_true", help="allow a host that others can reach")
    parser.add_argument(
        "--with-gallery", action="store_true", help="show training photos to others, too"
    )
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), help="where report pages are"
    )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Serve until it is interrupted."""
    from img2gps.core.errors import BadInput

    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"app: needs {', '.join(missing)}; pip install 'img2gps[app]'")
    from img2gps.inference.app.serve import serve

    model = _model(args)
    serve(model, host=args.host, port=args.port, expose=args.expose, study=find_report(args))
    return 0


def find_report(args: argparse.Namespace) -> Path | None:
    """Return the study's report page; None where there is none, or others must not see it.

    A report shows training and validation photos.
    """
    if Path(args.run).name != args.run or (args.expose and not args.with_gallery):
        return None
    report: Path = args.reports / args.run
    return report if args.run and (report / "index.html").is_file() else None


def _model(args: argparse.Namespace) -> Model:
    from img2gps.inference.app.model import CARD, OnnxModel

    if (Path(args.run) / CARD).is_file():
        return OnnxModel(Path(args.run))
    from img2gps.inference.app.local import LocalModel
    from img2gps.inference.localizer import Localizer

    localizer = Localizer.load(args.run, [args.root, Path("results")])
    return LocalModel(localizer, show_training=args.with_gallery or not args.expose)
