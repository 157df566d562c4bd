"""The built-in quad: geotagged photos of a small synthetic campus whose truth is known.

The campus is fixed (`scene`, `textures`); a seed draws who stood where, when and in which weather
(`photos`, `light`), `camera` draws the view. Standing point, heading, session, weather, passers-by
and orientation are crossed at random; name, order, size of the file and the other tags say nothing
about the place. The label carries a phone's noise, truth.csv the position without it.

How hard it is, version 1, seed 0, measured with the study's recipe (681 training photos):

- always answering the mean: 90.6 m RMSE over the 741 photos;
- noise floor (label against truth): 5.0 m;
- ResNet-18 from scratch: 51.7 m on 200 other photos of the same spots at 112 x 112 pixels and 12
  epochs (mean predictor 90.3 m, skill 0.67).

The study's own run (ResNet-18 from scratch, 224 x 224 pixels, 15 epochs, 681/60 at random): 51.9 m,
mean predictor 90.1 m on the same photos, skill 0.67.

The study's recipe at 112 x 112 pixels, one seed, and then the 2,000 hidden photos, 1,000 of each
test part (mean predictor 91.4 m on them), in metres:

- ResNet-18 from scratch: 55.9 on the 60 validation photos; hidden 59.9, of known spots 57.4, of
  new spots 62.2, against the truth 59.7.
- EfficientNet-Lite0 from ImageNet weights: 48.1; hidden 49.8, of known spots 44.7, of new spots
  54.5, against the truth 49.5.

`test_known` revisits the main part's standing points in sessions of its own; the standing points
of `test_new` are eight metres or more from all of them. Any change of a pixel or a label needs a
new `QUAD_VERSION`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from img2gps.core.errors import BadInput
from img2gps.photos.quad import photos
from img2gps.photos.quad.photos import CAMERA
from img2gps.photos.quad.scene import campus

__all__ = ["CAMERA", "QUAD_VERSION", "QuadSpec", "render"]

QUAD_VERSION = "1"
TRUTH = "truth.csv"


@dataclass(frozen=True)
class QuadSpec:
    """A choice of photos: the first `n` of a part, `width` x `height` stored pixels, by seed."""

    n: int = 741
    width: int = 512
    height: int = 384
    seed: int = 0
    part: Literal["main", "test_known", "test_new"] = "main"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise BadInput(f"quad n={self.n}: no photos; use 1 or more")
        if min(self.width, self.height) < 32:
            raise BadInput(
                f"quad size {self.width} x {self.height}: too small; use 32 pixels or more"
            )
        if self.seed < 0:
            raise BadInput(f"quad seed={self.seed}: negative; use 0 or more")
        if self.part not in photos.PARTS:
            raise BadInput(
                f"quad part={self.part!r}: unknown; use one of {', '.join(photos.PARTS)}"
            )


def render(spec: QuadSpec, folder: Path, threads: int | None = None, progress: bool = True) -> None:
    """Write the photos of `spec` and truth.csv into `folder`, which appears whole or not at all.

    A folder that already holds exactly these photos is left alone; one that holds anything else
    is refused with `BadInput`. The bytes depend on the spec only.
    """
    found = [photos.photo(spec.seed, spec.part, i, spec.width, spec.height) for i in range(spec.n)]
    truth = "photo,true_lat_deg,true_lon_deg,session\n" + "".join(
        f"{p.name},{p.true_lat_deg:.8f},{p.true_lon_deg:.8f},{p.session.name}\n" for p in found
    )
    folder = Path(folder)
    if _is_complete(spec, folder, truth):
        return
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder}: holds other files; name a new or empty folder for the quad")
    folder.parent.mkdir(parents=True, exist_ok=True)
    campus()  # built once, before the threads need it
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:

        def write(photo: photos.Photo) -> None:
            (draft / photo.name).write_bytes(photos.jpeg(photo, QUAD_VERSION))

        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            done: Iterable[None] = pool.map(write, found)
            if progress:
                from rich.progress import track  # only numpy and Pillow are needed without it

                done = track(done, "quad", total=spec.n)
            for _ in done:
                pass
        (draft / TRUTH).write_text(truth, encoding="utf-8")
        draft.chmod(0o755)
        try:
            draft.rename(folder)
        except OSError:
            if not _is_complete(spec, folder, truth):  # else another process was faster
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_complete(spec: QuadSpec, folder: Path, truth: str) -> bool:
    """Return whether `folder` already holds these photos at this size and version."""
    written = folder / TRUTH
    if not written.is_file() or written.read_text(encoding="utf-8") != truth:
        return False
    names = {p.name for p in folder.iterdir()} - {TRUTH}
    if names != {line.split(",")[0] for line in truth.splitlines()[1:]}:
        return False
    with Image.open(folder / min(names)) as first:
        software = first.getexif().get(0x0131)
        return (
            first.size == (spec.width, spec.height) and software == f"img2gps quad {QUAD_VERSION}"
        )
