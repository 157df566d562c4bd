"""`img2gps export`: a trained model in the form that another program or a course takes."""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest

if TYPE_CHECKING:
    from img2gps.inference.deployed import Deployed

HELP = "write a trained model for a course's leaderboard, ONNX, a model hub or a page"
FORMATS = ("leaderboard", "onnx", "torch_export", "state_dict", "hub", "app")
ONLY_FOR = {  # options that go with some formats only
    "submission": ("leaderboard",),
    "int8": ("onnx",),
    "with_gallery": ("hub",),
    "push": ("hub", "app"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--run", required=True, help="run folder, run id, study with a winner, or exported folder"
    )
    parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument(
        "--submission",
        type=Path,
        metavar="CSV",
        help="leaderboard: also answer the photos of a table, in submission.csv",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="onnx: also write a graph in eight bits, and say what it costs in metres",
    )
    parser.add_argument(
        "--with-gallery",
        action="store_true",
        help="hub: also write thumbnails, positions and features of the training photos",
    )
    parser.add_argument(
        "--push",
        metavar="OWNER/NAME",
        help="hub, app: also upload the folder to the Hugging Face Hub, as a private repository",
    )
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Write the folder, load it again, and say how closely it answers as the model does."""
    from img2gps.cli.writing import check_folder, writing
    from img2gps.inference.export.formats import export
    from img2gps.inference.localizer import load

    _check(args)
    check_folder("--to", args.to)
    for name in ("onnxscript", "onnx_ir"):  # they tell of each node that they simplify
        logging.getLogger(name).setLevel(logging.WARNING)
    deployed = load(args.run, [args.root, Path("results")])
    if args.int8:
        from img2gps.inference.export.onnx_int8 import photos_of

        photos_of(deployed)  # refuses before anything is written
    with writing("--to", args.to):
        apart_m = export(deployed, args.to, args.format)
    card = deployed.card
    print(f"{card.title} -> {args.to} ({args.format})")
    print(f"  loaded again; its answers lie within {apart_m:.3f} m of the model's own")
    if card.expected is not None:
        print(f"  expect {card.expected.rmse_m:.1f} m RMSE; README.md says on which photos")
    with writing("--to", args.to):
        for said in _extras(deployed, args):
            print(f"  {said}")
    where = shlex.quote(str(args.to))
    if args.format == "hub":  # the one that img2gps itself reads
        suggest(f"img2gps predict PHOTO.jpg --run {where}", "try what was written")
    else:
        suggest(f"cat {where}/README.md", "how the files are used")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse options that another format has, before anything is loaded."""
    from img2gps.core.errors import BadInput

    for option, formats in ONLY_FOR.items():
        if getattr(args, option) and args.format not in formats:
            raise BadInput(
                f"--{option.replace('_', '-')}: goes with --format {' or '.join(formats)}, not "
                f"{args.format}"
            )


def _extras(deployed: Deployed, args: argparse.Namespace) -> list[str]:
    """Write what was asked for beside the format; return what to say of it."""
    said = []
    if args.submission:
        from img2gps.inference.export.submission import SUBMISSION, write_submission
        from img2gps.inference.localizer import Localizer

        rows = write_submission(Localizer(deployed), args.submission, args.to / SUBMISSION)
        said.append(f"{SUBMISSION} answers {rows} photos")
    if args.int8:
        said.append(_add_int8(deployed, args.to))
    if args.with_gallery:
        said.append(_add_gallery(deployed, args.to))
    if args.push:
        from img2gps.inference.export.push import push

        said.append(f"uploaded to {push(args.to, args.push, args.format)}")
    return said


def _add_int8(deployed: Deployed, folder: Path) -> str:
    """Write the graph in eight bits; say in the card, too, what it costs."""
    from img2gps.inference.export.onnx_int8 import GRAPH_INT8, write_int8

    price = write_int8(deployed, folder)
    with (folder / "README.md").open("a", encoding="utf-8") as file:
        file.write(f"\n`{GRAPH_INT8}`: {price}.\n")
    return str(price)


def _add_gallery(deployed: Deployed, folder: Path) -> str:
    """Write the training photos into an export that was asked to hold them; say so in its card."""
    from img2gps.core.errors import BadInput
    from img2gps.inference.export.readme import NO_PHOTO
    from img2gps.inference.gallery import gallery_of, write_gallery

    gallery = gallery_of(deployed)
    if gallery is None:
        raise BadInput("--with-gallery: the training photos are not on this machine")
    write_gallery(gallery, folder, deployed.card.runs)
    said = f"holds thumbnails and positions of {len(gallery.photos)} training photos"
    card = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(card.replace(NO_PHOTO, f"It {said}."), encoding="utf-8")
    return said
