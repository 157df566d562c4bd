"""Point tables of geographic information systems: GeoJSON and GeoPackage, in WGS 84."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from img2gps.core.errors import BadInput

SQLITE = b"SQLite format 3\0"
_WGS84 = (4326, 4979)  # EPSG; the second has a height
_CRS84 = ("CRS84", "4326", "4979")  # how the names of WGS 84 end in GeoJSON
_ENVELOPE_BYTES = (0, 32, 48, 48, 64)  # by its kind, in a GeoPackage's geometry
_MAX_ROWS = 1_000_000  # a view can have rows without end
_MAX_SECONDS = 20.0  # of processor time; a million rows take 4
_INSTRUCTIONS = 1_000_000  # of SQLite between two looks at the clock
_GIVE = "give points in WGS 84 (EPSG:4326)"

Row = dict[str, str]


def geojson_rows(text: str, path: Path) -> list[Row]:
    """Return the properties of each feature with `lat` and `lon`; raises `BadInput`."""
    try:
        found = json.loads(text)
        features = list(found["features"])
        crs = str((found.get("crs") or {}).get("properties", {}).get("name", "CRS84"))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: no GeoJSON feature collection; {_GIVE}") from error
    if not crs.endswith(_CRS84):
        raise BadInput(f"{path}: has the coordinate system {crs}; {_GIVE}")
    return [_geojson_row(feature) for feature in features if isinstance(feature, Mapping)]


def _geojson_row(feature: Mapping[str, Any]) -> Row:
    properties, geometry = feature.get("properties"), feature.get("geometry")
    row = _texts(properties if isinstance(properties, Mapping) else {})
    match geometry:
        case {"type": "Point", "coordinates": [lon, lat, *_]}:
            return row | {"lat": str(lat), "lon": str(lon)}
        case {"type": str(kind)}:
            return row | {"lat": kind, "lon": kind}  # so that the reject names it
    return row | {"lat": "", "lon": ""}


def geopackage_rows(path: Path) -> list[Row]:
    """Return the columns of each feature of the only layer with `lat` and `lon`."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            end = time.process_time() + _MAX_SECONDS
            database.set_progress_handler(lambda: time.process_time() > end, _INSTRUCTIONS)
            return _layer_rows(database, path)
    except sqlite3.Error as error:
        if error.args == ("interrupted",):
            raise BadInput(
                f"{path}: takes longer than {_MAX_SECONDS:g} s to read; save its layer as a table"
            ) from error
        raise BadInput(f"{path}: no GeoPackage ({error}); {_GIVE}") from error


def _layer_rows(database: sqlite3.Connection, path: Path) -> list[Row]:
    layers = database.execute(
        "SELECT table_name, column_name, organization_coordsys_id FROM gpkg_geometry_columns "
        "JOIN gpkg_spatial_ref_sys USING (srs_id)"
    ).fetchall()
    if len(layers) != 1:
        names = ", ".join(name for name, *_ in layers) or "none"
        raise BadInput(
            f"{path}: has {len(layers)} layers of features ({names}); give one of points"
        )
    table, geometry, epsg = layers[0]
    if epsg not in _WGS84:
        raise BadInput(f"{path}: has the coordinate system EPSG:{epsg}; {_GIVE}")
    name = table.replace('"', '""')
    cursor = database.execute(f'SELECT * FROM "{name}"')  # noqa: S608, quoted above
    columns = [column for column, *_ in cursor.description]
    rows: list[Row] = []
    for values in cursor:
        if len(rows) == _MAX_ROWS:
            raise BadInput(f"{path}: has more than {_MAX_ROWS:,} points; give it in parts")
        feature = dict(zip(columns, values, strict=True))
        lon, lat = _point(feature.pop(geometry))
        rows.append(_texts(feature) | {"lat": lat, "lon": lon})
    return rows


def _point(blob: object) -> tuple[str, str]:
    """Return x and y of a GeoPackage geometry (OGC 12-128r18, 2.1.3); "" for what is no point."""
    if not isinstance(blob, bytes) or blob[:2] != b"GP" or len(blob) < 8:
        return "", ""
    envelope = blob[3] >> 1 & 7
    at = 8 + (_ENVELOPE_BYTES[envelope] if envelope < len(_ENVELOPE_BYTES) else 0)
    try:
        order = "<" if blob[at] else ">"
        kind, x, y = struct.unpack_from(f"{order}Idd", blob, at + 1)
    except (struct.error, IndexError):
        return "", ""
    return (str(x), str(y)) if kind % 1000 == 1 and math.isfinite(x) else ("", "")


def _texts(values: Mapping[str, Any]) -> Row:
    return {_text(name): "" if value is None else _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    """Return text that can be written to a file; JSON may hold half a character."""
    return str(value).encode("utf-8", "replace").decode()
