"""From photos to a cache: sources, awful folders, repetition, concurrency, damage."""

from __future__ import annotations

import csv
import json
import logging
import multiprocessing
import os
import shutil
import sqlite3
import struct
import tempfile
import threading
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from img2gps.config.schema import SplitConfig
from img2gps.core.errors import BadInput
from img2gps.photos.dataset import Dataset
from img2gps.photos.exif.times import parse_time
from img2gps.photos.guard import Readers
from img2gps.photos.ingest import (
    CsvSource,
    FolderSource,
    HuggingFaceSource,
    QuadSource,
    Source,
    ingest,
)
from img2gps.photos.pixelfile import permute_rows
from img2gps.photos.reading import read_items
from img2gps.photos.sessions import sessions
from img2gps.photos.split import make_split
from tests.helpers.photos import gps_fields, make_photo, picture, tiff_exif
from tests.photos.test_decode import AWFUL, encode

LAT, LON = 39.9515, -75.1914
Answers: TypeAlias = "multiprocessing.Queue[tuple[str, int]]"


def run(source: Source, cache: Path, size: int = 16) -> Dataset:
    return ingest(source, image_size=size, cache_dir=cache, threads=2, progress=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of six photos, two of them in folders below."""
    folder = tmp_path / "photos"
    (folder / "day 2" / "evening").mkdir(parents=True)
    names = ["a.jpg", "b.JPG", "c.heic", "d.png", "day 2/e.jpg", "day 2/evening/f.webp"]
    for i, name in enumerate(names):
        path = folder / name
        make_photo(path, LAT + i / 1e4, LON, seed=i, taken_at=f"2024:05:01 1{i}:00:00")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def reasons(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.rejects["file"], dataset.rejects["reason"], strict=True))


# --- folder ---------------------------------------------------------------------------------


def test_split_of_the_same_photos_is_the_same_at_every_image_size(tmp_path: Path) -> None:
    for i in range(30):
        make_photo(tmp_path / f"{i}.jpg", 39.95 + i * 1e-4, -75.19 + (i % 5) * 2e-4, seed=i)
    parts = []
    for size in (32, 48):
        dataset = ingest(
            FolderSource(tmp_path), image_size=size, cache_dir=tmp_path / "cache", progress=False
        )
        split = make_split(dataset.manifest, SplitConfig(n_val=8, n_train=10))
        photos = dataset.manifest["photo"].to_numpy()
        parts.append((set(photos[split.val]), set(photos[split.train])))
    assert parts[0] == parts[1]


def test_a_folder_becomes_a_dataset(root: Path, cache: Path) -> None:
    found = run(FolderSource(root), cache)
    assert (found.name, found.image_size, found.synthetic) == ("photos", 16, False)
    rows = found.manifest.set_index("photo")
    assert rows.loc["day 2/evening/f.webp", "lat_deg"] == pytest.approx(LAT + 5e-4)
    assert (rows["lon_deg"] - LON).abs().max() < 1e-8
    assert rows.loc["a.jpg", "taken_at"] == "2024-05-01T10:00:00"
    assert set(rows["camera"].tolist()) == {"Maker Phone 1"}
    assert list(rows.loc["a.jpg", ["width_px", "height_px", "orientation"]]) == [64, 48, 1]
    expected = np.asarray(picture(seed=3).resize((16, 16), Image.Resampling.BILINEAR))  # d.png
    row = found.manifest["photo"].tolist().index("d.png")
    assert np.array_equal(found.pixels()[row], expected)
    assert found.rejects.empty


def test_names_and_order_of_the_files_change_nothing(root: Path, cache: Path) -> None:
    first = run(FolderSource(root), cache)
    moved = root.parent / "other"
    moved.mkdir()
    for i, path in enumerate(sorted(root.rglob("*.*"), reverse=True)):
        shutil.copy(path, moved / f"{i}{path.suffix}")
    second = run(FolderSource(moved), cache)
    assert second.fingerprint == first.fingerprint
    assert second.folder != first.folder
    assert np.array_equal(second.pixels(), first.pixels())


def test_fingerprint_changes_with_pixels_labels_and_size(root: Path, cache: Path) -> None:
    seen = {
        run(FolderSource(root), cache).fingerprint,
        run(FolderSource(root), cache, 17).fingerprint,
    }
    make_photo(root / "a.jpg", LAT + 1e-6, LON, seed=0)  # moved by 0.1 m
    seen.add(run(FolderSource(root), cache).fingerprint)
    make_photo(root / "a.jpg", LAT + 1e-6, LON, seed=99)
    seen.add(run(FolderSource(root), cache).fingerprint)
    assert len(seen) == 4


def test_a_second_call_decodes_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(FolderSource(root), cache)
    monkeypatch.setattr(Readers, "read", None)
    second = run(FolderSource(root), cache)
    assert (second.folder, second.fingerprint) == (first.folder, first.fingerprint)


def test_a_photo_touched_or_added_is_seen(root: Path, cache: Path) -> None:
    assert len(run(FolderSource(root), cache)) == 6
    make_photo(root / "g.jpg", LAT, LON, seed=7)
    assert len(run(FolderSource(root), cache)) == 7
    (root / "g.jpg").unlink()
    assert len(run(FolderSource(root), cache)) == 6


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_folder_of_awful_files_loses_nothing_and_hangs_on_nothing(
    root: Path, cache: Path
) -> None:
    for i, (make, _) in enumerate(AWFUL.values()):
        (root / f"awful {i}.jpg").write_bytes(located(make()))
    os.mkfifo(root / "pipe.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    (root / "nowhere.jpg").symlink_to(root / "gone.jpg")
    (root / "back").symlink_to(root)  # a folder that contains itself
    (root / "empty.jpg").touch()
    (root / "raw.NEF").write_bytes(b"II*\0")
    (root / "animation.gif").write_bytes(b"GIF89a")
    (root / "notes.txt").write_text("bought milk")
    (root / "._a.jpg").write_bytes(b"of macOS")
    make_photo(root / "off.jpg", None, None)
    make_photo(root / "null.jpg", 0, 0)
    shutil.copy(root / "a.jpg", os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg"))
    make_photo(root / "cmyk.jpg", LAT, LON, image=Image.new("CMYK", (8, 8), (9, 9, 9, 9)))
    make_photo(
        root / "grey16.png", LAT, LON, image=Image.fromarray(np.full((8, 8), 999, np.uint16))
    )

    found = run(FolderSource(root), cache)
    good = {"a.jpg", "b.JPG", "c.heic", "d.png", "day 2/e.jpg", "day 2/evening/f.webp"}
    assert set(found.manifest["photo"]) == good | {r"caf\xe9.jpg", "cmyk.jpg", "grey16.png"}
    why = reasons(found)
    assert {name for name in why if not name.startswith("awful")} == {
        *("pipe.jpg", "loop.jpg", "nowhere.jpg", "back", "empty.jpg", "raw.NEF", "animation.gif"),
        *("off.jpg", "null.jpg"),
    }
    assert sum(name.startswith("awful") for name in why) == len(AWFUL)
    assert all(why.values())
    assert found.rejects["remedy"].all()
    assert why["pipe.jpg"] == "not a regular file"
    assert why["back"] == "link to a folder already read"
    assert why["raw.NEF"] == ".nef pictures are not read"
    assert why["null.jpg"].startswith("null island")
    assert found.summary["not_photos"] == {".txt": 1, "hidden": 1}


def located(data: bytes) -> bytes:
    """The same file; those that are JPEG get a position, so that only the damage speaks."""
    exif = make_jpeg_exif()
    return data[:2] + exif + data[2:] if data[:3] == b"\xff\xd8\xff" else data


def make_jpeg_exif() -> bytes:
    body = b"Exif\0\0" + tiff_exif(gps_fields(LAT, LON))
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


def test_links_that_lead_out_of_the_folder_are_followed_and_said(
    root: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    make_photo(tmp_path / "elsewhere" / "x.jpg", LAT, LON, seed=50)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "y.jpg").symlink_to(make_photo(tmp_path / "y.jpg", LAT, LON, seed=51))
    (root / "z.jpg").symlink_to(root / "a.jpg")
    notes = run(FolderSource(root), cache).manifest.set_index("photo")["note"]
    said = "a link leads to it, outside the folder"
    assert notes[["linked/x.jpg", "y.jpg", "z.jpg"]].tolist() == [said, said, ""]


def test_a_folder_without_usable_photos_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    for i in range(3):
        make_photo(tmp_path / f"{i}.jpg", None, None)
    with pytest.raises(BadInput, match=r"none of 3 photos .*location was off.*export originals"):
        run(FolderSource(tmp_path), cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    (listed,) = cache.glob("*-rejects.csv")
    assert [line.split(",")[0] for line in listed.read_text().splitlines()] == [
        *("file", "0.jpg", "1.jpg", "2.jpg")
    ]


def test_an_empty_folder_and_a_missing_one_say_what_to_give(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "film.mov").touch()
    with pytest.raises(BadInput, match=r"no photos in it \(but 1 \.mov\); give a folder of JPEG"):
        run(FolderSource(tmp_path / "x"), cache)
    with pytest.raises(BadInput, match="no such folder"):
        run(FolderSource(tmp_path / "y"), cache)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", "one photo, not a folder; give the folder that holds the photos"),
        ("c.heic", "one photo, not a folder; give the folder that holds the photos"),
        (
            "notes.txt",
            "a file, not a folder; give the folder that holds the photos, a CSV (path, lat, lon) "
            "or a parquet file",
        ),
    ],
)
def test_a_file_in_place_of_a_folder_is_said_to_be_one(
    root: Path, cache: Path, name: str, message: str
) -> None:
    (root / "notes.txt").write_text("bought milk")
    with pytest.raises(BadInput) as refusal:
        run(FolderSource(root / name), cache)
    assert str(refusal.value) == f"{root / name}: {message}"


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_truncated_heic_is_said_to_be_truncated_wherever_it_ends(
    root: Path, cache: Path, suffix: str
) -> None:
    whole = make_photo(root.parent / f"whole.{suffix}", LAT, LON, size=(256, 192)).read_bytes()
    for length in (100, 300, len(whole) // 2, len(whole) - 1):
        (root / f"{length}.{suffix}").write_bytes(whole[:length])
    found = run(FolderSource(root), cache)
    assert len(found) == 6
    assert set(found.rejects["reason"]) == {"truncated: parts of the picture are missing"}
    assert set(found.rejects["remedy"]) == {"copy the original again"}
    assert len(found.rejects) == 4


def test_an_unwritable_cache_says_so(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cache .*; free space or choose another folder"):
        run(FolderSource(root), tmp_path / "file" / "cache")


# --- overrides ------------------------------------------------------------------------------


def test_overrides_correct_and_exclude_by_name(root: Path, cache: Path) -> None:
    make_photo(root / "off.jpg", None, None, seed=8)
    (root / "overrides.csv").write_text(
        "photo,lat,lon,exclude,reason\n"
        "a.jpg,10,20,,\n"
        "e.jpg,,,yes,my thumb\n"
        "off.jpg,11,21,,\n"
        "gone.jpg,1,1,,\n"
        "d.png,95,1,,\n"
    )
    found = run(FolderSource(root), cache)
    rows = found.manifest.set_index("photo")
    assert list(rows.loc["a.jpg", ["lat_deg", "lon_deg"]]) == [10, 20]
    assert list(rows.loc["off.jpg", ["lat_deg", "lon_deg"]]) == [11, 21]
    assert rows.loc["a.jpg", "note"] == "by overrides.csv"
    assert rows.loc["d.png", "lat_deg"] == pytest.approx(LAT + 3e-4)
    assert reasons(found) == {
        "day 2/e.jpg": "excluded by overrides.csv: my thumb",
        "overrides.csv, row 5": "no photo called 'gone.jpg'",
        "overrides.csv, row 6": "lat is '95'",
    }


def test_changed_overrides_change_the_cache(root: Path, cache: Path) -> None:
    before = run(FolderSource(root), cache)
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,10,20\n")
    assert run(FolderSource(root), cache).fingerprint != before.fingerprint


def test_a_name_that_two_photos_have_needs_its_path(root: Path, cache: Path) -> None:
    make_photo(root / "day 2" / "a.jpg", LAT, LON, seed=60)
    (root / "overrides.csv").write_text("photo,exclude\na.jpg,1\nday 2/evening/f.webp,1\n")
    found = run(FolderSource(root), cache)
    assert reasons(found)["overrides.csv, row 2"] == "2 photos called 'a.jpg'"
    assert reasons(found)["day 2/evening/f.webp"] == "excluded by overrides.csv"


# --- CSV ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        "path,lat,lon\na.jpg,10.5,20.25\n",
        "image_path,Latitude,Longitude\na.jpg,10.5,20.25\n",
        "\ufeffFileName;Latitude;lng\na.jpg;10,5;20,25\n",
        "lon\tLAT\timage\n20.25\t10.5\ta.jpg\n",
        'id,GPS Latitude,GPS Longitude,Photo\n1,"10.5","20.25","./a.jpg"\n',
        "name,path,lat,lon\nStatue 3,a.jpg,10.5,20.25\n",
    ],
)
def test_csv_headers_and_separators_are_understood(root: Path, cache: Path, table: str) -> None:
    (root / "labels.csv").write_text(table, encoding="utf-8")
    found = run(CsvSource(root / "labels.csv"), cache)
    assert found.name == "labels"
    assert found.manifest["photo"].tolist() == ["a.jpg"]
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10.5, 20.25]]
    assert found.manifest["taken_at"].tolist() == ["2024-05-01T10:00:00"]  # still from EXIF


def test_csv_columns_win_over_exif(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text(
        "path,lat,lon,heading,accuracy,timestamp,session\na.jpg,1,2,90.5,3.5,2020-01-01T00:00:00,x\n"
    )
    row = run(CsvSource(root / "t.csv"), cache).manifest.iloc[0]
    assert list(row[["heading_deg", "gps_error_m", "taken_at", "session"]]) == [
        *(90.5, 3.5, "2020-01-01T00:00:00", "x")
    ]


def test_what_no_photo_can_have_is_left_out_of_a_tables_columns(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text(
        "path;lat;lon;accuracy;heading\na.jpg;1;2;-1;inf\nb.JPG;1;3;4,5;-90\n"
    )
    rows = run(CsvSource(root / "t.csv"), cache).manifest.set_index("photo")
    assert rows.loc[["a.jpg"], ["gps_error_m", "heading_deg"]].isna().all(axis=None)
    assert list(rows.loc["b.JPG", ["gps_error_m", "heading_deg"]]) == [4.5, 270.0]


def test_a_photos_own_error_is_not_that_of_another_label(root: Path, cache: Path) -> None:
    make_photo(root / "a.jpg", LAT, LON, gps_error_m=14.0)
    assert run(FolderSource(root), cache).manifest["gps_error_m"].max() == 14.0
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,10,20\n")
    assert run(FolderSource(root), cache).manifest["gps_error_m"].isna().all()
    (root / "overrides.csv").write_text("photo,lat,lon,accuracy\na.jpg,10,20,0.5\n")
    assert run(FolderSource(root), cache).manifest["gps_error_m"].max() == 0.5


def test_a_photo_corrected_twice_is_corrected_once_and_said(root: Path, cache: Path) -> None:
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,10,20\na.jpg,30,40\n")
    found = run(FolderSource(root), cache)
    assert found.manifest.set_index("photo").loc["a.jpg", "lat_deg"] == 10
    assert reasons(found) == {"overrides.csv, row 3": "a.jpg is in a row above"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-01 10:00:00", "2020-01-01T10:00:00"),
        ("2020-01-01T10:00:00Z", "2020-01-01T10:00:00+00:00"),
        ("2020:01:01 10:00:00", "2020-01-01T10:00:00"),
        ("yesterday", "2024-05-01T10:00:00"),  # then EXIF's
    ],
)
def test_csv_times_are_brought_to_iso_8601(
    root: Path, cache: Path, text: str, expected: str
) -> None:
    (root / "t.csv").write_text(f"path,lat,lon,time\na.jpg,1,2,{text}\n")
    assert run(CsvSource(root / "t.csv"), cache).manifest["taken_at"].tolist() == [expected]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.jpg", r"a\x0ab.jpg"),
        ("a\rb.jpg", r"a\x0db.jpg"),
        (" a .jpg", " a .jpg"),
        ('a",b.jpg', 'a",b.jpg'),
        ("=1+1.jpg", "=1+1.jpg"),
        ("NA.jpg", "NA.jpg"),
        ("写真 📷.jpg", "写真 📷.jpg"),
    ],
)
def test_any_file_name_survives_the_manifest(
    tmp_path: Path, cache: Path, name: str, shown: str
) -> None:
    (tmp_path / "photos").mkdir()
    make_photo(tmp_path / "photos" / name, LAT, LON)
    make_photo(tmp_path / "photos" / f"x{name}", None, None)
    found = run(FolderSource(tmp_path / "photos"), cache)
    assert found.manifest["photo"].tolist() == [shown]
    assert found.rejects["file"].tolist() == [f"x{shown}"]


def test_csv_rows_that_cannot_be_used_are_named(root: Path, cache: Path) -> None:
    outside = make_photo(root.parent / "outside.jpg", 1, 1)
    (root / "link.jpg").symlink_to(outside)
    (root / "t.csv").write_text(
        "path,lat,lon\na.jpg,1,2\n../outside.jpg,1,2\n"
        f"{outside},1,2\nlink.jpg,1,2\ngone.jpg,1,2\nb.JPG,x,2\nc.heic,1,200\n,1,2\na.jpg,1,2\n"
    )
    found = run(CsvSource(root / "t.csv"), cache)
    assert found.manifest["photo"].tolist() == ["a.jpg"]
    why = reasons(found)
    for name in ("../outside.jpg", str(outside), "link.jpg"):
        assert why[name] == "leads out of the CSV's folder"
    assert why["gone.jpg"] == "cannot be opened: No such file or directory"
    assert why["b.JPG"] == "lat is 'x'"
    assert why["c.heic"] == "lon is '200'"
    assert why["row 9"] == "no path"
    assert why["a.jpg"] == "listed again in row 10"


NULL_ISLAND = "null island: the position is 0, 0, which stands for unknown"


def test_a_label_of_null_island_is_refused_and_the_other_rows_are_used(
    root: Path, cache: Path
) -> None:
    (root / "t.csv").write_text(
        f"path,lat,lon\na.jpg,{LAT},{LON}\nb.JPG,0,0\nc.heic,{LAT},{LON + 1e-3}\nd.png,0,9\n"
    )
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,0.0,-0.0\nd.png,39.9525,-75.1914\n")
    found = run(CsvSource(root / "t.csv"), cache)
    assert sorted(found.manifest["photo"]) == ["a.jpg", "c.heic", "d.png"]
    assert found.manifest["lat_deg"].between(39.95, 39.96).all()
    assert reasons(found) == {"b.JPG": NULL_ISLAND, "overrides.csv, row 2": NULL_ISLAND}
    assert set(found.rejects["remedy"]) == {"give its true position, or remove the row"}


def test_csv_may_lead_outside_where_allowed(root: Path, cache: Path) -> None:
    make_photo(root.parent / "outside.jpg", 1, 1)
    (root / "t.csv").write_text("path,lat,lon\n../outside.jpg,1,2\n")
    found = run(CsvSource(root / "t.csv", allow_outside=True), cache)
    assert found.manifest["photo"].tolist() == ["../outside.jpg"]


@pytest.mark.parametrize("coding", ["cp1252", "utf-8"])
def test_a_table_and_overrides_in_the_coding_of_excel_are_read(
    root: Path, cache: Path, coding: str
) -> None:
    (root / "a.jpg").rename(os.fsdecode(os.fsencode(root) + b"/M\xfcnster 1.jpg"))  # in Latin-1
    (root / "b.JPG").rename(root / "Münster 2.jpg")
    (root / "t.csv").write_bytes(
        "path;lat;lon;session\nMünster 1.jpg;1,5;2;Münster\nMünster 2.jpg;1;2;Köln\n".encode(coding)
    )
    found = run(CsvSource(root / "t.csv"), cache)
    sessions_of = found.manifest.set_index("photo")["session"].to_dict()
    assert sessions_of == {r"M\xfcnster 1.jpg": "Münster", "Münster 2.jpg": "Köln"}
    (root / "overrides.csv").write_bytes("photo,exclude\nMünster 2.jpg,1\n".encode(coding))
    assert reasons(run(FolderSource(root), cache))["Münster 2.jpg"] == "excluded by overrides.csv"


def test_a_folder_named_in_latin_1_is_read(root: Path, cache: Path) -> None:
    other = os.fsdecode(os.fsencode(root.parent) + b"/M\xfcnster")
    root.rename(other)
    found = run(FolderSource(other), cache)
    assert (len(found), found.name) == (6, r"M\xfcnster")
    assert found.summary["origin"].endswith(r"M\xfcnster")


@pytest.mark.parametrize("given", ["/dev/zero", "."])
def test_a_table_that_is_no_file_is_refused_at_once(given: str, cache: Path) -> None:
    with pytest.raises(BadInput, match=f"^{given}: not a regular file; give a CSV file$"):
        run(CsvSource(given), cache)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"type": "FeatureCollection", "features": ' + b"[1]" * 9999, "no GeoJSON feature coll"),
        (b"spam and eggs " * 999 + b"\n1\n", r"\.\.\.'\); name the columns"),
        (b"PK\3\4" + bytes(range(256)) * 999, "a spreadsheet or an archive; give a CSV file"),
    ],
)
def test_what_is_no_table_is_not_printed_whole(
    tmp_path: Path, cache: Path, content: bytes, message: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadInput, match=message) as refusal:
        run(CsvSource(tmp_path / "t.csv"), cache)
    assert len(str(refusal.value)) < 400


def test_an_empty_path_is_not_the_current_folder(cache: Path) -> None:
    for source in (FolderSource(""), CsvSource("")):
        with pytest.raises(BadInput, match=r"^data\.root: is empty; give a path$"):
            run(source, cache)


def test_a_quoted_decimal_comma_is_read_also_between_commas(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text('path,lat,lon\na.jpg,"39,95","-75,25"\n')
    found = run(CsvSource(root / "t.csv"), cache).manifest
    assert found[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[39.95, -75.25]]


def geojson(*features: Any, **more: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features} | more)


def feature(kind: str, coordinates: list[Any], **properties: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_points_of_a_geojson_are_labels(root: Path, cache: Path) -> None:
    (root / "t.geojson").write_text(
        geojson(
            feature("Point", [20.25, 10.5, 99], path="a.jpg", accuracy=3),
            feature("Point", [-20.25, -10.5], path="b.JPG", heading="90"),
            feature("LineString", [[1, 2], [3, 4]], path="c.heic"),
            {"type": "Feature", "geometry": None, "properties": {"path": "d.png"}},
        ),
        encoding="utf-8",
    )
    found = run(CsvSource(root / "t.geojson"), cache)
    rows = found.manifest.set_index("photo")
    assert rows[["lat_deg", "lon_deg"]].to_dict("index") == {
        "a.jpg": {"lat_deg": 10.5, "lon_deg": 20.25},
        "b.JPG": {"lat_deg": -10.5, "lon_deg": -20.25},
    }
    assert (rows.loc["a.jpg", "gps_error_m"], rows.loc["b.JPG", "heading_deg"]) == (3, 90)
    assert set(rows["label_from"]) == {"table"}
    assert reasons(found) == {"c.heic": "lat is 'LineString'", "d.png": "lat is missing"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no GeoJSON feature collection; give points in WGS 84"),
        ('{"features": 1}', "no GeoJSON feature collection"),
        ("{" * 100_000, "no GeoJSON feature collection"),
        (geojson(feature("Point", [1, 2], title="x")), "no column for photo"),
        (geojson(), "no rows below its header"),
        (
            geojson(crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}),
            "has the coordinate system urn:ogc:def:crs:EPSG::3857; give points in WGS 84",
        ),
    ],
)
def test_a_geojson_that_cannot_be_used_says_why(
    root: Path, cache: Path, text: str, message: str
) -> None:
    (root / "t.geojson").write_text(text)
    with pytest.raises(BadInput, match=message):
        run(CsvSource(root / "t.geojson"), cache)


def test_a_geojson_without_a_coordinate_system_is_in_wgs_84(root: Path, cache: Path) -> None:
    (root / "t.geojson").write_text(geojson(feature("Point", [20, 10], path="a.jpg"), crs=None))
    found = run(CsvSource(root / "t.geojson"), cache).manifest
    assert found[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10, 20]]


def test_half_a_character_in_a_geojson_stops_nothing(root: Path, cache: Path) -> None:
    features = [feature("Point", [20, 10], path=path) for path in ("a.jpg", "\ud800.jpg")]
    features[0]["properties"]["session"] = "\udfff"
    (root / "t.geojson").write_text(geojson(*features))
    found = run(CsvSource(root / "t.geojson"), cache)
    assert found.manifest[["photo", "session"]].to_numpy().tolist() == [["a.jpg", "?"]]
    assert reasons(found) == {"?.jpg": "cannot be opened: No such file or directory"}


def geopackage(path: Path, points: dict[str, bytes], epsg: int = 4326, layers: int = 1) -> None:
    """A GeoPackage with what matters here (OGC 12-128r18)."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE gpkg_spatial_ref_sys (srs_id, organization_coordsys_id)")
        database.execute("CREATE TABLE gpkg_geometry_columns (table_name, column_name, srs_id)")
        database.execute("INSERT INTO gpkg_spatial_ref_sys VALUES (7, ?)", (epsg,))
        for layer in range(layers):
            name = f'photo "points" {layer}'
            database.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 7)", (name,))
            quoted = name.replace('"', '""')
            database.execute(f'CREATE TABLE "{quoted}" (fid, geom, path, accuracy)')
            rows = [(1, blob, photo, None) for photo, blob in points.items()]
            insert = f'INSERT INTO "{quoted}" VALUES (?, ?, ?, ?)'  # noqa: S608, quoted above
            database.executemany(insert, rows)


def gpkg_point(lon: float, lat: float, order: str = "<", envelope: int = 0) -> bytes:
    head = b"GP\0" + bytes([(order == "<") | envelope << 1]) + struct.pack(f"{order}i", 7)
    box = struct.pack(f"{order}4d", lon, lon, lat, lat) if envelope else b""
    return head + box + bytes([order == "<"]) + struct.pack(f"{order}Idd", 1, lon, lat)


def test_points_of_a_geopackage_are_labels(root: Path, cache: Path) -> None:
    points = {
        "a.jpg": gpkg_point(20.25, 10.5),
        "b.JPG": gpkg_point(-20.25, -10.5, ">", 1),
        "c.heic": gpkg_point(float("nan"), float("nan")),
        "d.png": b"GP\0\1" + bytes(5),
    }
    geopackage(root / "t.gpkg", points)
    found = run(CsvSource(root / "t.gpkg"), cache)
    rows = found.manifest.set_index("photo")
    assert list(rows.loc["a.jpg", ["lat_deg", "lon_deg"]]) == [10.5, 20.25]
    assert list(rows.loc["b.JPG", ["lat_deg", "lon_deg"]]) == [-10.5, -20.25]
    assert reasons(found) == {"c.heic": "lat is missing", "d.png": "lat is missing"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsg": 3857}, "has the coordinate system EPSG:3857; give points in WGS 84"),
        ({"layers": 2}, r"has 2 layers of features \(photo .*\); give one of points"),
    ],
)
def test_a_geopackage_that_cannot_be_used_says_why(
    root: Path, cache: Path, options: dict[str, int], message: str
) -> None:
    geopackage(root / "t.gpkg", {"a.jpg": gpkg_point(1, 2)}, **options)
    with pytest.raises(BadInput, match=message):
        run(CsvSource(root / "t.gpkg"), cache)
    (root / "u.gpkg").write_bytes(b"SQLite format 3\0" + bytes(500))
    with pytest.raises(BadInput, match="no GeoPackage"):
        run(CsvSource(root / "u.gpkg"), cache)


def test_csv_without_the_columns_says_which(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text("path,x,y\na.jpg,1,2\n")
    with pytest.raises(BadInput, match=r"no column for lat, lon \(found: 'path, x, y'\)"):
        run(CsvSource(root / "t.csv"), cache)
    with pytest.raises(BadInput, match="give a CSV file"):
        run(CsvSource(root / "none.csv"), cache)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file (0 bytes); give a CSV file"),
        ("\ufeff\n", "empty; give a header line and one row a photo"),
        ("path,lat,lon\n", "no rows below its header; add one a photo (path, lat, lon)"),
    ],
)
def test_csv_without_rows_says_so(root: Path, cache: Path, text: str, message: str) -> None:
    (root / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as refusal:
        run(CsvSource(root / "t.csv"), cache)
    assert str(refusal.value) == f"{root / 't.csv'}: {message}"


# --- Hugging Face ---------------------------------------------------------------------------


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
    found = run(HuggingFaceSource(path.parent if as_folder else path), cache)
    rows = found.manifest.set_index("photo")
    assert list(rows.loc["train/000001", ["lat_deg", "lon_deg"]]) == [2.5, 20.0]
    assert reasons(found) == {"train/000002": "lat is missing"}
    expected = np.asarray(picture(seed=0).resize((16, 16), Image.Resampling.BILINEAR))
    row = found.manifest["photo"].tolist().index("train/000000")
    assert np.array_equal(found.pixels()[row], expected)


def test_a_hugging_face_row_at_null_island_is_refused(tmp_path: Path, cache: Path) -> None:
    pictures = [{"bytes": encode(picture(seed=i), "PNG"), "path": None} for i in range(2)]
    parquet(tmp_path / "a.parquet", image=pictures, Latitude=[0.0, LAT], Longitude=[0.0, LON])
    found = run(HuggingFaceSource(tmp_path / "a.parquet"), cache)
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
    first = run(HuggingFaceSource(image_folder(tmp_path / "a", 0)), cache)
    second = run(HuggingFaceSource(image_folder(tmp_path / "b", 10)), cache)
    assert (len(first), len(second)) == (3, 3)
    assert first.fingerprint != second.fingerprint
    (tmp_path / "a" / "set" / "0.png").write_bytes(encode(picture(seed=20), "PNG"))
    assert run(HuggingFaceSource(tmp_path / "a" / "set"), cache).fingerprint != first.fingerprint


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
    found = run(HuggingFaceSource(tmp_path / "set"), cache)
    assert found.manifest["photo"].tolist() == ["train/000000"]
    assert reasons(found) == {"train/000001": "leads out of the data set's folder"}


def test_a_hugging_face_row_without_a_session_has_none(tmp_path: Path, cache: Path) -> None:
    pictures = [{"bytes": encode(picture(seed=i), "PNG"), "path": None} for i in range(2)]
    where = tmp_path / "a.parquet"
    parquet(where, image=pictures, lat=[LAT, LAT], lon=[LON, LON], session=["walk", None])
    rows = run(HuggingFaceSource(tmp_path / "a.parquet"), cache).manifest.set_index("photo")
    assert rows["session"].to_dict() == {"train/000000": "walk", "train/000001": ""}


def test_a_hugging_face_data_set_without_positions_says_so(tmp_path: Path, cache: Path) -> None:
    pictures = [{"bytes": encode(picture(), "PNG"), "path": None}]
    parquet(tmp_path / "a.parquet", image=pictures, Latitude=[1.5])
    with pytest.raises(BadInput, match=r"no columns of latitude and longitude \(found: 'image"):
        run(HuggingFaceSource(tmp_path / "a.parquet"), cache)
    with pytest.raises(BadInput, match="no such file"):
        run(HuggingFaceSource(tmp_path / "b.parquet"), cache)


def test_a_parquet_file_without_pictures_says_what_it_lacks(tmp_path: Path, cache: Path) -> None:
    parquet(tmp_path / "a.parquet", Latitude=[LAT], Longitude=[LON])
    found = r"no column of the type Image \(found: 'Latitude \(float64\), Longitude \(float64\)'\)"
    with pytest.raises(BadInput, match=found):
        run(HuggingFaceSource(tmp_path / "a.parquet"), cache)


# --- the quad -------------------------------------------------------------------------------


def test_the_quad_brings_its_truth_and_is_marked_synthetic(cache: Path) -> None:
    source = QuadSource(n=6, width=64, height=48)
    found = run(source, cache)
    assert (len(found), found.synthetic, found.name) == (6, True, "quad")
    with next(cache.glob("quad-photos-*/truth.csv")).open(encoding="utf-8") as file:
        truth = {row["photo"]: row for row in csv.DictReader(file)}
    for row in found.manifest.itertuples():
        assert row.true_lat_deg == float(truth[row.photo]["true_lat_deg"])
        assert row.session == truth[row.photo]["session"]
        assert row.camera == "img2gps synthetic"


def test_another_version_of_the_quad_is_another_data_set(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2gps.photos import quad

    source = QuadSource(n=2, width=64, height=48)
    first = run(source, cache)
    monkeypatch.setattr(quad, "QUAD_VERSION", "another")
    second = run(source, cache)
    assert second.folder != first.folder
    assert second.fingerprint != first.fingerprint


# --- the whole set --------------------------------------------------------------------------


def test_duplicates_and_far_outliers_are_reported_and_kept(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(root / "a.jpg", root / "copy of a.jpg")
    make_photo(root / "far.jpg", LAT + 1, LON, seed=70)
    with caplog.at_level(logging.WARNING):
        found = run(FolderSource(root), cache)
    assert len(found) == 8
    assert found.summary["duplicates"] == [["a.jpg", "copy of a.jpg"]]
    assert list(found.summary["far_m"]) == ["far.jpg"]
    assert found.summary["far_m"]["far.jpg"] == pytest.approx(111_195, rel=1e-3)
    assert "the same pixels: 1 group(s), for instance a.jpg, copy of a.jpg" in caplog.text
    assert "far.jpg (111,1" in caplog.text


def test_a_far_outlier_is_found_also_across_the_antimeridian(tmp_path: Path, cache: Path) -> None:
    for i, lon in enumerate([179.9999, -179.9999, 179.9998, -179.9998]):
        make_photo(tmp_path / f"{i}.jpg", -17, lon, seed=i)
    make_photo(tmp_path / "far.jpg", -16, 180, seed=70)
    make_photo(tmp_path / "farther.jpg", -16, -180, seed=71)
    assert set(run(FolderSource(tmp_path), cache).summary["far_m"]) == {"far.jpg", "farther.jpg"}


def test_a_pause_of_more_than_half_an_hour_starts_a_session() -> None:
    assert sessions(
        [
            "2024-05-01T11:01:00",
            "2024-05-01T10:00:00",
            "",
            "2024-05-01T10:30:00",
            "2024-05-01T11:31:01",
        ]
    ) == [
        "2024-05-01 11:01:00",
        "2024-05-01 10:00:00",
        "",
        "2024-05-01 10:00:00",
        "2024-05-01 11:31:01",
    ]


def test_sessions_compare_utc_where_all_know_it_and_the_wall_clock_elsewhere() -> None:
    new_york, utc = "2024-05-01T10:00:00-04:00", "2024-05-01T14:10:00+00:00"
    assert len(set(sessions([new_york, utc]))) == 1
    assert len(set(sessions([new_york, "2024-05-01T10:10:00"]))) == 1
    assert len(set(sessions([new_york, "2024-05-01T14:10:00"]))) == 2


@given(st.permutations(range(12)))
def test_rows_of_a_file_are_permuted_in_place(order: list[int]) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (12, 7)).astype(np.uint8)
    with tempfile.TemporaryFile() as file:
        file.write(b"head" + rows.tobytes() + b"tail")
        file.flush()
        permute_rows(file.fileno(), 4, 7, order)
        file.seek(0)
        assert file.read() == b"head" + rows[order].tobytes() + b"tail"


# --- damage, concurrency, interruption ------------------------------------------------------


def test_a_damaged_cache_is_built_again_with_a_warning(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(FolderSource(root), cache)
    pixels = np.array(first.pixels())
    os.truncate(first.folder / "pixels.npy", 500)
    second = run(FolderSource(root), cache)
    assert "is damaged (pixels.npy has 500 bytes" in caplog.text
    assert np.array_equal(second.pixels(), pixels)
    assert second.fingerprint == first.fingerprint


def _ingest_elsewhere(
    root: Path, cache: Path, queue: multiprocessing.Queue[tuple[str, int]]
) -> None:
    found = run(FolderSource(root), cache)
    queue.put((found.fingerprint, len(found.pixels())))


def test_two_processes_at_once_make_one_cache(root: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: Answers = context.Queue()
    processes = [
        context.Process(target=_ingest_elsewhere, args=(root, cache, queue)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    answers = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert answers == {(run(FolderSource(root), cache).fingerprint, 6)}
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_who_waits_for_another_process_says_so(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run(FolderSource(root), cache).folder
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(folder.with_suffix(".lock")):
            held.set()
            done.wait(1.5)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    assert len(run(FolderSource(root), cache)) == 6
    other.join()
    assert "another process is reading the same photos" in caplog.text


def test_an_ingest_that_is_interrupted_leaves_no_cache_behind(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(items: Any, *_: Any) -> Any:
        yield from islice(read_items(items, *_), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr("img2gps.photos.ingest.read_items", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(FolderSource(root), cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    monkeypatch.undo()
    assert len(run(FolderSource(root), cache)) == 6


def test_real_photos_of_the_quad_are_all_read(real_photos: Path, cache: Path) -> None:
    found = run(FolderSource(real_photos / "penn-quad"), cache, 64)
    assert len(found) == 81
    assert found.rejects.empty
    assert found.manifest["lat_deg"].between(39.9504, 39.9527).all()
    assert found.manifest["lon_deg"].between(-75.1926, -75.1901).all()
    assert found.manifest["session"].nunique() == 1


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_tables_of_spreadsheets_are_read(root: Path, cache: Path, coding: str) -> None:
    table = "path\tlat\tlon\r\na.jpg\t10.5\t20.25\r\n"
    mark = "" if coding == "utf-16" else "\ufeff"
    (root / "t.csv").write_bytes((mark + table).encode(coding))
    found = run(CsvSource(root / "t.csv"), cache)
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10.5, 20.25]]


@pytest.mark.parametrize("before", ["sep=;\n", "SEP=;\r\n", "\n\n", "\r\n \r\nsep=;\r\n"])
def test_lines_before_the_header_of_a_table_are_left_out(
    root: Path, cache: Path, before: str
) -> None:
    table = f"{before}path;lat;lon\na.jpg;10,5;20,25\n"
    (root / "t.csv").write_text(table, encoding="utf-8-sig", newline="")
    found = run(CsvSource(root / "t.csv"), cache)
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10.5, 20.25]]


def test_a_column_without_a_name_keeps_its_place(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text("\tpath\tlat\tlon\n0\ta.jpg\t10\t20\n")  # by pandas
    found = run(CsvSource(root / "t.csv"), cache)
    assert found.manifest[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10, 20]]


@pytest.mark.parametrize("name", ["\u00e9.jpg", "e\u0301.jpg"])
def test_tables_and_overrides_name_a_photo_in_either_spelling_of_its_accents(
    root: Path, cache: Path, name: str
) -> None:
    shutil.copy(root / "a.jpg", root / name)
    other = ({"\u00e9.jpg", "e\u0301.jpg"} - {name}).pop()
    (root / "t.csv").write_text(f"path,lat,lon\n{other},10,20\n", encoding="utf-8")
    assert run(CsvSource(root / "t.csv"), cache).manifest["photo"].tolist() == [name]
    (root / "overrides.csv").write_text(f"photo,lat,lon\n{other},30,40\n", encoding="utf-8")
    labels = run(FolderSource(root), cache).manifest.set_index("photo")["lat_deg"]
    assert labels[name] == 30


def test_a_row_whose_path_no_file_can_have_is_named(root: Path, cache: Path) -> None:
    (root / "t.csv").write_text("path,lat,lon\na.jpg,1,2\nb\x00.jpg,1,2\n")
    found = run(CsvSource(root / "t.csv"), cache)
    assert found.manifest["photo"].tolist() == ["a.jpg"]
    assert list(reasons(found).values()) == ["not a file's name"]


def test_times_at_which_no_photo_was_taken_are_none(root: Path, cache: Path) -> None:
    for text in ("9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+14:00"):
        (root / "t.csv").write_text(f"path,lat,lon,time\na.jpg,1,2,{text}\n")
        found = run(CsvSource(root / "t.csv"), cache).manifest
        assert found["taken_at"].tolist() == ["2024-05-01T10:00:00"]  # EXIF's
    assert parse_time("9999:12:31 23:59:59", offset="-10:00") == ""
    assert parse_time("0001:01:01 00:00:00", offset="+14:00") == ""
    assert parse_time("2024:05:01 10:00:00", offset="+24:00") == "2024-05-01T10:00:00"
    assert parse_time("2024:05:01 10:00:00", "٣") == "2024-05-01T10:00:00"
