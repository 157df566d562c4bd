"""Small pictures: photos in their own proportions, found by what they show."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2gps.photos import thumbnails
from img2gps.photos.dataset import Dataset, find_dataset
from img2gps.photos.ingest import ingest
from img2gps.photos.sources import QuadSource


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = QuadSource(n=6, width=64, height=48)
    return ingest(source, image_size=32, cache_dir=tmp_path_factory.mktemp("cache"))


def test_a_thumbnail_has_the_proportions_of_the_photo_and_its_colours(dataset: Dataset) -> None:
    picture = thumbnails.thumbnail(dataset, 2, height_px=96)
    row = dataset.manifest.iloc[2]
    assert picture.height == 96
    assert picture.width == round(96 * row["width_px"] / row["height_px"])
    colour = np.asarray(picture, dtype=float).mean(axis=(0, 1))
    np.testing.assert_allclose(colour, dataset.pixels()[2].mean(axis=(0, 1)), atol=3)


def test_photos_are_found_by_content_and_unknown_ones_left_out(dataset: Dataset) -> None:
    known = str(dataset.manifest["content"].iloc[3])
    found = thumbnails.by_content(dataset, [known, "unknown"])
    assert list(found) == [known]
    assert found[known].tobytes() == thumbnails.thumbnail(dataset, 3).tobytes()


def test_a_contact_sheet_has_room_for_all_its_photos(dataset: Dataset) -> None:
    sheet = thumbnails.contact_sheet(dataset, n=5, across=2)
    assert sheet.height >= 3 * thumbnails.HEIGHT_PX
    white = (np.asarray(sheet) == 255).all(axis=2)
    assert 0 < white.mean() < 0.5


def test_a_data_uri_holds_the_picture_as_jpeg(dataset: Dataset) -> None:
    uri = thumbnails.data_uri(thumbnails.thumbnail(dataset, 0))
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.height == thumbnails.HEIGHT_PX


def test_a_data_set_is_found_by_its_fingerprint_and_size(dataset: Dataset, tmp_path: Path) -> None:
    folders = [tmp_path, dataset.folder.parent]
    found = find_dataset(dataset.fingerprint, dataset.image_size, folders)
    assert found is not None
    assert found.folder == dataset.folder
    assert find_dataset("0" * 16, dataset.image_size, folders) is None
    assert find_dataset(dataset.fingerprint, 64, folders) is None
