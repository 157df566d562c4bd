"""Points of GeoJSON and GeoPackage as labels."""

from __future__ import annotations

import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from img2gps.core.errors import BadInput
from img2gps.photos.ingest import (
    CsvSource,
)
from img2gps.photos.sources import points
from tests.helpers.ingested import ingested, reasons

LAT, LON = 39.9515, -75.1914


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
    found = ingested(CsvSource(root / "t.geojson"), cache)
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
        ingested(CsvSource(root / "t.geojson"), cache)


def test_a_geojson_without_a_coordinate_system_is_in_wgs_84(root: Path, cache: Path) -> None:
    (root / "t.geojson").write_text(geojson(feature("Point", [20, 10], path="a.jpg"), crs=None))
    found = ingested(CsvSource(root / "t.geojson"), cache).manifest
    assert found[["lat_deg", "lon_deg"]].to_numpy().tolist() == [[10, 20]]


def test_half_a_character_in_a_geojson_stops_nothing(root: Path, cache: Path) -> None:
    features = [feature("Point", [20, 10], path=path) for path in ("a.jpg", "\ud800.jpg")]
    features[0]["properties"]["session"] = "\udfff"
    (root / "t.geojson").write_text(geojson(*features))
    found = ingested(CsvSource(root / "t.geojson"), cache)
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
    blobs = {
        "a.jpg": gpkg_point(20.25, 10.5),
        "b.JPG": gpkg_point(-20.25, -10.5, ">", 1),
        "c.heic": gpkg_point(float("nan"), float("nan")),
        "d.png": b"GP\0\1" + bytes(5),
    }
    geopackage(root / "t.gpkg", blobs)
    found = ingested(CsvSource(root / "t.gpkg"), cache)
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
        ingested(CsvSource(root / "t.gpkg"), cache)
    (root / "u.gpkg").write_bytes(b"SQLite format 3\0" + bytes(500))
    with pytest.raises(BadInput, match="no GeoPackage"):
        ingested(CsvSource(root / "u.gpkg"), cache)


@pytest.mark.parametrize(
    ("where", "message"),
    [("1", "has more than 50 points; give it in parts"), ("fid < 0", "longer than 0.2 s to read")],
)
def test_a_view_without_end_is_refused(
    root: Path, cache: Path, where: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "_MAX_ROWS", 50)
    monkeypatch.setattr(points, "_MAX_SECONDS", 0.2)
    geopackage(root / "t.gpkg", {})
    with closing(sqlite3.connect(root / "t.gpkg")) as database, database:
        database.execute('DROP TABLE "photo ""points"" 0"')
        database.execute(
            'CREATE VIEW "photo ""points"" 0" AS WITH RECURSIVE v(fid, geom) AS '  # noqa: S608
            "(SELECT 1, x'' UNION ALL SELECT fid + 1, geom FROM v) "
            f"SELECT fid, geom, 'a.jpg' AS path FROM v WHERE {where}"
        )
    with pytest.raises(BadInput, match=message):
        ingested(CsvSource(root / "t.gpkg"), cache)
