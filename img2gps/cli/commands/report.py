"""`img2gps report`: tables and pictures of studies as one page."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

if TYPE_CHECKING:
    from img2gps.analysis.overview import Searched
    from img2gps.report.figures.base import Figure
    from img2gps.runs.records import StudyRecord

HELP = "tables and pictures of one study, or of several compared, as one page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "studies",
        nargs="*",
        metavar="STUDY",
        help="study below --runs, several to compare them (default: a page for each there is)",
    )
    add_runs_option(parser)
    parser.add_argument("--out", default="reports", help="where reports go (default: reports)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--fill",
        type=Path,
        nargs="+",
        metavar="FILE.md",
        help="instead: fill the marked blocks of these documents; docs/sweeps.md says how",
    )


def execute(args: argparse.Namespace) -> int:
    """Write the reports that can be written, print where they are, then what could not be."""
    from img2gps.core.errors import BadInput
    from img2gps.report import build

    roots = [args.root, Path("results")]
    if args.fill:
        for path in args.fill:
            _fill(path, roots)
        return 0
    given = [name for names in args.studies for name in names.split(",") if name]
    pages, refused = [], []
    for studies in [given] if given else [[name] for name in build.names(roots)]:
        try:
            pages.append(_report(studies, roots, Path(args.out)))
            print(pages[-1])
        except BadInput as error:
            refused.append(str(error))
    if args.open and pages:
        import webbrowser

        webbrowser.open(pages[-1].resolve().as_uri())
    if refused:
        raise BadInput("\n".join(refused))
    if len(pages) == 1 and len(given) == 1:
        _suggest(given[0], roots)
    elif not pages:
        suggest("img2gps train", "a first run, on the built-in quad")
    return 0


def _suggest(study: str, roots: list[Path]) -> None:
    """Suggest to freeze the winner of a study, and then to use it."""
    from img2gps.runs.folder import find_with_weights
    from img2gps.runs.records import RESULT, STUDY
    from img2gps.runs.winner import read_winner

    name = shlex.quote(study)
    root = next(root for root in roots if (root / study).is_dir())
    winner = read_winner(root / study)
    if winner is not None and find_with_weights(root / winner.path, roots):
        suggest(f"img2gps predict PHOTO.jpg --run {name}", "where a photo was taken", root)
    elif winner is not None:
        why = "what would decide the doubt; the winner is published without weights"
        suggest(f"img2gps needs {name}", why, root)
    elif (root / study / STUDY).is_file():
        suggest(f"img2gps select {name}", "freeze the winner, before it meets new photos", root)
    elif list((root / study).glob(f"*/{RESULT}")):
        words = [f"study={name}", *data_words(root / study), "lr=0.001,0.003"]
        why = "one run shows no choice to be right; compare two"
        suggest(f"img2gps train -m {' '.join(words)}", why)


def data_words(folder: Path) -> list[str]:
    """Return the overrides that name a user's own photos, of which the first run is."""
    from img2gps.config.habits import override
    from img2gps.runs.folder import CONFIG, read_config_plain

    run = next(path.parent for path in sorted(folder.glob(f"*/{CONFIG}")))
    data = read_config_plain(run).get("data") or {}
    if data.get("kind") not in ("photos", "csv"):
        return []
    return [f"data={data['kind']}", shlex.quote(override("data.root", str(data.get("root"))))]


def _report(studies: list[str], roots: list[Path], out: Path) -> Path:
    from img2gps.core.errors import BadInput
    from img2gps.report import build

    try:
        return build.report(studies, roots=roots, out=out, importance=_importance)
    except OSError as error:
        raise BadInput(
            f"{error.filename or out}: {error.strerror}; give --out=FOLDER that you may write to"
        ) from error


def _importance(record: StudyRecord) -> Searched | None:
    """Return the importance of a search's knobs; Optuna is loaded for searches only."""
    if not record.searched:
        return None
    from img2gps.study.importance import searched_importance

    return searched_importance(record)


def _fill(path: Path, roots: list[Path]) -> None:
    """Replace the document if any of its figures has changed, and draw its pictures."""
    from img2gps.core.errors import BadInput
    from img2gps.core.files import write_text_atomic
    from img2gps.report.fill import fill

    try:
        old = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadInput(f"--fill {path}: {why}; name a Markdown file in UTF-8") from error

    def draw(name: str, figure: Figure) -> None:
        target = path.parent / name
        target.parent.mkdir(exist_ok=True)
        write_text_atomic(target, figure.titled_svg)

    new = fill(old, roots, draw)
    if new != old:
        write_text_atomic(path, new)
    print(f"{path}: {'filled anew' if new != old else 'up to date'}")
