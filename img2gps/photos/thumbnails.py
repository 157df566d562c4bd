"""Small pictures of the photos in a data set, for pages and for W&B."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from img2gps.photos.dataset import Dataset

HEIGHT_PX = 132
_NARROWEST, _WIDEST = 0.4, 2.5  # width over height; panoramas are squeezed to fit a page
_GAP_PX = 6


def thumbnail(dataset: Dataset, row: int, height_px: int = HEIGHT_PX) -> Image.Image:
    """Return one photo, small, in the proportions that it had before it was made square."""
    photo = dataset.manifest.iloc[row]
    wide, high = float(photo["width_px"]), float(photo["height_px"])
    aspect = min(max(wide / high if high else 1.0, _NARROWEST), _WIDEST)
    pixels = np.ascontiguousarray(dataset.pixels()[row])
    size = (max(1, round(height_px * aspect)), height_px)
    return Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)


def by_content(
    dataset: Dataset, contents: Iterable[str], height_px: int = HEIGHT_PX
) -> dict[str, Image.Image]:
    """Return the thumbnails of those photos, named by content, that the data set has."""
    rows = {content: row for row, content in enumerate(dataset.manifest["content"])}
    return {c: thumbnail(dataset, rows[c], height_px) for c in contents if c in rows}


def sample(dataset: Dataset, n: int) -> list[int]:
    """Return the rows of at most n photos from all over the data set."""
    return [int(row) for row in np.unique(np.linspace(0, len(dataset) - 1, n).astype(int))]


def contact_sheet(dataset: Dataset, n: int = 12, across: int = 4) -> Image.Image:
    """Return some photos from all over the data set as one picture."""
    pictures = [thumbnail(dataset, row) for row in sample(dataset, n)]
    wide, high = max(picture.width for picture in pictures) + _GAP_PX, HEIGHT_PX + _GAP_PX
    sheet = Image.new("RGB", (across * wide, -(-len(pictures) // across) * high), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % across * wide, i // across * high))
    return sheet


def data_uri(image: Image.Image) -> str:
    """Return the picture as a JPEG that stands in the page itself."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
