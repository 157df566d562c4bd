"""Answers as files of other programs, as a map, and in the EXIF of copies."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from img2gps.core.errors import BadInput
from img2gps.inference.output import files, geotag, maps
from img2gps.inference.position import Position
from img2gps.photos import exif
from img2gps.photos.photofile import Unusable
from tests.helpers.photos import make_photo

HERE = Position("a <b>.jpg", 39.9517, -75.1913, 80.0, True, 0.6, 39.9518, -75.1914, 14.0)
STRANGE = Position("elsewhere.jpg", 39.9519, -75.1911, 80.0, False, 1.7)
FAILED = Position("notes.jpg", error="not a picture that can be read; export it as JPEG")
SOUTH = Position("rio.jpg", -22.951916, -43.210487, 12.3)
ALL = [HERE, STRANGE, FAILED]


def test_csv_has_one_row_a_photo_and_nothing_for_the_unknown(tmp_path: Path) -> None:
    files.write_positions(tmp_path / "a.csv", ALL, synthetic=False)
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == ["a <b>.jpg", "elsewhere.jpg", "notes.jpg"]
    assert [row["from_here"] for row in rows] == ["1", "0", ""]
    assert float(rows[0]["lat_deg"]) == HERE.lat_deg
    assert (rows[2]["lat_deg"], rows[2]["error"]) == ("", FAILED.error)


def test_geojson_puts_longitude_first(tmp_path: Path) -> None:
    files.write_positions(tmp_path / "a.geojson", ALL, synthetic=True)
    found = json.loads((tmp_path / "a.geojson").read_text())
    assert found["type"] == "FeatureCollection"
    first, _, failed = found["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [-75.1913, 39.9517]}
    assert first["properties"]["radius_m"] == 80.0
    assert failed["geometry"] is None


@pytest.mark.parametrize("ending", ["gpx", "kml"])
def test_tracks_hold_the_photos_with_an_answer(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    files.write_positions(path, [*ALL, SOUTH], synthetic=False)
    root = ET.parse(path).getroot()  # noqa: S314 - ours
    names = [element.text for element in root.iter() if element.tag.endswith("}name")]
    assert names == ["a <b>.jpg", "elsewhere.jpg", "rio.jpg"]
    if ending == "gpx":
        points = [element.attrib for element in root.iter() if element.tag.endswith("}wpt")]
        assert points[2] == {"lat": "-22.9519160", "lon": "-43.2104870"}
    else:
        texts = [e.text for e in root.iter() if e.tag.endswith("}coordinates")]
        assert texts[2] == "-43.2104870,-22.9519160"


def test_unknown_ending_is_bad_input() -> None:
    with pytest.raises(
        BadInput, match=r"--to a\.shp: name a file that ends in one of \.csv, \.json, \.geojson"
    ):
        files.check_ending(Path("a.shp"))


@pytest.mark.parametrize("position", [HERE, SOUTH])
def test_copy_has_the_position_and_the_same_picture(position: Position, tmp_path: Path) -> None:
    original = make_photo(
        tmp_path / "a.jpg", 10.0, 20.0, orientation=6, taken_at="2024:05:01 12:30:00"
    )
    before = original.read_bytes()
    geotag.write_copy(original, tmp_path / "copies" / "a.jpg", position)
    assert original.read_bytes() == before
    copy = tmp_path / "copies" / "a.jpg"
    found = exif.read(copy.read_bytes())
    assert found.lat_deg == pytest.approx(position.lat_deg, abs=1e-7)
    assert found.lon_deg == pytest.approx(position.lon_deg, abs=1e-7)
    assert found.gps_error_m == pytest.approx(position.radius_m)
    assert (found.orientation, found.taken_at) == (6, "2024-05-01T12:30:00")
    with Image.open(original) as old, Image.open(copy) as new:
        assert np.array_equal(np.asarray(old), np.asarray(new))


def test_copy_keeps_no_error_of_the_former_position(tmp_path: Path) -> None:
    original = make_photo(tmp_path / "a.jpg", 10.0, 20.0, gps_error_m=5.0)
    found = exif.read(geotag.with_position(original.read_bytes(), replace(HERE, radius_m=None)))
    assert found.lat_deg == pytest.approx(HERE.lat_deg, abs=1e-7)
    assert found.gps_error_m is None


def test_exiftool_reads_the_copy(tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("no exiftool here; `make test-all` installs it")
    original = make_photo(tmp_path / "a.jpg", None, None)
    geotag.write_copy(original, tmp_path / "b.jpg", SOUTH)
    tags = ("-GPSLatitude", "-GPSLongitude", "-GPSHPositioningError", "-Warning", "-Make")
    done = subprocess.run(
        ["exiftool", "-n", "-j", *tags, str(tmp_path / "b.jpg")],
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(done.stdout)
    assert found["GPSLatitude"] == pytest.approx(-22.951916, abs=1e-7)
    assert found["GPSLongitude"] == pytest.approx(-43.210487, abs=1e-7)
    assert found["GPSHPositioningError"] == pytest.approx(12.3)
    assert found["Make"] == "Maker"
    assert "Warning" not in found


def test_no_position_is_written_where_it_would_mislead(tmp_path: Path) -> None:
    original = make_photo(tmp_path / "a.jpg", None, None)
    with pytest.raises(Unusable, match="does not look as if it was taken here"):
        geotag.write_copy(original, tmp_path / "b.jpg", STRANGE)
    png = make_photo(tmp_path / "a.png", None, None)
    with pytest.raises(Unusable, match="only JPEG photos can be tagged"):
        geotag.write_copy(png, tmp_path / "b.png", HERE)
    with pytest.raises(BadInput, match="is there already"):
        geotag.write_copy(original, original, HERE)
    assert not (tmp_path / "b.jpg").exists()


def test_map_is_true_to_scale_and_escapes_names() -> None:
    svg = str(maps.draw(ALL, np.array([[39.9510, -75.1925], [39.9525, -75.1905]]), tiles=False))
    root = ET.fromstring(svg)  # noqa: S314 - ours
    assert "http" not in svg
    radius = next(e for e in root.iter("circle") if e.get("class") == "radius")
    ground = [e for e in root.iter("circle") if e.get("class") == "ground"]
    px = abs(float(ground[0].get("cy", "")) - float(ground[1].get("cy", "")))
    metres = (39.9525 - 39.9510) * 111_195
    assert float(radius.get("r", "")) / 80.0 == pytest.approx(px / metres, rel=0.01)
    bar = re.search(r"m0 5h([\d.]+)v-5", svg)
    label = next(e.text for e in root.iter("text") if e.text and e.text.endswith(" m"))
    assert bar is not None
    assert label is not None
    assert float(bar[1]) / float(label.removesuffix(" m")) == pytest.approx(px / metres, rel=0.01)
    titles = [e.text for e in root.iter("title")]
    assert titles[0] == "a <b>.jpg: position in the photo"


def test_map_of_a_place_far_from_the_photo_s_own_position_stays_readable() -> None:
    far = Position("far.jpg", 39.9517, -75.1913, 80.0, True, 0.6, 41.0, -83.0, 680_000.0)
    svg = str(maps.draw([far], np.array([[39.9510, -75.1925], [39.9525, -75.1905]]), tiles=False))
    assert 'class="truth"' not in svg
    assert "680000 m from the position in the photo" in svg


def test_the_circles_of_few_answers_lie_whole_on_the_map() -> None:
    svg = str(maps.draw([replace(HERE, radius_m=79.0)], None, tiles=False))
    width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    circle = re.search(r'class="radius[^"]*" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', svg)
    assert circle is not None
    x, y, r = map(float, circle.groups())
    assert 0 < x - r < x + r < width
    assert 0 < y - r < y + r < height


def test_tiles_cover_the_map_and_credit_their_source() -> None:
    svg = str(maps.draw([HERE], np.array([[39.9510, -75.1925], [39.9525, -75.1905]]), tiles=True))
    images = list(ET.fromstring(svg).iter("image"))  # noqa: S314 - ours
    left = min(float(e.get("x", "")) for e in images)
    right = max(float(e.get("x", "")) + float(e.get("width", "")) for e in images)
    assert left <= 0
    assert right >= maps.WIDTH
    # By the slippy-map formula zoom 17 has the Penn quad in tile 38160/49620 or beside it.
    z, x, y = re.findall(r"/(\d+)/(\d+)/(\d+)\.png", svg)[0]
    n = 2 ** int(z)
    assert abs(int(x) - int((180 - 75.1913) / 360 * n)) <= 4
    assert abs(int(y) / n - 0.378_754) < 0.0001
    assert maps.CREDIT in svg


def test_no_answers_give_no_map() -> None:
    assert maps.draw([FAILED], None, tiles=False) == ""
