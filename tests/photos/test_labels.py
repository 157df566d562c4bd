"""Where positions come from: sidecars, Takeout and tracks, made by code with a known truth."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyproj
import pytest

from img2gps.core.errors import BadInput
from img2gps.photos.dataset import Dataset
from img2gps.photos.exif import xmp
from img2gps.photos.ingest import FolderSource, ingest
from img2gps.photos.sources.sidecars import match
from img2gps.photos.track import read_track
from tests.helpers.photos import make_photo

LAT, LON = 39.9515, -75.1914
START = datetime(2024, 5, 1, 14, 0, 0, tzinfo=UTC)


def run(root: Path, **options: Any) -> Dataset:
    source = FolderSource(root, **options)
    return ingest(source, image_size=16, cache_dir=root.parent / "cache", progress=False)


def by_photo(dataset: Dataset) -> dict[str, Any]:
    """What gave each photo its label, and the label."""
    columns = (dataset.manifest[name] for name in ("photo", "label_from", "lat_deg", "lon_deg"))
    return {photo: label for photo, *label in zip(*columns, strict=True)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def bare(root: Path, name: str, **options: Any) -> None:
    """A photo without a position."""
    make_photo(root / name, None, None, seed=crc32(name.encode()) % 1000, **options)


# --- XMP sidecars ---------------------------------------------------------------------------


def xmp_of(lat: float, lon: float, **tags: str) -> str:
    """What exiftool and photo editors write beside a photo."""
    tags |= {"GPSLatitude": dm(lat, "NS"), "GPSLongitude": dm(lon, "EW")}
    body = "".join(f"<exif:{name}>{text}</exif:{name}>" for name, text in tags.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:exif="http://ns.adobe.com/exif/1.0/">{body}</rdf:Description></rdf:RDF>'
        '</x:xmpmeta><?xpacket end="w"?>'
    )


def dm(degrees: float, letters: str) -> str:
    whole, part = divmod(abs(degrees), 1)
    return f"{whole:.0f},{part * 60:.7f}{letters[degrees < 0]}"


@pytest.mark.parametrize("name", ["a.xmp", "a.jpg.xmp", "A.JPG.XMP"])
def test_an_xmp_sidecar_gives_the_position(root: Path, name: str) -> None:
    bare(root, "a.jpg", heading_deg=None)
    (root / name).write_text(xmp_of(LAT, LON, GPSHPositioningError="7/2"), encoding="utf-8")
    found = run(root)
    assert by_photo(found) == {
        "a.jpg": ["xmp sidecar", pytest.approx(LAT), pytest.approx(LON)],
    }
    assert found.manifest["gps_error_m"].tolist() == [3.5]
    assert found.summary["not_photos"] == {}


def test_the_photos_own_position_wins_over_its_sidecars(root: Path) -> None:
    make_photo(root / "a.jpg", LAT, LON)
    (root / "a.xmp").write_text(xmp_of(10, 20), encoding="utf-8")
    assert by_photo(run(root))["a.jpg"][0] == "exif"


def test_a_table_wins_over_all(root: Path) -> None:
    make_photo(root / "a.jpg", LAT, LON)
    (root / "a.xmp").write_text(xmp_of(10, 20), encoding="utf-8")
    (root / "overrides.csv").write_text("photo,lat,lon\na.jpg,1,2\n")
    assert by_photo(run(root))["a.jpg"] == ["overrides", 1, 2]


def test_a_sidecar_without_a_position_is_named_in_the_reason(root: Path) -> None:
    bare(root, "a.jpg")
    (root / "a.xmp").write_text("<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>")
    make_photo(root / "b.jpg", LAT, LON)
    (reason,) = run(root).rejects["reason"]
    assert reason == (
        "no GPS: location was off, or removed on export; a.xmp: no coordinates in its GPS data"
    )


def test_what_exiftool_writes_into_a_sidecar_is_read(root: Path, tmp_path: Path) -> None:
    if (tool := shutil.which("exiftool")) is None:
        pytest.skip("exiftool is not installed")
    make_photo(tmp_path / "original.jpg", LAT, LON, heading_deg=91.5, gps_error_m=4.5)
    bare(root, "a.jpg")
    command = [tool, "-q", "-tagsfromfile", str(tmp_path / "original.jpg")]
    command += [f"-xmp:GPS{tag}<Composite:GPS{tag}" for tag in ("Latitude", "Longitude")]
    subprocess.run([*command, str(root / "a.xmp")], check=True)
    assert by_photo(run(root))["a.jpg"] == [
        *("xmp sidecar", pytest.approx(LAT, abs=1e-6), pytest.approx(LON, abs=1e-6))
    ]


# --- Google Takeout -------------------------------------------------------------------------


def takeout(
    exif: tuple[float, float] = (0, 0), geo: tuple[float, float] = (0, 0), taken: int = 0
) -> str:
    """A JSON file as Takeout writes it, with what matters here."""

    def place(at: tuple[float, float]) -> dict[str, float]:
        spans = {"latitudeSpan": 0.0, "longitudeSpan": 0.0}
        return {"latitude": at[0], "longitude": at[1], "altitude": 12.5, **spans}

    found: dict[str, Any] = {"title": "a.jpg", "description": "", "geoData": place(geo)}
    if taken:
        found["photoTakenTime"] = {"timestamp": str(taken), "formatted": "1 May 2024, 14:00:00 UTC"}
    return json.dumps(found | {"geoDataExif": place(exif)})


@pytest.mark.parametrize(
    ("photo", "sidecar"),
    [
        ("a.jpg", "a.jpg.json"),
        ("a.jpg", "a.json"),
        ("a.jpg", "a.jpg.supplemental-metadata.json"),
        ("a.jpg", "a.jpg.supplemental-meta.json"),
        ("a.jpg", "a.jpg.suppl.json"),
        ("a.jpg", "a.jpg.s.json"),
        ("a(1).jpg", "a.jpg(1).json"),
        ("a(1).jpg", "a(1).jpg.json"),
        ("a(2).jpg", "a.jpg.supplemental-metadata(2).json"),
        ("a-edited.jpg", "a.jpg.json"),
        ("a-bearbeitet.jpg", "a.jpg.supplemental-metadata.json"),
        ("a-edited(1).jpg", "a.jpg(1).json"),
        ("PXL_20240501_140000123.PORTRAIT-01.COVER.jpg.jpg", None),
    ],
)
def test_a_photo_finds_its_takeout_sidecar(photo: str, sidecar: str | None) -> None:
    if sidecar is None:
        sidecar = f"{(photo + '.supplemental-metadata')[:46]}.json"
        assert len(sidecar) == 51
    assert match([f"x/{photo}"], [f"x/{sidecar}"]) == {f"x/{photo}": [f"x/{sidecar}"]}
    assert match([f"x/{photo}"], [f"y/{sidecar}"]) == {}


@pytest.mark.parametrize(
    ("photo", "other"),
    [
        ("IMG_12.jpg", "IMG_1.json"),
        ("a.jpg", "a(1).jpg.json"),
        ("a(1).jpg", "a.jpg.json"),
        ("a.jpg", "a.png.json"),
        ("a.jpg", "metadata.json"),
    ],
)
def test_a_photo_does_not_take_anothers_sidecar(photo: str, other: str) -> None:
    assert match([photo], [other]) == {}


def test_a_clipped_sidecar_belongs_to_the_photo_in_its_title(root: Path) -> None:
    long = "Panorama of the whole engineering quad in May "  # 46 characters
    for name in ("1", "2"):
        bare(root, f"{long}{name}.jpg")
    content = json.loads(takeout(geo=(LAT, LON))) | {"title": f"{long}1 & all.jpg"}
    (root / f"{long}.json").write_text(json.dumps(content))
    found = run(root)
    assert list(by_photo(found)) == [f"{long}1.jpg"]
    assert found.rejects["file"].tolist() == [f"{long}2.jpg"]
    assert found.rejects["reason"].item().endswith(f"belongs to '{long}1 & all.jpg'")


def test_photos_whose_names_differ_in_case_have_a_sidecar_each() -> None:
    photos, sidecars = ["a.JPG", "a.jpg"], ["a.JPG.json", "a.jpg.json"]
    for others in (sidecars, sidecars[::-1]):
        assert match(photos, others) == {"a.JPG": ["a.JPG.json"], "a.jpg": ["a.jpg.json"]}


def test_a_name_as_macos_writes_it_finds_its_sidecar() -> None:
    composed, apart = "modifi\u00e9", "modifie\u0301"
    for photo, sidecar in ((composed, apart), (apart, composed)):
        assert match([f"{photo}.jpg"], [f"{sidecar}.jpg.json"])
    assert match([f"a-{apart}.jpg"], ["a.jpg.json"])


def test_what_a_sidecar_says_counts_also_where_it_is_zero(root: Path) -> None:
    bare(root, "a.jpg", heading_deg=None)
    content = xmp_of(LAT, LON, GPSImgDirection="0/1", GPSImgDirectionRef="T", GPSAltitude="0/1")
    (root / "a.xmp").write_text(content, encoding="utf-8")
    manifest = run(root).manifest
    assert manifest[["heading_deg", "altitude_m"]].to_numpy().tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (takeout(exif=(LAT, LON), geo=(1, 2)), (LAT, LON)),
        (takeout(geo=(LAT, LON)), (LAT, LON)),
        (takeout(exif=(0, 0), geo=(LAT, LON)), (LAT, LON)),
        (takeout(exif=(95, 0), geo=(LAT, LON)), (LAT, LON)),
    ],
)
def test_takeout_gives_the_cameras_position_before_googles(
    root: Path, content: str, expected: tuple[float, float]
) -> None:
    bare(root, "a.jpg")
    (root / "a.jpg.supplemental-metadata.json").write_text(content)
    found = run(root)
    assert by_photo(found) == {"a.jpg": ["takeout", *expected]}
    assert found.manifest["altitude_m"].tolist() == [12.5]


def test_takeout_tells_the_time_of_a_photo_that_lost_its_own(root: Path) -> None:
    bare(root, "a.jpg")
    bare(root, "b.jpg", taken_at="2024:05:01 09:00:00")
    for name in ("a", "b"):
        content = takeout(geo=(LAT, LON), taken=int(START.timestamp()))
        (root / f"{name}.jpg.json").write_text(content)
    taken = run(root).manifest.set_index("photo")["taken_at"].to_dict()
    assert taken == {"a.jpg": "2024-05-01T14:00:00+00:00", "b.jpg": "2024-05-01T09:00:00"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (takeout(), "no position in it"),
        ("[1, 2]", "not of Google Takeout"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"geoData": {"latitude": "x", "longitude": []}}', "no position in it"),
        ('{"geoData": {"latitude": NaN, "longitude": 1}}', "no position in it"),
        ('{"geoData": {"latitude": true, "longitude": 1}}', "no position in it"),
        (f'{{"geoData": {{"latitude": 1{"0" * 400}, "longitude": 1}}}}', "no position in it"),
        ("", "empty file (0 bytes)"),
    ],
)
def test_a_takeout_file_without_a_position_is_named_with_the_reason(
    root: Path, content: str, reason: str
) -> None:
    make_photo(root / "good.jpg", LAT, LON)
    bare(root, "a.jpg")
    (root / "a.jpg.json").write_text(content)
    (said,) = run(root).rejects["reason"]
    assert said.endswith(f"; a.jpg.json: {reason}")


# --- tracks ---------------------------------------------------------------------------------

GEOD = pyproj.Geod(ellps="WGS84")


def walk(seconds: float) -> tuple[float, float]:
    """Latitude and longitude of somebody who walks a circle of 100 m radius in ten minutes."""
    lon, lat, _ = GEOD.fwd(LON, LAT, seconds / 600 * 360, 100)
    return lat, lon


def gpx(path: Path, moments: Mapping[float, tuple[float, float]]) -> Path:
    """A GPX 1.1 file; times are seconds since the walk began."""
    points = "".join(
        f'<trkpt lat="{lat!r}" lon="{lon!r}"><ele>12.5</ele>'
        f"<time>{(START + timedelta(seconds=at)).isoformat().replace('+00:00', 'Z')}</time></trkpt>"
        for at, (lat, lon) in moments.items()
    )
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><!-- a walk --><gpx version="1.1" creator="test" '
        f'xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{points}</trkseg></trk></gpx>'
    )
    return path


def exif_time(seconds: float, zone_h: float = 0) -> str:
    moment = START + timedelta(seconds=seconds, hours=zone_h)
    return moment.strftime("%Y:%m:%d %H:%M:%S")


@pytest.fixture
def ride(tmp_path: Path) -> Path:
    return gpx(tmp_path / "ride.gpx", {at: walk(at) for at in range(0, 601, 5)})


def test_a_track_places_photos_by_their_time(root: Path, ride: Path) -> None:
    for at in (0, 3, 117, 600):
        bare(root, f"{at}.jpg", taken_at=exif_time(at))
    bare(root, "zone.jpg", taken_at=exif_time(200, -4), offset="-04:00")
    make_photo(root / "own.jpg", 1, 2, taken_at=exif_time(100))
    found = by_photo(run(root, track=ride))
    assert found.pop("own.jpg") == ["exif", pytest.approx(1), pytest.approx(2)]
    for photo, (source, lat, lon) in found.items():
        at = 200 if photo == "zone.jpg" else int(photo.removesuffix(".jpg"))
        assert source == "track"
        # between two points of the circle the way is straight: 0.3 m off at most
        assert GEOD.inv(lon, lat, *walk(at)[::-1])[2] < 0.3


def test_photos_outside_the_track_or_in_a_gap_are_refused(root: Path, tmp_path: Path) -> None:
    ride = gpx(tmp_path / "a.gpx", {at: walk(at) for at in (0, 30, 60, 240, 270)})
    for at in (-10, 45, 150, 600):
        bare(root, f"{at}.jpg", taken_at=exif_time(at))
    bare(root, "timeless.jpg")
    found = run(root, track=ride)
    assert list(by_photo(found)) == ["45.jpg"]
    why = dict(zip(found.rejects["file"], found.rejects["reason"], strict=True))
    off = "no GPS: location was off, or removed on export; "
    assert why == {
        "-10.jpg": f"{off}taken 10 s from the nearest point of a.gpx",
        "150.jpg": f"{off}taken 90 s from the nearest point of a.gpx",
        "600.jpg": f"{off}taken 6 min from the nearest point of a.gpx",
        "timeless.jpg": f"{off}no time, by which the track could place it",
    }
    assert len(run(root, track=ride, track_gap_s=180)) == 2


def test_a_clock_in_another_zone_is_noticed_and_corrected(
    root: Path, ride: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for at in (100, 200, 300):
        bare(root, f"{at}.jpg", taken_at=exif_time(at, zone_h=-4))
    hint = (
        "0 of 3 photos were taken while ride.gpx was recorded; the camera's clock seems 4 h slow: "
        "with data.clock_offset_s=14400 (--clock-offset 14400) it would be 3"
    )
    with caplog.at_level(logging.WARNING), pytest.raises(BadInput, match="none of 3 photos"):
        run(root, track=ride)
    assert hint in caplog.text
    found = by_photo(run(root, track=ride, clock_offset_s=14_400))
    lat, lon = walk(200)
    assert found["200.jpg"] == ["track", pytest.approx(lat), pytest.approx(lon)]


def test_photos_with_a_position_of_their_own_tell_the_clock_to_the_second(
    root: Path, ride: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for at in (100, 200, 300, 400):  # 754 s fast
        make_photo(root / f"own {at}.jpg", *walk(at), taken_at=exif_time(at + 754))
        bare(root, f"{at}.jpg", taken_at=exif_time(at + 754))
    with caplog.at_level(logging.WARNING):
        run(root, track=ride)
    hint = "seems 13 min fast: with data.clock_offset_s=-754 (--clock-offset -754) it would be 4"
    assert hint in caplog.text


def test_a_right_clock_is_not_blamed(
    root: Path, ride: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for at in (100, 200, 900):
        bare(root, f"{at}.jpg", taken_at=exif_time(at))
    with caplog.at_level(logging.WARNING):
        run(root, track=ride)
    assert "clock" not in caplog.text


def test_a_track_across_the_antimeridian_places_photos_there(root: Path, tmp_path: Path) -> None:
    ride = gpx(tmp_path / "a.gpx", {0: (-17, 179.9998), 10: (-17, -179.9998), 20: (-17, -179.9994)})
    for at in (2, 8, 15):
        bare(root, f"{at}.jpg", taken_at=exif_time(at))
    found = by_photo(run(root, track=ride))
    assert {photo: lon for photo, (_, _, lon) in found.items()} == {
        "2.jpg": pytest.approx(179.99988, abs=1e-8),
        "8.jpg": pytest.approx(-179.99988, abs=1e-8),
        "15.jpg": pytest.approx(-179.9996, abs=1e-8),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' xmlns="http://www.topografix.com/GPX/1/1"', ""),
        ("topografix.com/GPX/1/1", "topografix.com/GPX/1/0"),
        ("<time>", "<time>\n  "),
        ("</time>", "\n</time>"),
    ],
)
def test_tracks_of_other_writers_are_read(tmp_path: Path, old: str, new: str) -> None:
    ride = gpx(tmp_path / "a.gpx", {at: walk(at) for at in (0, 10)})
    expected = read_track(ride)
    ride.write_text(ride.read_text().replace(old, new))
    assert read_track(ride).digest() == expected.digest()


def test_track_points_off_the_globe_are_left_out(root: Path, tmp_path: Path) -> None:
    broken: dict[float, tuple[float, float]] = {
        3: (float("nan"), LON),
        4: (LAT, float("inf")),
        5: (95.0, LON),
        6: (LAT, 1100.0),
    }
    ride = gpx(tmp_path / "a.gpx", {0: (LAT, LON), 10: (LAT, LON)} | broken)
    assert read_track(ride).seconds.size == 2
    bare(root, "a.jpg", taken_at=exif_time(4))
    assert by_photo(run(root, track=ride))["a.jpg"][1:] == [pytest.approx(LAT), pytest.approx(LON)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clock_offset_s": float("nan")}, "data.clock_offset_s=nan: must be a number of seconds"),
        ({"clock_offset_s": float("inf")}, "data.clock_offset_s=inf: must be a number of seconds"),
        ({"track_gap_s": float("nan")}, "data.track_gap_s=nan: must be above 0 seconds"),
        ({"track_gap_s": -1.0}, "data.track_gap_s=-1.0: must be above 0 seconds"),
    ],
)
def test_an_impossible_clock_or_gap_is_refused(
    root: Path, ride: Path, options: dict[str, float], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        run(root, track=ride, **options)


def test_all_tracks_of_a_folder_count(tmp_path: Path) -> None:
    (tmp_path / "rides").mkdir()
    gpx(tmp_path / "rides" / "b.GPX", {at: walk(at) for at in (100, 110)})
    gpx(tmp_path / "rides" / "a.gpx", {at: walk(at) for at in (0, 10)})
    track = read_track(tmp_path / "rides")
    assert np.diff(track.seconds).tolist() == [10, 90, 10]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"empty file \(0 bytes\); give a GPX track \(data\.track\)"),
        ("bought milk", r"no XML \(.*\); give a GPX track"),
        ("<gpx><trk><trkseg><trkpt lat='1' lon='2'/></trkseg></trk></gpx>", "no track point with"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]><gpx>&a;</gpx>', "defines entities; give a GPX track"),
        (None, "cannot be opened: No such file"),
    ],
)
def test_a_track_that_cannot_be_used_says_why(
    root: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (root / "a.gpx").write_text(content)
    with pytest.raises(BadInput, match=message):
        run(root, track=root / "a.gpx")


def test_another_track_or_clock_is_another_data_set(root: Path, ride: Path) -> None:
    bare(root, "a.jpg", taken_at=exif_time(100))
    first = run(root, track=ride)
    assert run(root, track=ride).folder == first.folder
    assert run(root, track=ride, clock_offset_s=10).fingerprint != first.fingerprint
    gpx(ride, {at: walk(at + 50) for at in range(0, 601, 5)})
    assert run(root, track=ride).fingerprint != first.fingerprint


def test_xmp_of_a_megabyte_and_more_is_not_parsed() -> None:
    assert not xmp.read_gps(b"<rdf:RDF>" + b" " * xmp.MAX_BYTES + b"</rdf:RDF>")
