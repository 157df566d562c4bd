"""Data sets of Hugging Face as photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2gps.core.errors import BadInput
from img2gps.photos.ingest import (
    HuggingFaceSource,
)
from tests.helpers.ingested import NULL_ISLAND, ingested, reasons
from tests.helpers.photos import make_photo, picture
from tests.photos.test_decode import encode

LAT, LON = 39.9515, -75.1914


def parquet(path: Path, **columns: list[Any]) -> None:
    """A parquet file laid out as the `datasets` library writes image data sets."""
    datasets = pytest.importorskip("datasets")
    kinds = {"image": datasets.Image(), "session": datasets.Value("string")}
    number = datasets.Value("float64")
    features = datasets.Features({name: kinds.get(name, number) for name in columns})
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(path))


@pytest.mark.parametrize("as_folder", [False, True], ids=["file", "folder"])
def test_a_hugging_face_data_set_is_read(tmp_path: Path, cache: Path, as_folder: bool) -> None:
    pictures = [{"bytes": encode(picture(seed=i), "PNG"), "path": None} for i in range(3)]
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    parquet(path, image=pictures, Latitude=[1.5, 2.5, float("nan")], Longitude=[10.0, 20.0, 30.0])
    found = ingested(HuggingFaceSource(path.parent if as_folder else path), cache)
    rows = found.manifest.set_index("photo")
    assert list(rows.loc["train/000001", ["lat_deg", "lon_deg"]]) == [2.5, 20.0]
    assert reasons(found) == {"train/000002": "lat is missing"}
    expected = np.asarray(picture(seed=0).resize((16, 16), Image.Resampling.BILINEAR))
    row = found.manifest["photo"].tolist().index("train/000000")
    assert np.array_equal(found.pixels()[row], expected)


def test_a_hugging_face_row_at_null_island_is_refused(tmp_path: Path, cache: Path) -> None:
    pictures = [{"bytes": encode(picture(seed=i), "PNG"), "path": None} for i in range(2)]
    parquet(tmp_path / "a.parquet", image=pictures, Latitude=[0.0, LAT], Longitude=[0.0, LON])
    found = ingested(HuggingFaceSource(tmp_path / "a.parquet"), cache)
    assert found.manifest["photo"].tolist() == ["train/000001"]
    assert reasons(found) == {"train/000000": NULL_ISLAND}


def image_folder(root: Path, seed: int) -> Path:
    """Pictures beside a table that names them, as Hugging Face's image folders are."""
    (root / "set").mkdir(parents=True, exist_ok=True)
    for i in range(3):
        (root / "set" / f"{i}.png").write_bytes(encode(picture(seed=seed + i), "PNG"))
    rows = "".join(f"{i}.png,{LAT + i / 1e4},{LON}\n" for i in range(3))
    (root / "set" / "metadata.csv").write_text(f"file_name,lat,lon\n{rows}")
    return root / "set"


def test_other_pictures_with_the_same_names_and_labels_are_another_data_set(
    tmp_path: Path, cache: Path
) -> None:
    first = ingested(HuggingFaceSource(image_folder(tmp_path / "a", 0)), cache)
    second = ingested(HuggingFaceSource(image_folder(tmp_path / "b", 10)), cache)
    assert (len(first), len(second)) == (3, 3)
    assert first.fingerprint != second.fingerprint
    (tmp_path / "a" / "set" / "0.png").write_bytes(encode(picture(seed=20), "PNG"))
    assert (
        ingested(HuggingFaceSource(tmp_path / "a" / "set"), cache).fingerprint != first.fingerprint
    )


def test_a_hugging_face_row_that_leads_out_of_its_folder_is_refused(
    tmp_path: Path, cache: Path
) -> None:
    secret = make_photo(tmp_path / "secret.jpg", LAT, LON)
    (tmp_path / "set").mkdir()
    pictures = [
        {"bytes": encode(picture(), "PNG"), "path": None},
        {"bytes": None, "path": str(secret)},
    ]
    parquet(tmp_path / "set" / "train.parquet", image=pictures, lat=[LAT, LAT], lon=[LON, LON])
    found = ingested(HuggingFaceSource(tmp_path / "set"), cache)
    assert found.manifest["photo"].tolist() == ["train/000000"]
    assert reasons(found) == {"train/000001": "leads out of the data set's folder"}


def test_a_hugging_face_row_without_a_session_has_none(tmp_path: Path, cache: Path) -> None:
    pictures = [{"bytes": encode(picture(seed=i), "PNG"), "path": None} for i in range(2)]
    where = tmp_path / "a.parquet"
    parquet(where, image=pictures, lat=[LAT, LAT], lon=[LON, LON], session=["walk", None])
    rows = ingested(HuggingFaceSource(tmp_path / "a.parquet"), cache).manifest.set_index("photo")
    assert rows["session"].to_dict() == {"train/000000": "walk", "train/000001": ""}


def test_a_hugging_face_data_set_without_positions_says_so(tmp_path: Path, cache: Path) -> None:
    pictures = [{"bytes": encode(picture(), "PNG"), "path": None}]
    parquet(tmp_path / "a.parquet", image=pictures, Latitude=[1.5])
    with pytest.raises(BadInput, match=r"no columns of latitude and longitude \(found: 'image"):
        ingested(HuggingFaceSource(tmp_path / "a.parquet"), cache)
    with pytest.raises(BadInput, match="no such file"):
        ingested(HuggingFaceSource(tmp_path / "b.parquet"), cache)


def test_a_parquet_file_without_pictures_says_what_it_lacks(tmp_path: Path, cache: Path) -> None:
    parquet(tmp_path / "a.parquet", Latitude=[LAT], Longitude=[LON])
    found = r"no column of the type Image \(found: 'Latitude \(float64\), Longitude \(float64\)'\)"
    with pytest.raises(BadInput, match=found):
        ingested(HuggingFaceSource(tmp_path / "a.parquet"), cache)
