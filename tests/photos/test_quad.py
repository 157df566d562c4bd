"""The built-in quad: same bytes for the same spec, honest EXIF, and no cue of the place."""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Literal

import exifread
import numpy as np
import pytest
from PIL import Image, ImageOps

from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.photos import quad
from img2gps.photos.quad import camera, photos, scene

Part = Literal["main", "test_known", "test_new"]


def tiny_spec(n: int, seed: int = 0, part: Part = "main") -> quad.QuadSpec:
    return quad.QuadSpec(n=n, width=96, height=72, seed=seed, part=part)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def signed_degrees(tags: dict[str, object], name: str) -> float:
    """Coordinate by exifread, a library that the quad does not use."""
    values = tags[f"GPS GPS{name}"].values  # type: ignore[attr-defined]  # exifread has no hints
    degrees, minutes, seconds = (float(value) for value in values)
    sign = -1 if str(tags[f"GPS GPS{name}Ref"]) in "SW" else 1
    return sign * (degrees + minutes / 60 + seconds / 3600)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quad") / "tiny"
    quad.render(tiny_spec(24), folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def plans() -> list[photos.Photo]:
    """What 741 photos are, without drawing them."""
    return [photos.photo(0, "main", i, 512, 384) for i in range(741)]


def test_same_spec_gives_same_bytes_whatever_the_threads(tiny: Path, tmp_path: Path) -> None:
    quad.render(tiny_spec(24), tmp_path / "again", threads=1, progress=False)
    assert contents(tmp_path / "again") == contents(tiny)


def test_same_bytes_in_another_process_without_torch(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from img2gps.photos import quad;"
        "quad.render(quad.QuadSpec(n=3, width=96, height=72), Path(sys.argv[1]), progress=False);"
        "assert not {'torch', 'pandas', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "q")], check=True)
    new = contents(tmp_path / "q")
    del new["truth.csv"]
    assert new.items() <= contents(tiny).items()


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tiny: Path, tmp_path: Path) -> None:
    quad.render(tiny_spec(5), tmp_path / "q", progress=False)
    assert rows(tmp_path / "q") == rows(tiny)[:5]
    for row in rows(tmp_path / "q"):
        assert (tmp_path / "q" / row["photo"]).read_bytes() == (tiny / row["photo"]).read_bytes()


# What version 1 is, seed 0: a digest of all labels and true positions, and how two photos look.
PINNED_VERSION = "1"
PINNED_LABELS = "a220a20c9ae0758136d1e41f7a0ee1ce8aa25a8001689fb9023ce7f912930b8b"
PINNED_GREY = {  # photo to an 8 x 8 grid of blocks: their mean grey, and the pixel in their middle
    2: (
        "3d4343444e45bae452564a3e393bb9cc333b323b414282744841424036334340"
        "1d1c221f2323414e56606b727c8896969b8b7e756b62615e5c5c5d5c5e5e5d5c",
        "347832375355e4e2457738172038e5c2317721272a21c122237980737c31632f"
        "11140f181d1622344f5a63b7a8b2b9baa2936160596d5f584b635f5956655a63",
    ),
    3: (
        "c1c1c1c1c1c1c0c0c4c4c4c4c4c4c3c3c7c7c2c7c7c7b5a5b78f9e8f8fac8679"
        "9593918b8588837892929392928c8b8f8a8c8c8a898a858281908d908b877e80",
        "c1c0c1c1c1c0c1c1c4c4c2c4c5c4c3c4c7c8c6c6c7c8c78cb493a2a0aacb9ba9"
        "8299a4a59b747756959e9a8a9595a095938892757c8996757e8d899293918985",
    ),
}
CHANGED = (
    "the built-in quad has changed, and runs on it are no longer comparable: take the change back, "
    "or raise QUAD_VERSION and pin the new version here"
)


def test_a_new_version_of_the_quad_is_pinned_too() -> None:
    assert quad.QUAD_VERSION == PINNED_VERSION, "pin labels and grey levels of the new version here"


def test_a_changed_label_or_random_stream_needs_a_new_version(plans: list[photos.Photo]) -> None:
    lines = (  # 1e-7 degrees are a centimetre
        f"{p.lat_deg:.7f} {p.lon_deg:.7f} {p.true_lat_deg:.7f} {p.true_lon_deg:.7f}\n"
        for p in plans
    )
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == PINNED_LABELS, CHANGED


@pytest.mark.parametrize("number", PINNED_GREY)
def test_a_changed_pixel_needs_a_new_version(plans: list[photos.Photo], number: int) -> None:
    grey = np.asarray(photos.picture(plans[number]).convert("L"), float)
    blocks = grey.reshape(8, grey.shape[0] // 8, 8, grey.shape[1] // 8)
    middles = blocks[:, blocks.shape[1] // 2, :, blocks.shape[3] // 2]
    mean, middle = (
        np.frombuffer(bytes.fromhex(pinned), np.uint8).reshape(8, 8)
        for pinned in PINNED_GREY[number]
    )
    assert np.abs(blocks.mean(axis=(1, 3)) - mean).max() <= 1, CHANGED
    same = np.abs(middles - middle) <= 1  # the grain too; a last bit may turn a pixel at an edge
    assert same.mean() >= 0.95, CHANGED


def test_another_jpeg_quality_needs_a_new_version(plans: list[photos.Photo]) -> None:
    with Image.open(io.BytesIO(photos.jpeg(plans[2], quad.QUAD_VERSION))) as image:
        tables = image.quantization  # type: ignore[attr-defined]  # of JPEGs only
    first_row = [16, 11, 10, 16, 24, 40, 51, 61]  # ITU-T T.81, table K.1: quality 50
    assert tables[0][:8] == [(24 * step + 50) // 100 for step in first_row], CHANGED  # 200 - 2 * 88


@pytest.mark.parametrize(("seed", "part"), [(1, "main"), (0, "test_known"), (0, "test_new")])
def test_another_seed_or_part_gives_other_photos(
    tiny: Path, tmp_path: Path, seed: int, part: Part
) -> None:
    quad.render(tiny_spec(2, seed, part), tmp_path / "q", progress=False)
    for row, known in zip(rows(tmp_path / "q"), rows(tiny), strict=False):
        assert row["true_lat_deg"] != known["true_lat_deg"]
        assert (tmp_path / "q" / row["photo"]).read_bytes() not in contents(tiny).values()


def test_every_label_is_readable_and_within_its_noise_of_the_truth(tiny: Path) -> None:
    for row in rows(tiny):
        with (tiny / row["photo"]).open("rb") as file:
            tags = exifread.process_file(file, details=False)
        lat, lon = signed_degrees(tags, "Latitude"), signed_degrees(tags, "Longitude")
        error = float(
            geo.distance_m(lat, lon, float(row["true_lat_deg"]), float(row["true_lon_deg"]))
        )
        assert 0 < error < 4 * float(tags["GPS Tag 0x001F"].values[0])
        assert str(tags["Image Model"]) == "img2gps synthetic"
        assert 0 <= float(tags["GPS GPSImgDirection"].values[0]) < 360
        assert str(tags["EXIF OffsetTimeOriginal"]) == "-04:00"


def test_stored_pixels_and_orientation_tag_belong_together(tiny: Path) -> None:
    seen = set()
    for i, row in enumerate(rows(tiny)):
        plan = photos.photo(0, "main", i, 96, 72)
        with Image.open(tiny / row["photo"]) as image:
            assert image.size == (96, 72)  # as a sensor delivers them, however the phone was held
            upright = ImageOps.exif_transpose(image)
            seen.add(image.getexif()[0x0112])
        expected = photos.picture(plan)
        assert upright.size == expected.size
        difference = np.asarray(upright, float) - np.asarray(expected, float)
        assert np.abs(difference).mean() < 12  # JPEG loss; a wrong turn gives several times that
    assert seen >= {1, 6}


def test_claimed_error_is_honest(plans: list[photos.Photo]) -> None:
    lat, lon = np.array([[p.lat_deg, p.lon_deg] for p in plans]).T
    true_lat, true_lon = np.array([[p.true_lat_deg, p.true_lon_deg] for p in plans]).T
    error = geo.distance_m(lat, lon, true_lat, true_lon)
    assert 4.0 < geo.rmse_m(lat, lon, true_lat, true_lon) < 6.0
    within = error <= [p.error_m for p in plans]  # the claim is a 68 % radius
    assert abs(within.mean() - 0.68) < 0.06


def test_photos_lie_in_the_box_and_as_far_apart_as_the_study_needs(
    plans: list[photos.Photo],
) -> None:
    lat, lon = np.array([[p.true_lat_deg, p.true_lon_deg] for p in plans]).T
    assert ((lat > scene.SOUTH_DEG) & (lat < scene.NORTH_DEG)).all()
    assert ((lon > scene.WEST_DEG) & (lon < scene.EAST_DEG)).all()
    centre_lat, centre_lon = geo.mean_position(lat, lon)
    mean_predictor = geo.rmse_m(
        lat, lon, np.full_like(lat, centre_lat), np.full_like(lon, centre_lon)
    )
    assert 86 < mean_predictor < 94


def test_nobody_stands_in_a_wall() -> None:
    campus = scene.campus()
    east, north = campus.spots.T
    assert not any(
        _in_rectangle(east, north, block).any() for block in campus.blocks if block.base == 0
    )


def _in_rectangle(
    east: scene.Floats, north: scene.Floats, block: scene.Block
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Left of all four sides, two metres out, by cross products."""
    corners = block.corners(grow=2.0)
    inside = np.ones(len(east), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (x1 - x0) * (north - y0) - (y1 - y0) * (east - x0) > 0
    return inside


def test_test_parts_revisit_known_spots_or_stand_on_new_ones(plans: list[photos.Photo]) -> None:
    def where(part: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        found = [photos.photo(0, part, i, 64, 64) for i in range(300)]
        return np.array([[p.view.east, p.view.north] for p in found])

    main = np.array([[p.view.east, p.view.north] for p in plans])

    def nearest(points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
        gaps = np.hypot(*(points[:, None] - main[None]).transpose(2, 0, 1)).min(axis=1)
        return float(np.median(gaps))

    assert nearest(where("test_known")) < 1.0
    assert nearest(where("test_new")) > 5.0
    sessions = [
        {photos.photo(0, part, i, 64, 64).session.name for i in range(300)} for part in photos.PARTS
    ]
    assert len(set.union(*sessions)) == sum(map(len, sessions))


def test_nothing_but_the_pixels_and_the_gps_position_tells_the_place(
    tiny: Path, plans: list[photos.Photo]
) -> None:
    assert len({len(data) for name, data in contents(tiny).items() if name != "truth.csv"}) == 1
    place = np.array([[p.view.east, p.view.north] for p in plans])
    heading = np.radians([p.view.heading_deg for p in plans])
    cues = {
        "order and name": np.array([p.index for p in plans]),
        "heading east": np.sin(heading),
        "heading north": np.cos(heading),
        "day": np.array([p.taken.timestamp() for p in plans]),
        "time of day": np.array([p.taken.hour * 60 + p.taken.minute for p in plans]),
        "orientation": np.array([p.orientation for p in plans]),
        "claimed error": np.array([p.error_m for p in plans]),
        "altitude": np.array([p.altitude_m for p in plans]),
        "field of view": np.array([p.view.fov_deg for p in plans]),
        "session": np.array([int(p.session.name[-2:]) for p in plans]),
    }
    for name, cue in cues.items():
        for axis in (0, 1):  # 4 standard errors of a correlation of nothing
            assert abs(np.corrcoef(cue, place[:, axis])[0, 1]) < 4 / np.sqrt(len(plans)), name


def test_a_finished_folder_is_left_alone(tiny: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in tiny.iterdir()}
    quad.render(tiny_spec(24), tiny, progress=False)
    assert {p: p.stat().st_mtime_ns for p in tiny.iterdir()} == before


def test_a_folder_with_other_files_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match=r"holds other files; name a new or empty folder"):
        quad.render(tiny_spec(2), tmp_path, progress=False)
    with pytest.raises(BadInput, match=r"holds other files"):
        quad.render(tiny_spec(23), tiny, progress=False)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_an_interrupted_render_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(photo: photos.Photo, version: str) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(photos, "jpeg", stop)
    with pytest.raises(KeyboardInterrupt):
        quad.render(tiny_spec(3), tmp_path / "q", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "quad n=0: no photos; use 1 or more"),
        ({"width": 8}, "quad size 8 x 384: too small; use 32 pixels or more"),
        ({"seed": -1}, "quad seed=-1: negative; use 0 or more"),
        ({"part": "dev"}, "quad part='dev': unknown; use one of main, test_known, test_new"),
    ],
)
def test_an_impossible_spec_names_the_remedy(change: dict[str, int | str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        quad.QuadSpec(**change)  # type: ignore[arg-type]  # of several types
    assert str(caught.value) == message


def test_a_wall_ahead_is_drawn_where_geometry_puts_it() -> None:
    """The top of a wall d metres ahead, h above the eye, lies f h / d above the centre."""
    campus = scene.campus()
    block = campus.blocks[5]  # has no tower on its roof
    corners = block.corners()
    foot = (corners[0] + corners[1]) / 2  # middle of the first side
    edge = corners[1] - corners[0]
    outward = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    east, north = foot + 12.0 * outward
    heading = float(np.degrees(np.arctan2(-outward[0], -outward[1])))
    view = camera.View(east, north, 1.6, heading, 0.0, 0.0, 90.0, 200, 400)
    grey = np.full(3, 0.5)
    light = camera.Light(0, 45, grey, grey, np.full(3, 255.0), np.full(3, 255.0), 0.0, 0.0)
    bare = scene.Scene(
        campus.blocks, campus.walls, campus.ground, [], [], campus.detail, campus.spots
    )
    column = np.asarray(camera.draw(bare, view, light))[:, 100].astype(int).min(axis=1)
    focal = 200.0  # half of the longer side over tan(45 degrees)
    skyline = 200 - focal * (block.top - 1.6) / 12.0
    first = int(np.argmax(column < 250))
    assert abs(first - skyline) <= 1.5


def test_altitude_below_sea_level_is_written_as_exif_asks() -> None:
    photo = photos.photo(0, "main", 1612, 64, 48)
    gps = Image.open(io.BytesIO(photos.jpeg(photo, quad.QUAD_VERSION))).getexif().get_ifd(0x8825)
    assert photo.altitude_m < 0
    assert gps[5] == b"\x01"
    assert float(gps[6]) == pytest.approx(-photo.altitude_m, abs=0.01)
