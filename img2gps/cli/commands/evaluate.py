"""`img2gps evaluate`: how good a trained model is on other photos with positions."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

if TYPE_CHECKING:
    from img2gps.analysis.stats import Interval
    from img2gps.inference.localizer import Localizer
    from img2gps.inference.score import Score
    from img2gps.photos.dataset import Dataset

HELP = "score a trained model on other photos that say where they were taken"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="SRC", help="folder of photos, CSV (path, lat, lon) or parquet file"
    )
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        help="study, run id, run folder or exported folder; give two to compare them",
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="predictions.csv and a page (default: evaluation)"
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="accept paths in a CSV that leave its folder"
    )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Print the figures, write the predictions and a page."""
    from img2gps.cli.writing import check_folder, writing
    from img2gps.core.errors import BadInput
    from img2gps.inference.localizer import Localizer
    from img2gps.inference.score import difference, score, write_predictions
    from img2gps.runs.folder import PREDICTIONS

    if len(args.run) > 2:
        raise BadInput("--run: give one model, or two to compare")
    folder = args.to or Path("evaluation")
    check_folder("--to", folder)
    localizers = [Localizer.load(name, [args.root, Path("results")]) for name in args.run or [""]]
    scores = []
    for i, localizer in enumerate(localizers):
        dataset = _dataset(args, localizer.card.image_size)
        found = score(localizer, dataset)
        scores.append(found)
        print("\n".join(_lines(localizer, found)))
        place = folder if len(localizers) == 1 else folder / f"{i + 1}"
        with writing("--to", folder):
            write_predictions(place / PREDICTIONS, found.photos)
            _write_page(localizer, dataset, found, place / "index.html")
    if len(scores) == 2:
        print(_difference(difference(*scores)))
    print(f"wrote {folder}", file=sys.stderr)
    given = " ".join(shlex.quote(run) for run in args.run[:1]) or "STUDY"
    suggest(f"img2gps export --run {given} --to DIR --format hub", "take it elsewhere", args.root)
    return 0


def _dataset(args: argparse.Namespace, image_size: int) -> Dataset:
    from img2gps.core.paths import cache_folder
    from img2gps.photos.ingest import ingest
    from img2gps.photos.sources import named_source

    source = named_source(args.source, allow_outside=args.allow_outside)
    return ingest(source, image_size=image_size, cache_dir=cache_folder())


def _lines(localizer: Localizer, found: Score) -> list[str]:
    """Return what the model got, in words."""
    expected = found.expected
    ends = "" if expected.low_m is None else f" ({expected.low_m:.1f} to {expected.high_m:.1f} m)"
    lines = [
        f"{localizer.card.title}, on {expected.n_photos} {expected.what}:",
        f"  RMSE {expected.rmse_m:.1f} m{ends}, median {expected.median_m:.1f} m; the mean "
        f"predictor gets {expected.mean_predictor_rmse_m:.1f} m",
    ]
    for name, rmse in (
        ("known spots", expected.known_spots_rmse_m),
        ("new spots", expected.new_spots_rmse_m),
    ):
        if rmse is not None:
            lines.append(f"  {name}: RMSE {rmse:.1f} m")
    for name, inside in found.coverage.items():
        lines.append(f"  {inside.share:.0%} of {inside.n_photos} photos ({name}) inside the radius")
    for name, nats in found.nll.items():
        lines.append(f"  negative log likelihood {nats:.2f} nats a photo ({name})")
    if found.called_strange is not None:
        lines.append(f"  {found.called_strange:.0%} do not look like the training photos' ground")
    if found.trained_on:
        lines.append(f"  {found.trained_on} photos were left out: the model was trained on them")
    return lines


def _difference(interval: Interval) -> str:
    from img2gps.analysis.wording import span, tenths

    verdict = "not shown to differ"
    if interval.low > 0:
        verdict = "the first is better"
    elif interval.high < 0:
        verdict = "the second is better"
    return (
        f"second minus first on the same photos: {tenths(interval.estimate, '+')} m RMSE "
        f"({span(interval, '+')}): {verdict}"
    )


def _write_page(localizer: Localizer, dataset: Dataset, found: Score, path: Path) -> None:
    from img2gps.core.files import write_text_atomic
    from img2gps.inference.output import maps
    from img2gps.inference.output.page import page
    from img2gps.inference.output.scored import shown_of

    shown = shown_of(found.photos, dataset)
    training = None if localizer.gallery is None else localizer.gallery.positions()
    picture = maps.draw([one.position for one in shown], training, tiles=False)
    write_text_atomic(
        path, page(localizer.card.to_dict(), shown, picture, lines=_lines(localizer, found))
    )
