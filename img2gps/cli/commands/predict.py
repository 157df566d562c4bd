"""`img2gps predict`: where photos were taken, by a trained model."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest
from img2gps.runs.records import STUDY

if TYPE_CHECKING:
    from img2gps.inference.localizer import Localizer
    from img2gps.inference.output.page import Shown
    from img2gps.inference.position import Position
    from img2gps.photos.sources import Reject

HELP = "latitude and longitude of photos, by a finished run"
SYNTHETIC = (
    "trained on the built-in quad, which is synthetic: its answers mean nothing for photos of a "
    "real place"
)
SOME_FAILED, ALL_FAILED = 3, 2
QUAD = Path("quad")  # stands for photos of the built-in quad where no such file is
N_QUAD = 12
_WEB_ADDRESS = re.compile(r"(https?|ftp|s3|gs):/")  # `Path` has made one slash of two


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "photos",
        nargs="+",
        type=Path,
        metavar="PHOTO",
        help="photo or folder; quad: some of the built-in quad",
    )
    parser.add_argument(
        "--run",
        "--study",
        default="",
        help="study, run id, run folder or exported folder (default: the newest study's winner)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="also write .csv, .json, .geojson, .gpx or .kml"
    )
    parser.add_argument("--map", type=Path, metavar="FILE", help="also write a page with a map")
    parser.add_argument(
        "--tiles", action="store_true", help="the page's map fetches OpenStreetMap when opened"
    )
    parser.add_argument(
        "--explain", type=Path, metavar="FILE", help="also write a page with what decided"
    )
    parser.add_argument(
        "--write-exif",
        type=Path,
        metavar="DIR",
        help="write copies of the JPEGs with the position in their EXIF",
    )
    parser.add_argument(
        "--level", type=float, metavar="P", help="probability of the radius (default: 0.9)"
    )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Print one line for each photo; return 3 if some had no answer, 2 if none had one."""
    from img2gps.cli.writing import check_file, check_folder, writing
    from img2gps.core import signals
    from img2gps.inference.localizer import Localizer
    from img2gps.inference.output import files

    if args.to:
        files.check_ending(args.to)
    for option, path in (("--to", args.to), ("--map", args.map), ("--explain", args.explain)):
        check_file(option, path)
    check_folder("--write-exif", args.write_exif)
    named, problems = _files(args.photos)
    localizer = Localizer.load(args.run, [args.root, Path("results")])
    _say_which(localizer, args)
    positions = _until_interrupted(_positions(localizer, named, args))
    if args.json:
        print(files.as_json(positions, localizer.card.synthetic), end="")
    else:
        print(_table(positions))
    if args.to:
        with writing("--to", args.to):
            files.write_positions(args.to, positions, synthetic=localizer.card.synthetic)
    if stopped := signals.received():
        _say(f"interrupted: {len(positions)} of {len(named)} photos were answered")
        return stopped.status
    _pages(localizer, list(named.values()), positions, args)
    problems += [f"{one.photo}: {one.error}" for one in positions if one.error]
    if args.write_exif:
        problems += _copies(named, positions, args.write_exif)
    for problem in problems:
        _say(problem)
    if not any(one.lat_deg is not None for one in positions):
        return ALL_FAILED
    _suggest_report(localizer, args)
    return SOME_FAILED if problems else 0


def _say(message: str) -> None:
    print(f"img2gps: {message}", file=sys.stderr)


def _suggest_report(localizer: Localizer, args: argparse.Namespace) -> None:
    """Point to the report of the study that the model comes from; an exported one has none."""
    from img2gps.inference.find import newest

    asked = args.run or newest([args.root, Path("results")])
    for folder in localizer.deployed.folders[:1]:
        root, name = folder.parent.parent, folder.resolve().parent.name
        if (root / asked / STUDY).is_file():  # its runs may lie with another study
            name = asked
        suggest(f"img2gps report {shlex.quote(name)}", "how far off such answers are", root)


def _say_which(localizer: Localizer, args: argparse.Namespace) -> None:
    """Print which model answers, how far to trust it, and which other models there are."""
    from img2gps.inference.find import selected

    if not args.run:
        _say(f"by {localizer.card.title}")
        for name in selected([args.root, Path("results")])[1:]:
            words = ["img2gps", "predict", *map(str, args.photos), "--run", name]
            _say(f"another: {shlex.join(words)}")
    if localizer.card.synthetic:
        _say(SYNTHETIC)
    trust = localizer.card.trust
    if trust is None or trust.radius_m is None:
        _say("no radius: too few spots were held out to say how far off an answer may be")
    elif args.level and not localizer.has_radius(args.level):
        _say(
            f"no radius at --level {args.level:g}: {trust.n_spots} spots were held out, and such a "
            "level takes more"
        )
    elif trust.ranked_cells > 1:
        _say(
            f"the radius is optimistic: its photos also chose the model among "
            f"{trust.ranked_cells} cells"
        )


def _positions(
    localizer: Localizer, named: dict[str, Path], args: argparse.Namespace
) -> Iterator[Position]:
    """Yield the answers under the names that the user knows, with a bar in a terminal."""
    from dataclasses import replace

    from img2gps.core.progress import watched

    answers = localizer.stream(
        named.values(), level=args.level, neighbours=3 if args.explain else 0
    )
    for name, position in watched(zip(named, answers, strict=True), len(named), "photos"):
        yield replace(position, photo=name)


def _until_interrupted(positions: Iterator[Position]) -> list[Position]:
    """Return the answers, those before Ctrl-C if it comes, so that none is lost."""
    from img2gps.core.signals import Interrupted

    answered: list[Position] = []
    with suppress(Interrupted):
        for position in positions:
            answered.append(position)
    return answered


def _table(positions: Sequence[Position]) -> str:
    from img2gps.inference.output.files import in_words

    answered = [one for one in positions if one.lat_deg is not None]
    width = max((len(one.photo) for one in answered), default=5)
    lines = [f"{'photo':<{width}}  {'lat_deg':>11}  {'lon_deg':>12}"]
    for one in answered:
        line = f"{one.photo:<{width}}  {one.lat_deg:11.6f}  {one.lon_deg:12.6f}  {in_words(one)}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _pages(
    localizer: Localizer,
    paths: Sequence[Path],
    positions: Sequence[Position],
    args: argparse.Namespace,
) -> None:
    """Write the pages that were asked for."""
    if not (args.map or args.explain):
        return
    from img2gps.cli.writing import writing
    from img2gps.core.files import write_text_atomic
    from img2gps.inference.output import maps
    from img2gps.inference.output.page import page

    training = None if localizer.gallery is None else localizer.gallery.positions()
    for file, explained in ((args.map, False), (args.explain, True)):
        if file is None:
            continue
        shown = [
            _shown(localizer, path, position, explained)
            for path, position in zip(paths, positions, strict=True)
        ]
        picture = maps.draw(positions, training, tiles=args.tiles)
        html = page(localizer.card.to_dict(), shown, picture, tiles=args.tiles)
        with writing("--explain" if explained else "--map", file):
            write_text_atomic(file, html)
        _say(f"wrote {file}")


def _shown(localizer: Localizer, path: Path, position: Position, explained: bool) -> Shown:
    from PIL import Image

    from img2gps.inference.explain import occlusion, overlay
    from img2gps.inference.inputs import read_input
    from img2gps.inference.output.page import Shown
    from img2gps.photos.thumbnails import data_uri

    pixels = read_input(path, localizer.card.image_size).pixels
    if pixels is None:
        return Shown(position)
    small = data_uri(Image.fromarray(pixels).resize((220, 220)))
    if not explained:
        return Shown(position, small)
    found = occlusion(localizer, pixels)
    return Shown(position, small, data_uri(overlay(pixels, found)), found.most_m)


def _copies(named: dict[str, Path], positions: Sequence[Position], folder: Path) -> list[str]:
    """Write the tagged copies; return what could not be written, and why."""
    from img2gps.cli.writing import writing
    from img2gps.inference.output.geotag import write_copy
    from img2gps.photos.photofile import Unusable

    problems, written = [], 0
    for (name, path), position in zip(named.items(), positions, strict=True):
        if position.error:
            continue
        copy = folder / _below(name)
        try:
            with writing("--write-exif", folder):
                write_copy(path, copy, position)
            written += 1
        except Unusable as error:
            problems.append(f"{name}: no copy: {error.reason}; {error.remedy}")
    _say(f"wrote {written} of {len(named)} photos with a position into {folder}")
    return problems


def _drawn(path: Path) -> Path:
    """Return a folder of photos for the word `quad`, drawn for this and new to every model."""
    from img2gps.core.paths import cache_folder
    from img2gps.photos import quad

    if path != QUAD or path.exists():
        return path
    folder = cache_folder() / "quad-photos"
    quad.render(quad.QuadSpec(n=N_QUAD, part="test_known"), folder, progress=False)
    _say(f"{N_QUAD} photos of the built-in quad are in {folder}")
    return folder


def _below(name: str) -> Path:
    """Return a photo's name as a path that stays below the folder that it is joined to."""
    path = Path(name)
    return Path(*(part for part in path.parts if part not in ("..", path.anchor)))


def _files(given: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """Return files by the name to show, in order, and what hid some.

    Files that are named count whatever they are; of folders the photos below them, named from the
    folder on. Two photos of one name keep the path as it was given.
    """
    from img2gps.core.errors import BadInput
    from img2gps.photos.photofile import display_name
    from img2gps.photos.sources import photo_files

    found: list[tuple[str, Path]] = []
    problems: list[str] = []
    for path in map(_drawn, given):
        if _WEB_ADDRESS.match(str(path)):
            address = str(path).replace(":/", "://", 1)
            raise BadInput(f"{address}: a web address; download the photo and give its file")
        rejects: list[Reject] = []
        is_folder = os.path.isdir(path)  # noqa: PTH112 # `Path.is_dir` may raise
        below = photo_files(path, rejects) if is_folder else [path]
        unread = [f"{path / reject.file}: {reject.reason}; {reject.remedy}" for reject in rejects]
        if not below:
            empty = f"{path}: no photos in it; give photos or a folder of JPEG, HEIC, AVIF, PNG, "
            raise BadInput(unread[0] if unread else f"{empty}TIFF or WebP photos")
        base = path if is_folder else path.parent
        found += [(display_name(str(file.relative_to(base))), file) for file in below]
        problems += unread
    times = Counter(name for name, _ in found)
    shown = [name if times[name] == 1 else display_name(str(file)) for name, file in found]
    return dict(zip(shown, (file for _, file in found), strict=True)), problems
