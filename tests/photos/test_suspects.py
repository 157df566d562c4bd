"""Suspicious labels are found before training, with a file to correct them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import pandas as pd
import pytest

from img2gps.cli import main as cli
from img2gps.core.geo import from_east_north_m
from img2gps.photos.dataset import Dataset
from img2gps.photos.ingest import FolderSource, ingest
from img2gps.photos.suspects import suspects
from tests.helpers.photos import ASCII, RATIONAL, gps_fields, jpeg_with_exif, make_photo, tiff_exif
from tests.photos.test_copies import EDITS, view

LAT, LON = 39.9515, -75.1914


def at(east: float, north: float) -> tuple[float, float]:
    lat, lon = from_east_north_m(east, north, LAT, LON)
    return float(lat), float(lon)


def photo(root: Path, name: str, east: float, minute: float, **options: Any) -> None:
    """A photo of a walk to the east; all of them look different."""
    number = crc32(name.encode()) % 10_000
    taken = f"2024:05:01 12:{int(minute):02d}:{round(minute % 1 * 60):02d}"
    shown: dict[str, Any] = {"image": view(number), "taken_at": taken}
    make_photo(root / name, *at(east, 0), **(shown | options))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A walk of ten photos, 20 m and half a minute apart."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(10):
        photo(folder, f"{i}.jpg", 20 * i, i / 2)
    return folder


def run(root: Path) -> Dataset:
    cache = root.parent / "cache"
    return ingest(FolderSource(root), image_size=64, cache_dir=cache, progress=False)


def test_a_walk_is_beyond_suspicion(root: Path) -> None:
    assert suspects(run(root)) == {}


def test_a_position_far_from_its_neighbours_in_time_is_suspicious(root: Path) -> None:
    photo(root, "5.jpg", 700, 2.5)
    lat, lon = at(100, 0)
    assert suspects(run(root)) == {
        "5.jpg": [
            f"580 m from the photos before and after it, which say {lat:.6f}, {lon:.6f}",
            "600 m from the middle of all photos",
        ]
    }


def test_a_jump_across_the_antimeridian_is_told_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i, (lat, lon) in enumerate([(-17, 179.9998), (-17.01, 180), (-17, -179.9996)]):
        taken = f"2024:05:01 12:00:{10 * i}0"
        make_photo(tmp_path / "photos" / f"{i}.jpg", lat, lon, image=view(i), taken_at=taken)
    (reason, *_) = suspects(run(tmp_path / "photos"))["1.jpg"]
    assert reason.endswith(
        "m from the photos before and after it, which say -17.000000, -179.999900"
    )


def test_who_rides_is_not_suspicious(root: Path) -> None:
    for i in range(10):
        photo(root, f"{i}.jpg", 600 * i, i / 2)  # 72 km/h, but straight on
    assert suspects(run(root)) == {}


def test_near_copies_must_agree_on_place_and_heading(root: Path) -> None:
    image = view(77)
    photo(root, "a.jpg", 0, 20, image=image, heading_deg=10)
    photo(root, "a2.jpg", 200, 20, image=EDITS["saved again"](image), heading_deg=100)
    photo(root, "b.jpg", 0, 21, image=view(78), heading_deg=350)
    photo(root, "b2.jpg", 10, 21, image=EDITS["grey"](view(78)), heading_deg=20)
    assert suspects(run(root)) == {
        "a.jpg": [
            "200 m from its near copy a2.jpg",
            "heading 90 degrees off that of its near copy a2.jpg",
        ],
        "a2.jpg": [
            "200 m from its near copy a.jpg",
            "heading 90 degrees off that of its near copy a.jpg",
        ],
    }


def test_a_void_or_imprecise_fix_is_suspicious(root: Path) -> None:
    void = gps_fields(*at(0, 0)) | {9: (ASCII, b"V\0")}
    bad = gps_fields(*at(0, 0)) | {31: (RATIONAL, [(400, 1)])}
    unknown = gps_fields(*at(0, 0)) | {31: (RATIONAL, [(65_535, 1)])}
    for name, fields in {"void": void, "bad": bad, "unknown": unknown}.items():
        data = jpeg_with_exif(tiff_exif(fields), view(len(name) + 100))
        (root / f"{name}.jpg").write_bytes(data)
    found = suspects(run(root))
    assert found["void.jpg"] == ["GPS status is V (void): no satellite fix when it was taken"]
    imprecise = ["its phone says that the position is imprecise"]
    assert (found["bad.jpg"], found["unknown.jpg"]) == (imprecise, imprecise)
    assert len(found) == 3


def test_two_cameras_that_walk_together_must_agree(root: Path) -> None:
    for i in range(10):
        east = 20 * i if i != 6 else 420
        photo(root, f"other {i}.jpg", east, i / 2 + 0.05, camera=("Maker", "Phone 2"))
    found = suspects(run(root))
    assert "300 m from other 6.jpg, taken then beside it" in found["6.jpg"]
    assert "300 m from 6.jpg, taken then beside it" in found["other 6.jpg"]
    assert set(found) == {"6.jpg", "other 6.jpg"}


def test_two_people_apart_are_not_suspicious(root: Path) -> None:
    for i in range(10):
        make_photo(
            root / f"other {i}.jpg",
            *at(20 * i, 500),
            image=view(500 + i),
            taken_at=f"2024:05:01 12:{i // 2:02d}:{i % 2 * 30 + 3:02d}",
            camera=("Maker", "Phone 2"),
        )
    assert suspects(run(root)) == {}


def report(root: Path, capsys: pytest.CaptureFixture[str], *more: Any) -> str:
    page = root.parent / "page.html"
    arguments = ["ingest", root, "--cache", root.parent / "cache", "--image-size", 64]
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments), "--report", str(page), *map(str, more)])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_suspects_come_in_a_file_that_corrects_them_once_filled_in(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(root, "5.jpg", 700, 2.5)
    (root / "overrides.csv").write_text("photo,exclude,reason\n1.jpg,1,my thumb\n")
    written = root.parent / "page-overrides.csv"
    said = report(root, capsys)
    assert f"labels to look at: 1 in {written}" in said
    assert "5.jpg" in (root.parent / "page.html").read_text()
    table = pd.read_csv(written, dtype=str, keep_default_na=False)
    thumb, far = table.to_dict("records")
    assert (thumb["photo"], thumb["exclude"], thumb["reason"]) == ("1.jpg", "1", "my thumb")
    assert (far["photo"], far["lat"], far["lon"], far["exclude"]) == ("5.jpg", "", "", "")
    assert float(far["now_lon"]) == pytest.approx(at(700, 0)[1])

    before = run(root)
    (root / "overrides.csv").write_bytes(written.read_bytes())
    assert run(root).fingerprint == before.fingerprint  # nothing was decided yet
    table.loc[1, ["lat", "lon"]] = [str(degrees) for degrees in at(100, 0)]
    table.to_csv(root / "overrides.csv", index=False)
    found = run(root)
    assert suspects(found) == {}
    assert found.manifest.set_index("photo").loc["5.jpg", "label_from"] == "overrides"


def test_the_file_of_suspects_keeps_what_it_has(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(root, "5.jpg", 700, 2.5)
    own = "photo;lat;lon;exclude;reason;asked by\n1.jpg;;;1;my thumb;Anna\n"
    (root / "overrides.csv").write_text(own)
    written = root.parent / "page-overrides.csv"
    report(root, capsys)
    first = written.read_text()
    thumb, far = pd.read_csv(written, dtype=str, keep_default_na=False).to_dict("records")
    assert (thumb["asked by"], far["asked by"]) == ("Anna", "")
    assert float(far["now_lon"]) == pytest.approx(at(700, 0)[1])
    report(root, capsys)
    assert written.read_text() == first


def test_suspects_of_a_trained_study_come_into_the_same_file(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = root.parent / "suspects.csv"
    study.write_text("photo,wrong_in,cells,hint\n7.jpg,5,6,check its GPS\nelsewhere.jpg,5,6,hard\n")
    written = root.parent / "page-overrides.csv"
    for _ in range(2):
        report(root, capsys, "--suspects", study)
        table = pd.read_csv(written, dtype=str, keep_default_na=False)
        assert table[["photo", "reason"]].to_numpy().tolist() == [["7.jpg", "check its GPS"]]
