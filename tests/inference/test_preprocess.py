"""The preprocess.py of a hand-in gives the pixels that training saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2gps.inference.export.standalone import preprocess
from img2gps.photos import decode
from tests.helpers.photos import make_photo, picture


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "heic"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_of_every_orientation(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = make_photo(
        tmp_path / f"a.{suffix}", 39.95, -75.19, size=(900, 700), orientation=orientation
    )
    assert_same(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_picture_of_every_mode(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        grey = np.linspace(0, 65535, 300 * 200).reshape(200, 300)
        image = Image.fromarray(grey.astype(np.uint16))
    else:
        image = picture((300, 200)).convert("RGBA" if mode in ("LA", "RGBA") else "RGB")
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    assert_same(path)


def assert_same(path: Path) -> None:
    found = preprocess.read(path).permute(1, 2, 0).numpy()
    expected, _ = decode.decode(path.read_bytes(), preprocess.IMAGE_SIZE)
    assert np.array_equal(found, expected)
