"""From photos to a cache: sources, awful folders, repetition, concurrency, damage."""

from __future__ import annotations

import csv
import logging
import multiprocessing
import os
import shutil
import tempfile
import threading
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
from img2gps.photos.guard import Readers
from img2gps.photos.ingest import (
    CsvSource,
    FolderSource,
    QuadSource,
    ingest,
)
from img2gps.photos.pixelfile import permute_rows
from img2gps.photos.reading import read_items
from img2gps.photos.sessions import sessions
from img2gps.photos.split import make_split
from tests.helpers.ingested import ingested, reasons
from tests.helpers.photos import gps_fields, make_photo, picture, tiff_exif
from tests.photos.test_decode import AWFUL

LAT, LON = 39.9515, -75.1914


Answers: TypeAlias = "multiprocessing.Queue[tuple[str, int]]"


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
    found = ingested(FolderSource(root), cache)
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
    first = ingested(FolderSource(root), cache)
    moved = root.parent / "other"
    moved.mkdir()
    for i, path in enumerate(sorted(root.rglob("*.*"), reverse=True)):
        shutil.copy(path, moved / f"{i}{path.suffix}")
    second = ingested(FolderSource(moved), cache)
    assert second.fingerprint == first.fingerprint
    assert second.folder != first.folder
    assert np.array_equal(second.pixels(), first.pixels())


def test_fingerprint_changes_with_pixels_labels_and_size(root: Path, cache: Path) -> None:
    seen = {
        ingested(FolderSource(root), cache).fingerprint,
        ingested(FolderSource(root), cache, 17).fingerprint,
    }
    make_photo(root / "a.jpg", LAT + 1e-6, LON, seed=0)  # moved by 0.1 m
    seen.add(ingested(FolderSource(root), cache).fingerprint)
    make_photo(root / "a.jpg", LAT + 1e-6, LON, seed=99)
    seen.add(ingested(FolderSource(root), cache).fingerprint)
    assert len(seen) == 4


def test_a_second_call_decodes_nothing(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ingested(FolderSource(root), cache)
    monkeypatch.setattr(Readers, "read", None)
    second = ingested(FolderSource(root), cache)
    assert (second.folder, second.fingerprint) == (first.folder, first.fingerprint)


def test_a_photo_touched_or_added_is_seen(root: Path, cache: Path) -> None:
    assert len(ingested(FolderSource(root), cache)) == 6
    make_photo(root / "g.jpg", LAT, LON, seed=7)
    assert len(ingested(FolderSource(root), cache)) == 7
    (root / "g.jpg").unlink()
    assert len(ingested(FolderSource(root), cache)) == 6


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

    found = ingested(FolderSource(root), cache)
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
    notes = ingested(FolderSource(root), cache).manifest.set_index("photo")["note"]
    said = "a link leads to it, outside the folder"
    assert notes[["linked/x.jpg", "y.jpg", "z.jpg"]].tolist() == [said, said, ""]


def test_a_folder_without_usable_photos_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    for i in range(3):
        make_photo(tmp_path / f"{i}.jpg", None, None)
    with pytest.raises(BadInput, match=r"none of 3 photos .*location was off.*export originals"):
        ingested(FolderSource(tmp_path), cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    (listed,) = cache.glob("*-rejects.csv")
    assert [line.split(",")[0] for line in listed.read_text().splitlines()] == [
        *("file", "0.jpg", "1.jpg", "2.jpg")
    ]


def test_an_empty_folder_and_a_missing_one_say_what_to_give(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "film.mov").touch()
    with pytest.raises(BadInput, match=r"no photos in it \(but 1 \.mov\); give a folder of JPEG"):
        ingested(FolderSource(tmp_path / "x"), cache)
    with pytest.raises(BadInput, match="no such folder"):
        ingested(FolderSource(tmp_path / "y"), cache)


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
        ingested(FolderSource(root / name), cache)
    assert str(refusal.value) == f"{root / name}: {message}"


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_truncated_heic_is_said_to_be_truncated_wherever_it_ends(
    root: Path, cache: Path, suffix: str
) -> None:
    whole = make_photo(root.parent / f"whole.{suffix}", LAT, LON, size=(256, 192)).read_bytes()
    for length in (100, 300, len(whole) // 2, len(whole) - 1):
        (root / f"{length}.{suffix}").write_bytes(whole[:length])
    found = ingested(FolderSource(root), cache)
    assert len(found) == 6
    assert set(found.rejects["reason"]) == {"truncated: parts of the picture are missing"}
    assert set(found.rejects["remedy"]) == {"copy the original again"}
    assert len(found.rejects) == 4


def test_an_unwritable_cache_says_so(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cache .*; free space or choose another folder"):
        ingested(FolderSource(root), tmp_path / "file" / "cache")


def test_a_folder_named_in_latin_1_is_read(root: Path, cache: Path) -> None:
    other = os.fsdecode(os.fsencode(root.parent) + b"/M\xfcnster")
    root.rename(other)
    found = ingested(FolderSource(other), cache)
    assert (len(found), found.name) == (6, r"M\xfcnster")
    assert found.summary["origin"].endswith(r"M\xfcnster")


def test_an_empty_path_is_not_the_current_folder(cache: Path) -> None:
    for source in (FolderSource(""), CsvSource("")):
        with pytest.raises(BadInput, match=r"^data\.root: is empty; give a path$"):
            ingested(source, cache)


def test_the_quad_brings_its_truth_and_is_marked_synthetic(cache: Path) -> None:
    source = QuadSource(n=6, width=64, height=48)
    found = ingested(source, cache)
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
    first = ingested(source, cache)
    monkeypatch.setattr(quad, "QUAD_VERSION", "another")
    second = ingested(source, cache)
    assert second.folder != first.folder
    assert second.fingerprint != first.fingerprint


def test_duplicates_and_far_outliers_are_reported_and_kept(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(root / "a.jpg", root / "copy of a.jpg")
    make_photo(root / "far.jpg", LAT + 1, LON, seed=70)
    with caplog.at_level(logging.WARNING):
        found = ingested(FolderSource(root), cache)
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
    assert set(ingested(FolderSource(tmp_path), cache).summary["far_m"]) == {
        "far.jpg",
        "farther.jpg",
    }


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


def test_a_damaged_cache_is_built_again_with_a_warning(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = ingested(FolderSource(root), cache)
    pixels = np.array(first.pixels())
    os.truncate(first.folder / "pixels.npy", 500)
    second = ingested(FolderSource(root), cache)
    assert "is damaged (pixels.npy has 500 bytes" in caplog.text
    assert np.array_equal(second.pixels(), pixels)
    assert second.fingerprint == first.fingerprint


def _ingest_elsewhere(
    root: Path, cache: Path, queue: multiprocessing.Queue[tuple[str, int]]
) -> None:
    found = ingested(FolderSource(root), cache)
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
    assert answers == {(ingested(FolderSource(root), cache).fingerprint, 6)}
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_who_waits_for_another_process_says_so(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ingested(FolderSource(root), cache).folder
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(folder.with_suffix(".lock")):
            held.set()
            done.wait(1.5)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    assert len(ingested(FolderSource(root), cache)) == 6
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
        ingested(FolderSource(root), cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    monkeypatch.undo()
    assert len(ingested(FolderSource(root), cache)) == 6


def test_real_photos_of_the_quad_are_all_read(real_photos: Path, cache: Path) -> None:
    found = ingested(FolderSource(real_photos / "penn-quad"), cache, 64)
    assert len(found) == 81
    assert found.rejects.empty
    assert found.manifest["lat_deg"].between(39.9504, 39.9527).all()
    assert found.manifest["lon_deg"].between(-75.1926, -75.1901).all()
    assert found.manifest["session"].nunique() == 1


def test_what_a_killed_process_had_begun_is_removed_by_the_next_ingest(
    root: Path, cache: Path
) -> None:
    cache.mkdir()
    abandoned, at_work = cache / ".other-0123.building", cache / ".third-4567.building"
    for folder in (abandoned, at_work):
        folder.mkdir()
        (folder / "pixels.bin").write_bytes(bytes(10))
    with FileLock(cache / "third-4567.lock"):
        ingested(FolderSource(root), cache)
    assert not abandoned.exists()
    assert at_work.exists()
