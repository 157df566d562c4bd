"""`img2gps report`: tables and pictures of studies as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "tables and pictures of one study, or of several compared, as one page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "studies",
        nargs="*",
        metavar="STUDY",
        help="study below --runs, several to compare them (default: a page for each there is)",
    )
    parser.add_argument("--runs", default="runs", help="where run folders are (default: runs)")
    parser.add_argument("--out", default="reports", help="where reports go (default: reports)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--fill",
        type=Path,
        metavar="FILE.md",
        help="instead: fill the marked blocks of this document; docs/sweeps.md says how",
    )


def execute(args: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    from img2gps.config import cache_folder
    from img2gps.report import build

    roots = [Path(args.runs), Path("results")]
    if args.fill:
        return _fill(args.fill, roots)
    given = [name for names in args.studies for name in names.split(",") if name]
    asked = [given] if given else [[name] for name in build.names(roots)]
    for studies in asked:
        path = build.report(studies, roots=roots, out=Path(args.out), caches=[cache_folder()])
        print(path)
    if args.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0


def _fill(path: Path, roots: list[Path]) -> int:
    """Replace the document, if any of its figures has changed."""
    from img2gps import runs
    from img2gps.errors import BadInput
    from img2gps.report.fill import fill

    try:
        old = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--fill {path}: {error.strerror}; name a Markdown file") from error
    new = fill(old, roots)
    if new != old:
        runs.write_atomic(path, lambda file: print(new, end="", file=file))
    print(f"{path}: {'filled anew' if new != old else 'up to date'}")
    return 0
