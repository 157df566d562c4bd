"""EXIF: positions of real cameras, of photos broken in every way, and the conversion itself."""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2gps.photos import exif
from img2gps.photos.decode import decode
from img2gps.photos.exif.gps import to_degrees
from img2gps.photos.exif.readers import Reading
from img2gps.photos.exif.times import parse_time
from img2gps.photos.photofile import Unusable
from tests.helpers.photos import (
    ASCII,
    BYTE,
    DOUBLE,
    FLOAT,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    Field,
    dms,
    gps_fields,
    jpeg_with_exif,
    make_photo,
    picture,
    tiff_exif,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on broken tags

LAT, LON = 39.951234, -75.191234  # the quad
GOOD = gps_fields(LAT, LON)


def with_gps(changes: dict[int, Field | None], order: str = "<") -> bytes:
    """A JPEG with the good GPS directory and some of its fields changed or taken out."""
    fields = {k: v for k, v in ({**GOOD, **changes}).items() if v is not None}
    return jpeg_with_exif(tiff_exif(fields, order=order))


def read_gps(changes: dict[int, Field | None], order: str = "<") -> exif.Exif:
    return exif.read(with_gps(changes, order))


# --- real cameras ---------------------------------------------------------------------------


def test_agrees_with_exiftool_on_pictures_of_many_cameras(real_photos: Path) -> None:
    folder = real_photos / "exif-corpus"
    with (folder / "expected.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 85
    for row in rows:
        found = exif.read((folder / row["file"]).read_bytes(), row["file"])
        if row["lat"]:
            assert found.lat_deg == pytest.approx(float(row["lat"]), abs=1e-6), row["file"]
            assert found.lon_deg == pytest.approx(float(row["lon"]), abs=1e-6), row["file"]
        else:
            assert (found.lat_deg, found.lon_deg) == (None, None), row["file"]
            assert found.reason, row["file"]
            assert found.remedy, row["file"]
        assert found.orientation == int(row["orientation"] or 1), row["file"]
        heading = float(row["heading"]) if row["heading"] else None
        assert found.heading_deg == pytest.approx(heading), row["file"]
        assert found.taken_at[:19] == row["time"].replace(":", "-", 2).replace(" ", "T")
        assert not found.note, row["file"]


def test_phones_in_the_quad_say_how_far_off_they_may_be(real_photos: Path) -> None:
    found = [exif.read(path.read_bytes()) for path in (real_photos / "penn-quad").glob("*.jpg")]
    errors = sorted(e.gps_error_m for e in found if e.gps_error_m is not None)
    assert len(errors) == 60
    assert errors[30] == pytest.approx(14, abs=1)  # exiftool's median on these photos
    assert {e.orientation for e in found} == {6}
    assert sum(e.heading_deg is not None for e in found) == 60


# --- broken and odd GPS directories ---------------------------------------------------------

Q = 39.0 + 57.0 / 60  # of (39, 57)
D, M, S = (39, 1), (57, 1), (44424, 10000)
DMS = 39 + 57 / 60 + 4.4424 / 3600

POSITIONS: dict[str, tuple[dict[int, Field | None], float, float]] = {
    "as phones write it": ({}, LAT, LON),
    "three components": ({2: (RATIONAL, [D, M, S])}, DMS, LON),
    "two components": ({2: (RATIONAL, [D, M])}, Q, LON),
    "one component": ({2: (RATIONAL, [(39951234, 1000000)])}, LAT, LON),
    "decimal minutes, seconds 0": ({2: (RATIONAL, [D, (5707404, 100000), (0, 1)])}, LAT, LON),
    "seconds 0/0": ({2: (RATIONAL, [D, M, (0, 0)])}, Q, LON),
    "minutes and seconds 0/0": ({2: (RATIONAL, [D, (0, 0), (0, 0)])}, 39.0, LON),
    "signed rationals": ({2: (SRATIONAL, [D, M, S])}, DMS, LON),
    "negative degrees that agree with S": (
        {1: (ASCII, b"S\0"), 2: (SRATIONAL, [(-39, 1), M, S])},
        -DMS,
        LON,
    ),
    "doubles": ({2: (DOUBLE, [39.0, 57.0, 4.4424])}, DMS, LON),
    "one double": ({2: (DOUBLE, LAT)}, LAT, LON),
    "floats": ({2: (FLOAT, [39.0, 57.0, 4.5])}, 39 + 57 / 60 + 4.5 / 3600, LON),
    "one integer": ({2: (LONG, 39)}, 39.0, LON),
    "short integers": ({2: (SHORT, [39, 57, 4])}, 39 + 57 / 60 + 4 / 3600, LON),
    "two long integers": ({2: (LONG, [39, 57])}, Q, LON),
    "two short integers": ({2: (SHORT, [39, 57])}, Q, LON),
    "two bytes": ({2: (BYTE, [39, 57])}, Q, LON),
    "three bytes, two of them digits in ASCII": (
        {2: (BYTE, [48, 51, 29])},  # in Paris
        48 + 51 / 60 + 29 / 3600,
        LON,
    ),
    "two integers on both axes": ({2: (LONG, [39, 57]), 4: (LONG, [75, 11])}, Q, -75 - 11 / 60),
    "decimal text": ({2: (ASCII, b"39.951234\0")}, LAT, LON),
    "text of three": ({2: (ASCII, b"39, 57, 4.4424\0")}, DMS, LON),
    "text of rationals": ({2: (ASCII, b"39/1,57/1,44424/10000\0")}, DMS, LON),
    "text with signs for units": ({2: (ASCII, b"39 deg 57' 4.4424\"\0")}, DMS, LON),
    "sixty seconds from rounding": ({2: (RATIONAL, [D, (56, 1), (60, 1)])}, Q, LON),
    "large denominators": (
        {2: (RATIONAL, [(3995123400, 100000000), (0, 1), (0, 1)])},
        LAT,
        LON,
    ),
    "lower case reference": ({1: (ASCII, b"s\0")}, -LAT, LON),
    "reference in full": ({1: (ASCII, b"South\0")}, -LAT, LON),
    "reference in capitals": ({3: (ASCII, b"EAST\0")}, LAT, -LON),
    "reference after a space": ({1: (ASCII, b" S\0")}, -LAT, LON),
    "reference without its NUL": ({1: (ASCII, b"S")}, -LAT, LON),
    "reference padded with NULs": ({1: (ASCII, b"S\0\0\0\0\0\0\0")}, -LAT, LON),
    "reference as bytes": ({1: (UNDEFINED, b"S\0")}, -LAT, LON),
    "reference as byte codes": ({1: (BYTE, [83, 0])}, -LAT, LON),
    "the south pole": ({1: (ASCII, b"S\0"), 2: (RATIONAL, [(90, 1)])}, -90.0, LON),
    "the antimeridian": ({4: (RATIONAL, [(180, 1), (0, 1), (0, 1)])}, LAT, -180.0),
    "on the equator": ({2: (RATIONAL, [(0, 1), (0, 1), (0, 1)])}, 0.0, LON),
    "on the prime meridian": ({4: (RATIONAL, [(0, 1), (0, 1), (0, 1)])}, LAT, 0.0),
    "no version tag, unknown tags": ({0x00F7: (ASCII, b"what\0")}, LAT, LON),
}

REASONS: dict[str, tuple[dict[int, Field | None], str]] = {
    "no latitude reference": ({1: None}, "latitude without its reference"),
    "no longitude reference": ({3: None}, "longitude without its reference"),
    "empty reference": ({1: (ASCII, b"\0")}, "latitude without its reference"),
    "blank reference": ({3: (ASCII, b"  \0")}, "longitude without its reference"),
    "reference of the other axis": ({1: (ASCII, b"W\0")}, "latitude has the reference 'W'"),
    "unknown reference": ({3: (ASCII, b"X\0")}, "longitude has the reference 'X'"),
    "no latitude": ({1: None, 2: None}, "latitude is missing"),
    "no longitude": ({4: None}, "longitude is missing"),
    "neither": ({1: None, 2: None, 3: None, 4: None, 0: (BYTE, [2, 3, 0, 0])}, "no coordinates"),
    "degrees 0/0": ({2: (RATIONAL, [(0, 0), (0, 0), (0, 0)])}, "latitude is 0/0"),
    "longitude 0/0": ({4: (RATIONAL, [(0, 0), (0, 0), (0, 0)])}, "longitude is 0/0"),
    "degrees x/0": ({2: (RATIONAL, [(39, 0), M, S])}, "latitude has a zero denominator"),
    "minutes x/0": ({2: (RATIONAL, [D, (57, 0), S])}, "latitude has a zero denominator"),
    "seconds x/0": ({4: (RATIONAL, [D, M, (44424, 0)])}, "longitude has a zero denominator"),
    "latitude over 90": ({2: (RATIONAL, [(91, 1), (0, 1), (0, 1)])}, "off the globe"),
    "just over 90": ({2: (RATIONAL, [(90, 1), (0, 1), (1, 1)])}, "off the globe"),
    "longitude over 180": ({4: (RATIONAL, [(181, 1)])}, "off the globe"),
    "minutes over 60": ({2: (RATIONAL, [D, (61, 1), (0, 1)])}, "outside 0..60"),
    "seconds a hundred times too large": (
        {2: (RATIONAL, [D, M, (444, 1)])},
        "outside 0..60",
    ),
    "negative minutes": ({2: (SRATIONAL, [D, (-57, 1), (0, 1)])}, "outside 0..60"),
    "negative degrees that contradict N": (
        {2: (SRATIONAL, [(-39, 1), M, S])},
        "latitude is negative but its reference says N",
    ),
    "not a number": ({2: (DOUBLE, float("nan"))}, "latitude is 0/0"),
    "infinite": ({2: (DOUBLE, [float("inf"), 0.0, 0.0])}, "latitude has a zero denominator"),
    "text without a number": ({2: (ASCII, b"unknown\0")}, "latitude has 0 components"),
    "four components": ({2: (RATIONAL, [D, M, S, S])}, "latitude has 4 components"),
    "null island": (
        {2: (RATIONAL, [(0, 1)] * 3), 4: (RATIONAL, [(0, 1)] * 3)},
        "null island",
    ),
    "two integers, the second above 60": ({2: (LONG, [39, 100])}, "outside 0..60"),
    "metres from null island": (
        {2: (RATIONAL, [(0, 1), (0, 1), (1, 100)]), 4: (RATIONAL, [(0, 1), (0, 1), (1, 100)])},
        "null island",
    ),
}


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("name", POSITIONS)
def test_position_of_odd_gps(name: str, order: str) -> None:
    changes, lat, lon = POSITIONS[name]
    found = read_gps(changes, order)
    assert found.lat_deg == pytest.approx(lat, abs=1e-8)
    assert found.lon_deg == pytest.approx(lon, abs=1e-8)
    assert (found.reason, found.note) == ("", "")


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("name", REASONS)
def test_reason_of_unusable_gps(name: str, order: str) -> None:
    changes, reason = REASONS[name]
    found = read_gps(changes, order)
    assert (found.lat_deg, found.lon_deg) == (None, None)
    assert reason in found.reason
    assert found.remedy


@pytest.mark.parametrize("reader", ["read_exifread", "read_pillow"])
@pytest.mark.parametrize("name", [name for name in POSITIONS if "integer" in name])
def test_each_reader_alone_takes_integers_for_degrees_minutes_seconds(
    name: str, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exif.photo, reader, lambda _: Reading({}, {}))
    changes, lat, lon = POSITIONS[name]
    found = read_gps(changes)
    assert (found.lat_deg, found.lon_deg) == pytest.approx((lat, lon), abs=1e-8)


@pytest.mark.parametrize("name", [*POSITIONS, *REASONS])
def test_pillow_alone_is_never_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exif.photo, "read_exifread", lambda _: Reading({}, {}))
    found = read_gps((POSITIONS.get(name) or REASONS[name])[0])
    if found.lat_deg is not None:
        assert (found.lat_deg, found.lon_deg) == pytest.approx(POSITIONS[name][1:], abs=1e-8)
    else:
        assert found.reason


def test_at_least_sixty_broken_or_odd_photos_have_expected_values() -> None:
    assert len(POSITIONS) + len(REASONS) >= 60


# --- what else GPS holds --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({5: (BYTE, 0), 6: (RATIONAL, [(1234, 100)])}, "altitude_m", 12.34),
        ({5: (BYTE, 1), 6: (RATIONAL, [(1234, 100)])}, "altitude_m", -12.34),
        ({5: (BYTE, 3), 6: (RATIONAL, [(5, 1)])}, "altitude_m", -5.0),  # EXIF 3.0: below sea level
        ({6: (RATIONAL, [(7, 1)])}, "altitude_m", 7.0),
        ({5: (BYTE, 1), 6: (SRATIONAL, [(-7, 1)])}, "altitude_m", -7.0),
        ({6: (RATIONAL, [(7, 0)])}, "altitude_m", None),
        ({16: (ASCII, b"T\0"), 17: (RATIONAL, [(29139, 100)])}, "heading_deg", 291.39),
        ({16: (ASCII, b"M\0"), 17: (RATIONAL, [(10, 1)])}, "heading_ref", "M"),
        ({16: (ASCII, b"T\0"), 17: (RATIONAL, [(10, 1)])}, "heading_ref", "T"),
        ({16: (ASCII, b"T\0")}, "heading_ref", ""),
        ({17: (RATIONAL, [(360, 1)])}, "heading_deg", 0.0),
        ({17: (RATIONAL, [(361, 1)])}, "heading_deg", None),
        ({17: (RATIONAL, [(0, 0)])}, "heading_deg", None),
        ({31: (RATIONAL, [(14247, 1000)])}, "gps_error_m", 14.247),
        ({31: (RATIONAL, [(0, 1)])}, "gps_error_m", None),
        ({11: (RATIONAL, [(25, 10)])}, "dop", 2.5),
        ({18: (ASCII, b"WGS-84\0")}, "note", ""),
        ({18: (ASCII, b"WGS 84\0")}, "note", ""),
    ],
)
def test_reads_what_stands_beside_the_position(
    changes: dict[int, Field | None], field: str, expected: Any
) -> None:
    found = getattr(read_gps(changes), field)
    assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_notes_a_void_fix() -> None:
    found = read_gps({9: (ASCII, b"V\0")})
    assert found.lat_deg == pytest.approx(LAT)
    assert found.note == "GPS status is V (void): no satellite fix when it was taken"
    assert not read_gps({9: (ASCII, b"A\0")}).note


@pytest.mark.parametrize(("metres", "kept"), [(65_535, None), (400, 400.0)])
def test_notes_an_imprecise_fix_and_takes_the_largest_value_for_unknown(
    metres: int, kept: float | None
) -> None:
    found = read_gps({9: (ASCII, b"A\0"), 31: (RATIONAL, [(metres, 1)])})
    assert found.note == f"positioning error of {metres:,} m"
    assert found.gps_error_m == kept


def test_notes_a_map_datum_that_is_not_wgs_84() -> None:
    found = read_gps({18: (ASCII, b"TOKYO\0")})
    assert found.lat_deg == pytest.approx(LAT)
    assert "TOKYO" in found.note


# --- time, camera, orientation --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "subsec", "offset", "expected"),
    [
        ("2021:05:04 13:02:01", "", "", "2021-05-04T13:02:01"),
        ("2021:05:04 13:02:01", "567", "-04:00", "2021-05-04T13:02:01.567-04:00"),
        ("2021:05:04 13:02:01", "5", "Z", "2021-05-04T13:02:01.500+00:00"),
        ("2021:05:04 13:02:01", "00", "+5:30", "2021-05-04T13:02:01"),
        ("2021-05-04T13:02:01", "", "+05:45", "2021-05-04T13:02:01+05:45"),
        ("2021:05:04 13:02:01", "25" * 2500, "", "2021-05-04T13:02:01.252"),
        ("2021:5:4 3:02:01", "", "", "2021-05-04T03:02:01"),
        ("2016:12:31 23:59:60", "", "", "2016-12-31T23:59:59"),
        ("0000:00:00 00:00:00", "", "", ""),
        ("2021:02:30 10:00:00", "", "", ""),
        ("    :  :     :  :  ", "", "", ""),
        ("", "", "", ""),
        ("yesterday", "", "", ""),
    ],
)
def test_time_of_exif_becomes_iso_8601(text: str, subsec: str, offset: str, expected: str) -> None:
    assert parse_time(text, subsec, offset) == expected


def test_time_is_when_the_shutter_opened_not_when_an_editor_saved() -> None:
    saved = {0x0132: (ASCII, b"2024:09:01 08:00:00\0")}
    taken = {0x9003: (ASCII, b"2021:05:04 13:02:01\0"), 0x9291: (ASCII, b"25\0")}
    assert exif.read(jpeg_with_exif(tiff_exif(GOOD, saved))).taken_at == ""
    found = exif.read(jpeg_with_exif(tiff_exif(GOOD, saved, taken)))
    assert found.taken_at == "2021-05-04T13:02:01.250"


def test_satellite_time_stands_in_for_a_missing_clock() -> None:
    found = read_gps({7: (RATIONAL, [(17, 1), (2, 1), (3059, 100)]), 29: (ASCII, b"2021:05:04\0")})
    assert found.taken_at == "2021-05-04T17:02:30+00:00"


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        (b"Apple\0", b"iPhone 13\0", "Apple iPhone 13"),
        (b"Canon\0", b"Canon EOS R5\0", "Canon EOS R5"),
        (b"NIKON\0\0\0\0", b"D70  \0", "NIKON D70"),
        (b"\0", b"X\0", "X"),
    ],
)
def test_camera_is_make_and_model_without_repetition(
    make: bytes, model: bytes, expected: str
) -> None:
    block = tiff_exif(GOOD, {0x010F: (ASCII, make), 0x0110: (ASCII, model)})
    assert exif.read(jpeg_with_exif(block)).camera == expected


@pytest.mark.parametrize("stored", range(10))
def test_orientation_outside_one_to_eight_means_upright(stored: int) -> None:
    block = tiff_exif(GOOD, {0x0112: (SHORT, stored)})
    found = exif.read(jpeg_with_exif(block)).orientation
    assert found == (stored if 1 <= stored <= 8 else 1)


# --- containers -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "mpo", "png", "webp", "tiff", "heic", "avif"])
def test_reads_every_format(tmp_path: Path, suffix: str) -> None:
    path = make_photo(
        tmp_path / f"a.{suffix}",
        -33.5,
        151.25,
        altitude_m=-3.25,
        heading_deg=12.5,
        gps_error_m=4.5,
        taken_at="2024:05:01 12:30:00",
        offset="+10:00",
        camera=("Maker", "Phone 1"),
    )
    found = exif.read(path.read_bytes())
    assert (found.lat_deg, found.lon_deg) == pytest.approx((-33.5, 151.25))
    assert (found.altitude_m, found.heading_deg, found.gps_error_m) == (-3.25, 12.5, 4.5)
    assert found.taken_at == "2024-05-01T12:30:00+10:00"
    assert found.camera == "Maker Phone 1"


def marker(code: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def plain_jpeg() -> bytes:
    file = io.BytesIO()
    picture().save(file, "JPEG")
    return file.getvalue()


EXIF_SEGMENT = marker(0xE1, b"Exif\0\0" + tiff_exif(GOOD))


def after_sof(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    length = struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    return jpeg[: at + 2 + length] + EXIF_SEGMENT + jpeg[at + 2 + length :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            plain_jpeg()[:2]
            + marker(0xE2, b"ICC_PROFILE\0\1\1" + bytes(50_000))
            + EXIF_SEGMENT
            + plain_jpeg()[2:],
            id="behind a large colour profile",
        ),
        pytest.param(after_sof(plain_jpeg()), id="behind the frame header"),
        pytest.param(
            plain_jpeg()[:2]
            + marker(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta></x:xmpmeta>")
            + EXIF_SEGMENT
            + plain_jpeg()[2:],
            id="in the second APP1",
        ),
        pytest.param(plain_jpeg()[:2] + EXIF_SEGMENT + plain_jpeg()[2:], id="before JFIF"),
    ],
)
def test_finds_exif_wherever_a_jpeg_hides_it(data: bytes) -> None:
    found = exif.read(data)
    assert found.lat_deg == pytest.approx(LAT, abs=1e-8)
    assert found.lon_deg == pytest.approx(LON, abs=1e-8)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def test_finds_exif_in_the_raw_profile_of_a_png() -> None:
    file = io.BytesIO()
    picture().save(file, "PNG")
    block = b"Exif\0\0" + tiff_exif(GOOD)
    text = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    chunk = png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    plain = file.getvalue()
    found = exif.read(plain[:33] + chunk + plain[33:])  # behind the header chunk
    assert (found.lat_deg, found.lon_deg) == pytest.approx((LAT, LON))


def test_finds_bare_tiff_exif_in_a_webp() -> None:
    file = io.BytesIO()
    picture().save(file, "WEBP", exif=tiff_exif(GOOD))
    assert b"Exif\0\0" not in file.getvalue()
    found = exif.read(file.getvalue())
    assert (found.lat_deg, found.lon_deg) == pytest.approx((LAT, LON))


def xmp_jpeg(body: str) -> bytes:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" {body}</rdf:RDF></x:xmpmeta>'
    )
    segment = marker(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet.encode())
    return plain_jpeg()[:2] + segment + plain_jpeg()[2:]


@pytest.mark.parametrize(
    ("body", "lat", "lon"),
    [
        ('exif:GPSLatitude="39,57.0740N" exif:GPSLongitude="75,11.4740W"/>', 39.951233, -75.191233),
        ('exif:GPSLatitude="33,30,0S" exif:GPSLongitude="151,15,0E"/>', -33.5, 151.25),
        ('exif:GPSLatitude="-33.5" exif:GPSLongitude="+151.25"/>', -33.5, 151.25),
        ('exif:GPSLatitude="33.5" exif:GPSLongitude="-151.25"/>', 33.5, -151.25),
        (
            "><exif:GPSLatitude>33,30.0S</exif:GPSLatitude>"
            "<exif:GPSLongitude>151,15.0E</exif:GPSLongitude></rdf:Description>",
            -33.5,
            151.25,
        ),
    ],
)
def test_reads_a_position_that_only_xmp_has(body: str, lat: float, lon: float) -> None:
    found = exif.read(xmp_jpeg(body))
    assert (found.lat_deg, found.lon_deg) == pytest.approx((lat, lon))
    assert found.source == "xmp"


def test_reads_heading_and_error_from_xmp() -> None:
    found = exif.read(
        xmp_jpeg(
            'exif:GPSLatitude="33,30.0S" exif:GPSLongitude="151,15.0E" exif:GPSAltitude="25/2" '
            'exif:GPSAltitudeRef="1" exif:GPSImgDirection="901/10" exif:GPSImgDirectionRef="T" '
            'exif:GPSHPositioningError="3/2"/>'
        )
    )
    assert (found.altitude_m, found.heading_deg, found.gps_error_m) == (-12.5, 90.1, 1.5)


@pytest.mark.parametrize("root", ["x:xapmeta", "rdf:RDF"])
def test_xmp_is_read_whatever_its_outermost_element_is(root: str) -> None:
    body = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="33,30,0S" '
        'exif:GPSLongitude="151,15,0E"/></rdf:RDF>'
    )
    if root == "x:xapmeta":
        body = f'<x:xapmeta xmlns:x="adobe:ns:meta/">{body}</x:xapmeta>'
    packet = f'<?xpacket begin="\ufeff" id="W5M0"?>{body}<?xpacket end="w"?>'.encode()
    segment = marker(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    found = exif.read(plain_jpeg()[:2] + segment + plain_jpeg()[2:])
    assert (found.lat_deg, found.lon_deg) == (-33.5, 151.25)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            'exif:GPSLatitude="39,57.0740" exif:GPSLongitude="75,11.4740W"/>',
            "latitude without its reference (N or S)",
        ),
        (
            'exif:GPSLatitude="95,0.0N" exif:GPSLongitude="75,11.4740W"/>',
            "latitude of 95 degrees is off the globe",
        ),
        ('exif:GPSLatitude="" exif:GPSLongitude=""/>', "no GPS: no EXIF at all"),
        ('exif:GPSLatitude="39,57.0740N" <broken', "no GPS: no EXIF at all"),
    ],
)
def test_refuses_broken_xmp(body: str, reason: str) -> None:
    found = exif.read(xmp_jpeg(body))
    assert found.lat_deg is None
    assert found.reason.startswith(reason)


def test_refuses_xmp_with_a_document_type_which_could_expand_without_end() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
    segment = marker(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bomb.encode())
    assert exif.read(plain_jpeg()[:2] + segment + plain_jpeg()[2:]).lat_deg is None


# --- two readers ----------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["read_exifread", "read_pillow"])
def test_one_reader_is_enough(monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    monkeypatch.setattr(exif.photo, reader, lambda _: Reading({}, {}))
    found = exif.read(jpeg_with_exif(tiff_exif(GOOD)))
    assert (found.lat_deg, found.lon_deg) == pytest.approx((LAT, LON))


def test_a_disagreement_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = gps_values(LAT + 0.001, LON)
    monkeypatch.setattr(exif.photo, "read_pillow", lambda _: Reading({}, moved))
    found = exif.read(jpeg_with_exif(tiff_exif(GOOD)))
    assert found.note == "exifread and Pillow read positions 111 m apart"


def gps_values(lat: float, lon: float) -> dict[int, Any]:
    return {1: "N", 2: dms(lat), 3: "W", 4: dms(lon)}


def test_a_second_exif_segment_is_read_as_exiftool_reads_it(tmp_path: Path) -> None:
    first = marker(0xE1, b"Exif\0\0" + tiff_exif(None, {0x010F: (ASCII, b"Maker\0")}))
    plain = plain_jpeg()
    (tmp_path / "a.jpg").write_bytes(plain[:2] + first + EXIF_SEGMENT + plain[2:])
    found = exif.read((tmp_path / "a.jpg").read_bytes())
    assert (found.lat_deg, found.lon_deg) == pytest.approx(by_exiftool(tmp_path / "a.jpg"))
    assert found.camera == "Maker"


@pytest.mark.parametrize("name", [b"exif", b"APP1"])
@pytest.mark.parametrize("mark", [b"", b"Exif\0\0"])
def test_a_raw_profile_of_a_png_is_read_under_both_of_its_names(name: bytes, mark: bytes) -> None:
    file = io.BytesIO()
    picture().save(file, "PNG")
    block = mark + tiff_exif(GOOD)
    text = b"\n%s\n%8d\n%s\n" % (name, len(block), block.hex().encode())
    chunk = png_chunk(b"zTXt", b"Raw profile type %s\0\0" % name + zlib.compress(text))
    plain = file.getvalue()
    found = exif.read(plain[:33] + chunk + plain[33:])
    assert (found.lat_deg, found.lon_deg) == pytest.approx((LAT, LON))


@pytest.mark.parametrize("brand", [b"heif", b"MiHE", b"mif2", b"heic"])
def test_a_heic_is_read_under_every_brand_as_exiftool_reads_it(
    tmp_path: Path, brand: bytes
) -> None:
    data = make_photo(tmp_path / "a.heic", LAT, LON).read_bytes()
    (tmp_path / "b.heic").write_bytes(data[:8] + brand + data[12:])
    found = exif.read((tmp_path / "b.heic").read_bytes())
    assert (found.lat_deg, found.lon_deg) == pytest.approx((LAT, LON))
    assert by_exiftool(tmp_path / "b.heic") == pytest.approx((LAT, LON))
    assert decode((tmp_path / "b.heic").read_bytes(), 8)[1] == (64, 48)


def by_exiftool(path: Path) -> tuple[float, float]:
    """Latitude and longitude as exiftool reads them."""
    tool = shutil.which("exiftool")
    if tool is None:
        pytest.skip("exiftool is not installed")
    command = [tool, "-n", "-j", "-GPSLatitude", "-GPSLongitude", str(path)]
    (tags,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return tags["GPSLatitude"], tags["GPSLongitude"]


# --- no GPS ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("IMG-20240501-WA0012.jpg", "WhatsApp"),
        ("WhatsApp Image 2024-05-01 at 10.00.00.jpeg", "WhatsApp"),
        ("photo_2024-05-01_10-00-00.jpg", "Telegram"),
        ("signal-2024-05-01-100000.jpg", "Signal"),
        ("FB_IMG_1714550000000.jpg", "Facebook"),
        ("mmexport1714550000000.jpg", "WeChat"),
        ("Screenshot_20240501-100000.png", "screenshot"),
        ("Screen Shot 2024-05-01 at 10.00.00.png", "screenshot"),
        ("IMG_0001.jpg", "no EXIF at all"),
    ],
)
def test_no_gps_names_the_likely_cause(name: str, cause: str) -> None:
    found = exif.read(plain_jpeg(), name)
    assert found.reason.startswith("no GPS: ")
    assert cause in found.reason
    assert found.remedy


def test_a_camera_without_gps_had_its_location_off(tmp_path: Path) -> None:
    found = exif.read(make_photo(tmp_path / "a.jpg", None, None).read_bytes(), "a.jpg")
    assert found.reason == "no GPS: location was off, or removed on export"
    assert "turn location on" in found.remedy
    assert "export originals" in found.remedy


def test_what_is_no_picture_says_so() -> None:
    assert exif.read(b"hello", "a.jpg").reason == "not a picture that can be read"


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_heic_cut_in_its_table_of_items_is_truncated(tmp_path: Path, suffix: str) -> None:
    found = exif.read(make_photo(tmp_path / f"a.{suffix}", 1, 1).read_bytes()[:200])
    assert found.reason == "truncated: parts of the picture are missing"
    assert found.remedy == "copy the original again"


# --- nothing raises -------------------------------------------------------------------------


@given(cut=st.integers(0, 1500), at=st.integers(0, 1500), byte=st.integers(0, 255))
def test_never_raises_on_damaged_files(cut: int, at: int, byte: int) -> None:
    data = bytearray(jpeg_with_exif(tiff_exif(GOOD, {0x0110: (ASCII, b"Phone\0")})))
    data[min(at, len(data) - 1)] = byte
    found = exif.read(bytes(data[: max(1, len(data) - cut)]), "a.jpg")
    assert (found.lat_deg is None) == bool(found.reason)


@given(data=st.binary(max_size=400))
def test_never_raises_on_noise(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff\xe1", b"II*\0\x08\0\0\0", b"\0\0\0\x18ftypheic"):
        assert exif.read(start + data, "a.jpg").reason


def test_a_huge_count_takes_no_time() -> None:
    block = bytearray(tiff_exif({**GOOD, 0x001D: (ASCII, b"2021:05:04\0")}))
    at = block.index(struct.pack("<HH", 0x001D, ASCII))
    block[at + 4 : at + 8] = struct.pack("<L", 2**31 - 1)
    found = exif.read(jpeg_with_exif(bytes(block)))
    assert found.lat_deg == pytest.approx(LAT)


# --- the conversion -------------------------------------------------------------------------


@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
def test_degrees_survive_the_way_through_minutes_and_seconds(lat: float, lon: float) -> None:
    north, east = "S" if lat < 0 else "N", "W" if lon < 0 else "E"
    # seconds are written in steps of 1e-5, which are 3e-9 degrees
    assert to_degrees(dms(lat), north, axis="latitude") == pytest.approx(lat, abs=2e-9)
    assert to_degrees(dms(lon), east, axis="longitude") == pytest.approx(lon, abs=2e-9)


@given(
    parts=st.lists(st.tuples(st.integers(-5, 200), st.integers(-2, 5)), max_size=4),
    ref=st.one_of(st.none(), st.text(max_size=3), st.binary(max_size=3)),
)
def test_any_components_give_a_position_on_the_globe_or_a_reason(
    parts: list[tuple[int, int]], ref: str | bytes | None
) -> None:
    outcome: float | str
    try:
        outcome = to_degrees(parts, ref, axis="latitude")
    except Unusable as error:
        outcome = error.reason
    assert outcome if isinstance(outcome, str) else -90 <= outcome <= 90
