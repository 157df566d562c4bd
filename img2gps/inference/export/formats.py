"""The formats of `img2gps export`: what each writes, checks and says of its use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from img2gps.core.errors import BadInput
from img2gps.core.files import write_text_atomic
from img2gps.inference import exported, gallery
from img2gps.inference.app.model import CARD
from img2gps.inference.deployed import Deployed
from img2gps.inference.export import app, hub, leaderboard, onnx, program, state_dict
from img2gps.inference.export.check import Reloaded, check, sample_pixels
from img2gps.inference.export.onnx_int8 import GRAPH_INT8
from img2gps.inference.export.readme import model_card
from img2gps.inference.export.submission import SUBMISSION
from img2gps.inference.find import MADE_BY, MODEL

README = "README.md"
UNTRACED = "match"  # a head
WRITTEN = (  # by any format or option: all that an earlier export may have left in a folder
    *(README, MODEL, exported.TENSORS, gallery.PHOTOS, gallery.FEATURES),
    *(hub.APP, app.REQUIRED, app.DOCKERFILE),
    *(leaderboard.MODEL, leaderboard.PREPROCESS, leaderboard.WEIGHTS, SUBMISSION),
    *(onnx.GRAPH, GRAPH_INT8, program.PROGRAM, state_dict.WEIGHTS),
)


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        write: writes the files and returns a function that predicts with them.
        usage: how the files are used, as Markdown.
        traced: whether the computation is written out as a graph.
        needs: distributions that writing it takes, beside those of img2gps.
        extra: the extras of img2gps that bring them.
        front_matter: what a host reads at the top of README.md.
    """

    write: Callable[[Deployed, Path], Reloaded]
    usage: Callable[[Deployed], str]
    traced: bool = False
    needs: tuple[str, ...] = ()
    extra: str = ""
    front_matter: str = ""


FORMATS = {
    "leaderboard": Format(leaderboard.write, leaderboard.usage, True),
    "onnx": Format(onnx.write, onnx.usage, True, ("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "torch_export": Format(program.write, program.usage, True),
    "state_dict": Format(state_dict.write, state_dict.usage),
    "hub": Format(hub.write, hub.usage),
    "app": Format(app.write, app.usage, True, app.REQUIREMENTS, "onnx,app", app.FRONT_MATTER),
}


def export(deployed: Deployed, folder: Path, name: str) -> float:
    """Write a model in one format with its card; return how far the reloaded answers are, in m.

    Raises:
        BadInput: packages that the format needs are missing, it cannot hold the model's head, the
            folder has files that are not an export, or the reloaded export answers otherwise.
    """
    chosen = FORMATS[name]
    missing = [need for need in chosen.needs if not _is_installed(need)]
    if missing:
        raise BadInput(
            f"--format {name}: needs {', '.join(missing)}; pip install 'img2gps[{chosen.extra}]'"
        )
    if chosen.traced and any(UNTRACED in head.parts for head in deployed.heads):
        raise BadInput(
            f"--format {name}: head={UNTRACED} compares photos one by one, which no graph "
            "can hold; choose --format hub or state_dict"
        )
    _make(folder)
    with torch.random.fork_rng(devices=[]):
        reloaded = chosen.write(deployed, folder)
    pixels = sample_pixels(deployed.folders, deployed.card.image_size)
    apart = check(str(folder), deployed.network, reloaded, pixels)
    card = model_card(deployed.card, chosen.usage(deployed), apart)
    write_text_atomic(folder / README, chosen.front_matter + card)
    return apart


def _make(folder: Path) -> None:
    """Make the folder; an earlier export in it is replaced, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / README
    ours = card.is_file() and MADE_BY in card.read_text(encoding="utf-8", errors="replace")
    if any(folder.iterdir()) and not ours:
        raise BadInput(f"--to {folder}: holds files that are not an export; give a new folder")
    # An earlier one may hold photos of which the new card says nothing.
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)
    if (folder / CARD).is_file():  # so the code beside it is that of the page
        shutil.rmtree(folder / app.CODE, ignore_errors=True)
        (folder / CARD).unlink()


def _is_installed(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False
