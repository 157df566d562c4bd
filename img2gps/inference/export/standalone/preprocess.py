"""Photos to what the model takes. It needs Pillow, numpy, pandas and torch.

Pictures are brought to the pixels that the model was trained on: turned upright and squashed to a
square of IMAGE_SIZE. They stay uint8; the model normalises them. HEIC photos are read where
pillow-heif is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor

try:
    from pillow_heif import register_heif_opener
except ImportError:
    pass
else:
    register_heif_opener()

IMAGE_SIZE = 224  # px
GREY = 128  # of 255: what takes the row of a photo that cannot be read
PHOTO_COLUMNS = ("image_path", "filepath", "image", "path", "file_name", "filename", "photo", "id")
LATITUDE_COLUMNS = ("latitude", "lat")
LONGITUDE_COLUMNS = ("longitude", "lon", "lng")


def prepare_data(csv_path: str | Path) -> tuple[list[Tensor], Tensor]:
    """Return the photos (3, size, size) and labels (n, 2) in degrees of a CSV, a row each.

    Paths are relative to the folder of the CSV. A photo that cannot be read is said so and becomes
    a grey picture, so that the others keep their rows. Without label columns the labels are NaN.
    """
    table = pd.read_csv(csv_path)
    photos = table[column(table, PHOTO_COLUMNS)].astype(str)
    images = [read_or_grey(find(name, Path(csv_path).parent)) for name in photos]
    try:
        labels = [column(table, names) for names in (LATITUDE_COLUMNS, LONGITUDE_COLUMNS)]
    except KeyError:
        return images, torch.full((len(images), 2), torch.nan, dtype=torch.float64)
    return images, torch.tensor(table[labels].to_numpy(float), dtype=torch.float64)


def column(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Return the first of the columns that the table has, in upper or lower case."""
    found = {str(name).strip().lower(): str(name) for name in reversed(table.columns)}
    for name in names:
        if name in found:
            return found[name]
    raise KeyError(f"no column {' or '.join(names)}; there are {', '.join(found.values())}")


def find(name: str, folder: Path) -> Path:
    """Return the path of a photo: in the folder of the CSV, else as it is given."""
    relative = Path(name.replace("\\", "/"))
    return folder / relative if (folder / relative).exists() else relative


def read_or_grey(path: Path) -> Tensor:
    """Return a photo, or a grey picture in its place."""
    try:
        return read(path)
    except (OSError, ValueError, SyntaxError) as error:
        print(f"{path}: cannot be read ({error}); a grey picture takes its row", file=sys.stderr)
        return torch.full((3, IMAGE_SIZE, IMAGE_SIZE), GREY, dtype=torch.uint8)


def read(path: Path) -> Tensor:
    """Return a photo as uint8 pixels (3, size, size)."""
    with Image.open(path) as image:
        turn = image.getexif().get(0x0112, 1)
        if image.format in ("JPEG", "MPO"):
            image.draft("RGB", (2 * IMAGE_SIZE, 2 * IMAGE_SIZE))
        small = shrink(image)
    small.getexif()[0x0112] = turn
    upright = ImageOps.exif_transpose(small)
    return torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous()


def shrink(image: Image.Image) -> Image.Image:
    """Return a small RGB square; transparency shows white, and 16-bit grey is scaled."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).clip(0, 65535) >> 8
        image = Image.fromarray(grey.astype(np.uint8))
    clear = image.has_transparency_data
    if not (clear and image.mode == "LA"):
        image = image.convert("RGBA" if clear else "RGB")
    small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    if not clear:
        return small
    white = Image.new("RGBA", small.size, "white")
    return Image.alpha_composite(white, small.convert("RGBA")).convert("RGB")
