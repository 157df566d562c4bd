"""`img2gps ingest`: read photos into the cache that runs use, and say what is in them."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.suggest import suggest

if TYPE_CHECKING:
    from img2gps.photos.dataset import Dataset
    from img2gps.photos.ingest import Source

HELP = "read photos into the cache that runs use, and say what is in them"
OVERRIDES = {  # the same for a training, of what decides which photos there are, and where
    "--track": "data.track",
    "--clock-offset": "data.clock_offset_s",
    "--track-gap": "data.track_gap_s",
    "--split": "data.subset",
    "--allow-outside": "data.allow_outside",
    "--one-of-each": "data.one_of_each",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source",
        metavar="SRC",
        help="folder of photos, table (CSV, GeoJSON, GeoPackage, parquet), or quad (built in)",
    )
    parser.add_argument("--image-size", type=int, default=224, metavar="PX", help="default: 224")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="default: IMG2GPS_CACHE")
    parser.add_argument("--threads", type=int, help="default: all cores of this process")
    parser.add_argument(
        "--deadline",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds for a photo (default: 20)",
    )
    parser.add_argument(
        "--track", type=Path, metavar="GPX", help="places photos without GPS by time"
    )
    parser.add_argument(
        "--one-of-each", action="store_true", help="keep one photo of each group of near copies"
    )
    parser.add_argument(
        "--clock-offset", type=float, default=0.0, metavar="S", help="to add to the camera's clock"
    )
    parser.add_argument(
        "--track-gap", type=float, default=60.0, metavar="S", help="largest between two points"
    )
    parser.add_argument("--split", default="train", help="split of a Hugging Face data set")
    parser.add_argument("-n", type=int, default=741, help="photos of the quad (default: 741)")
    parser.add_argument("--seed", type=int, default=0, help="of the quad (default: 0)")
    parser.add_argument(
        "--allow-outside", action="store_true", help="accept paths in a CSV that leave its folder"
    )
    parser.add_argument(
        "--report",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FILE",
        help="write a page about the photos (default: reports/NAME-photos.html)",
    )
    parser.add_argument(
        "--suspects", type=Path, metavar="FILE", help="suspects.csv of a study's report, to add"
    )
    parser.add_argument("--verify", action="store_true", help="check the cache bit by bit")


def execute(args: argparse.Namespace) -> int:
    """Ingest, print what is in the data set and where, and write the report if asked for."""
    from img2gps.config.schema import MAX_IMAGE_SIZE
    from img2gps.core.errors import BadInput
    from img2gps.core.paths import cache_folder
    from img2gps.photos.ingest import ingest

    if not 1 <= args.image_size <= MAX_IMAGE_SIZE:
        raise BadInput(f"--image-size {args.image_size}: must be 1 to {MAX_IMAGE_SIZE} pixels")
    if args.threads is not None and args.threads < 1:
        raise BadInput(f"--threads {args.threads}: must be 1 or more")
    if not 0 < args.deadline < float("inf"):
        raise BadInput(f"--deadline {args.deadline}: must be above 0 seconds")
    dataset = ingest(
        _source(args),
        image_size=args.image_size,
        cache_dir=args.cache or cache_folder(),
        threads=args.threads,
        deadline_s=args.deadline,
        one_of_each=args.one_of_each,
        verify=args.verify,
    )
    _print_rejects(dataset)
    if args.report is not None:
        from img2gps.report import photo_page

        default = Path("reports") / f"{dataset.folder.name.rpartition('-')[0]}-photos.html"
        path = default if args.report == Path() else args.report
        print(f"report: {photo_page.write(dataset, path)}")
        _write_suspects(dataset, path.with_name(f"{path.stem}-overrides.csv"), args)
    if others := dataset.summary["not_photos"]:
        counted = ", ".join(f"{count} {suffix}" for suffix, count in others.items())
        print(f"not read: {counted}")
    sources = dataset.manifest["label_from"].value_counts()
    print(f"positions from: {', '.join(f'{name} {n}' for name, n in sources.items())}")
    print(f"cache: {dataset.folder}")
    print(_summary(dataset))
    _suggest(args, dataset)
    return 0


def _suggest(args: argparse.Namespace, dataset: Dataset) -> None:
    """Suggest to look at the photos, and then to train on them."""
    from img2gps.photos.sources import position_tables

    if len(dataset.rejects) > len(dataset):
        for table in position_tables(Path(args.source).expanduser())[:1]:
            command = f"img2gps ingest {shlex.quote(str(table))} --report"
            suggest(command, "most photos have no position of their own, and this table has some")
            return
    if dataset.synthetic:
        suggest("img2gps train", "a first run on the built-in quad")
    elif args.report is None:
        words = ["img2gps", "ingest", args.source, *_options(args), "--report"]
        suggest(shlex.join(words), "a page with a map of the photos")
    else:
        words = ["img2gps", "train", *_overrides(args)]
        suggest(shlex.join(words), "a first run on these photos")


def _given(args: argparse.Namespace) -> dict[str, str | bool]:
    """Return the options of `OVERRIDES` that were given, with their values."""
    defaults = argparse.ArgumentParser()
    add_arguments(defaults)
    names = {option: option.lstrip("-").replace("-", "_") for option in OVERRIDES}
    values = {option: getattr(args, name) for option, name in names.items()}
    return {
        option: value if isinstance(value, bool) else str(value)
        for option, value in values.items()
        if value != defaults.get_default(names[option])
    }


def _options(args: argparse.Namespace) -> list[str]:
    """Return the words that give another ingest the same photos."""
    return [word for option, value in _given(args).items()
            for word in ([option] if value is True else [option, str(value)])]  # fmt: skip


def _overrides(args: argparse.Namespace) -> list[str]:
    """Return the overrides that give a training the same photos."""
    from img2gps.config.habits import override

    kind = {"CsvSource": "csv", "HuggingFaceSource": "huggingface"}
    words = [f"data={kind.get(type(_source(args)).__name__, 'photos')}"]
    words.append(override("data.root", args.source))
    for option, value in _given(args).items():
        key = OVERRIDES[option]
        words.append(f"{key}=true" if value is True else override(key, str(value)))
    return words


def _write_suspects(dataset: Dataset, path: Path, args: argparse.Namespace) -> None:
    """Write suspicious labels, also those of a trained study's report, into a file to edit."""
    from img2gps.photos import sources
    from img2gps.photos.sources.columns import read_table
    from img2gps.photos.suspects import suspects, write_overrides

    found = suspects(dataset)
    if args.suspects is not None:
        for row in read_table(args.suspects, ["photo", "reason"]):
            found.setdefault(row["photo"], []).append(row["reason"])
    if found:
        folder = Path(args.source).expanduser()
        folder = folder if folder.is_dir() else folder.parent
        write_overrides(path, found, dataset, base=folder / sources.OVERRIDES)
        print(
            f"labels to look at: {len(found)} in {path}; edit it, save it as "
            f"{folder / sources.OVERRIDES}"
        )


def _source(args: argparse.Namespace) -> Source:
    """Return the source that SRC means, by its name or by what is there."""
    from img2gps.core.paths import expanded
    from img2gps.photos.sources import QuadSource, named_source

    if args.source == "quad" and not expanded(args.source, "source").exists():
        return QuadSource(n=args.n, seed=args.seed)
    return named_source(
        args.source,
        allow_outside=args.allow_outside,
        split=args.split,
        track=args.track,
        clock_offset_s=args.clock_offset,
        track_gap_s=args.track_gap,
    )


def _print_rejects(dataset: Dataset) -> None:
    """Print each photo that was left out, by reason."""
    for reason, group in dataset.rejects.groupby("reason"):
        print(f"left out, {reason}:")
        for file in group["file"]:
            print(f"  {file}")
        if remedy := group["remedy"].iloc[0]:
            print(f"  -> {remedy}")


def _summary(dataset: Dataset) -> str:
    """Return one line: how many photos, of what, and what was left out."""
    from img2gps.core import geo

    lat, lon = dataset.lat_lon()
    rmse = geo.rmse_m(lat, lon, *geo.mean_position(lat, lon))
    kind = "synthetic photos" if dataset.synthetic else "photos"
    twins = len(dataset.summary["duplicates"])
    return (
        f"{dataset.name}: {len(dataset)} {kind} ready, {len(dataset.rejects)} left out, "
        f"{twins} {'group' if twins == 1 else 'groups'} of duplicates, "
        f"{len(dataset.summary['far_m'])} far from the others; "
        f"mean predictor {rmse:.1f} m; fingerprint {dataset.fingerprint}"
    )
