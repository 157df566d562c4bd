"""The cache folder: what is written is read, and damage is noticed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from img2gps.photos import dataset
from img2gps.photos.dataset import DamagedCache, Dataset, open_dataset
from img2gps.photos.decode import pixel_digest
from img2gps.photos.ingest import FolderSource, ingest
from tests.helpers.photos import make_photo


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five photos, one of them called NA.jpg, and a text that is no photo."""
    root = tmp_path_factory.mktemp("photos")
    for i, name in enumerate(["NA.jpg", "b.jpg", "c.png", "d.webp", "e.jpg"]):
        make_photo(root / name, 39.95 + i / 3e4, -75.19, seed=i, gps_error_m=None if i else 4.5)
    (root / "bad.jpg").write_text("no photo")
    cache = tmp_path_factory.mktemp("cache")
    return ingest(FolderSource(root), image_size=16, cache_dir=cache, progress=False)


@pytest.fixture
def copy(built: Dataset, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(built.folder, folder)  # keeps the times
    return folder


def test_opening_gives_what_was_written(built: Dataset) -> None:
    again = open_dataset(built.folder)
    pd.testing.assert_frame_equal(again.manifest, built.manifest)
    assert (again.fingerprint, again.name) == (built.fingerprint, built.name)
    assert len(again) == 5
    assert set(again.manifest["photo"]) == {"NA.jpg", "b.jpg", "c.png", "d.webp", "e.jpg"}
    assert again.rejects.to_dict("records") == [
        {
            "file": "bad.jpg",
            "reason": "not a picture that can be read",
            "remedy": "export it as JPEG",
        }
    ]


def test_rows_and_pixels_belong_together(built: Dataset) -> None:
    pixels = built.pixels()
    assert pixels.dtype == np.uint8
    assert pixels.shape == (5, 16, 16, 3)
    assert not pixels.flags.writeable
    assert built.manifest["content"].tolist() == [pixel_digest(p) for p in pixels]
    assert built.manifest["content"].is_monotonic_increasing
    built.verify()


def test_labels_survive_to_the_last_digit(built: Dataset, tmp_path: Path) -> None:
    manifest = built.manifest.copy()
    rng = np.random.default_rng(0)
    manifest["lat_deg"] = rng.uniform(-90, 90, 5)
    manifest["altitude_m"] = [np.nan, 1e-17, -0.1, 1 / 3, 8848.86]
    dataset.write_manifest(manifest, tmp_path / "m.csv")
    pd.testing.assert_frame_equal(dataset.read_manifest(tmp_path / "m.csv"), manifest)


def test_unknown_numbers_are_nan_and_unknown_texts_empty(built: Dataset) -> None:
    assert built.manifest["gps_error_m"].isna().sum() == 4
    assert built.manifest["true_lat_deg"].isna().all()
    assert (built.manifest["taken_at"] == "").all()


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "pixels cut short": lambda folder: os.truncate(folder / "pixels.npy", 1000),
    "pixels gone": lambda folder: (folder / "pixels.npy").unlink(),
    "pixels empty": lambda folder: (folder / "pixels.npy").write_bytes(b""),
    "one bit of the pixels": lambda folder: flip(folder / "pixels.npy", -1),
    "pixels of another shape": lambda folder: np.save(
        folder / "pixels.npy", np.zeros((5, 16, 48), np.uint8)
    ),
    "one bit of the manifest": lambda folder: flip(folder / "manifest.csv", 300),
    "manifest gone": lambda folder: (folder / "manifest.csv").unlink(),
    "rejects changed": lambda folder: flip(folder / "rejects.csv", -2),
    "record cut short": lambda folder: os.truncate(folder / "dataset.json", 100),
    "record gone": lambda folder: (folder / "dataset.json").unlink(),
    "record empty": lambda folder: (folder / "dataset.json").write_text("{}"),
    "record of another schema": lambda folder: (folder / "dataset.json").write_text(
        json.dumps({"schema": 0})
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed(copy: Path, name: str) -> None:
    open_dataset(copy)
    DAMAGE[name](copy)
    with pytest.raises(DamagedCache):
        open_dataset(copy)


def test_a_copied_cache_is_checked_whole_and_still_opens(copy: Path) -> None:
    os.utime(copy / "pixels.npy")
    assert len(open_dataset(copy)) == 5


def test_pixels_changed_behind_the_clock_are_found_by_verify(copy: Path) -> None:
    opened = open_dataset(copy)
    before = (copy / "pixels.npy").stat()
    flip(copy / "pixels.npy", -1)
    os.utime(copy / "pixels.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedCache, match="were changed"):
        opened.verify()
