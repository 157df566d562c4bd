"""Tables of photos: columns under many names, and labels and times in one form."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.photos.exif.gps import refuse_null_island
from img2gps.photos.exif.times import is_plausible, parse_time
from img2gps.photos.photofile import Unusable
from img2gps.photos.sources.points import SQLITE, geojson_rows, geopackage_rows
from img2gps.photos.sources.text import decode_text, read_content, shown

_ALIASES = {
    "photo": "path imagepath image imagename img file filename filepath photo photopath name",
    "lat": "lat latitude latdeg gpslatitude gpslat",
    "lon": "lon lng long longitude londeg gpslongitude gpslon",
    "altitude_m": "altitude altitudem alt gpsaltitude elevation",
    "heading_deg": "heading headingdeg bearing azimuth compass gpsimgdirection",
    "gps_error_m": "gpserror gpserrorm accuracy gpshpositioningerror",
    "taken_at": "takenat time datetime timestamp datetimeoriginal",
    "session": "session",
    "exclude": "exclude excluded drop",
    "reason": "reason why hint",
}
# Blank lines, and one that tells Excel what separates the columns.
_BEFORE_HEADER = re.compile(r"\A(?:[ \t]*[\r\n]+)*(?:sep=.[\r\n]+)?", re.IGNORECASE)
_EXTRA_NUMBERS = ("altitude_m", "heading_deg", "gps_error_m")
_NUMBERS = ("lat", "lon", *_EXTRA_NUMBERS)


def headers(given: Sequence[str]) -> dict[str, str]:
    """Return our columns and the header that each is read from: the likeliest of several.

    >>> headers(["Name", "Image path", "Latitude", "lng", "notes"])
    {'photo': 'Image path', 'lat': 'Latitude', 'lon': 'lng'}
    """
    bare = {re.sub(r"[^a-z0-9]", "", header.lower()): header for header in reversed(given)}
    found = {
        column: [bare[alias] for alias in aliases.split() if alias in bare]
        for column, aliases in _ALIASES.items()
    }
    return {column: names[0] for column, names in found.items() if names}


def read_table(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV, GeoJSON or GeoPackage under our column names, others as they are.

    Raises `BadInput` if a `required` column is missing.
    """
    content = read_content(path, "a CSV file")
    if content.startswith(SQLITE):
        raw = geopackage_rows(path)
    else:
        text = decode_text(content)
        if not text.strip():
            raise BadInput(f"{path}: empty; give a header line and one row a photo")
        raw = geojson_rows(text, path) if text.lstrip()[0] == "{" else _csv_rows(text, path)
    found = list(dict.fromkeys(header for row in raw for header in row))
    names = headers(found)
    missing = [column for column in required if column not in names]
    if missing and raw:
        raise BadInput(
            f"{path}: no column for {', '.join(missing)} (found: {shown(', '.join(found))}); "
            "name the columns path, lat, lon"
        )
    return [_renamed(row, names) for row in raw]


def _csv_rows(text: str, path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV under its own headers; raises `BadInput`."""
    text = _BEFORE_HEADER.sub("", text)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    lines = io.StringIO(text, newline="")
    try:
        return list(csv.DictReader(lines, delimiter=delimiter, restkey="", restval=""))
    except csv.Error as error:
        raise BadInput(f"{path}: {error}; give a CSV with the columns path, lat, lon") from error


def _renamed(raw: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    others = raw.keys() - {"", *names.values()}
    row = {header: raw[header] for header in raw if header in others}
    row |= {column: raw.get(header, "").strip() for column, header in names.items()}
    return row | {key: row[key].replace(",", ".") for key in _NUMBERS if key in row}


def label_of(row: Mapping[str, str]) -> tuple[float, float]:
    """Return latitude and longitude of a row; raises `Unusable`."""
    values = []
    for key, limit in (("lat", 90.0), ("lon", 180.0)):
        text = row.get(key, "")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not -limit <= value <= limit:
            said = shown(text) if text else "missing"
            raise Unusable(f"{key} is {said}", f"give degrees between -{limit:g} and {limit:g}")
        values.append(value)
    lat, lon = values
    refuse_null_island(lat, lon, "give its true position, or remove the row")
    return lat, lon


def extras_of(row: Mapping[str, str]) -> dict[str, Any]:
    """Return further manifest columns of a row, without those that are no number or no time."""
    extras: dict[str, Any] = {"session": row["session"]} if row.get("session") else {}
    if taken_at := _iso_time(row.get("taken_at", "")):
        extras["taken_at"] = taken_at
    for key in _EXTRA_NUMBERS:
        try:
            value = float(row.get(key, ""))
        except ValueError:
            continue
        if not math.isfinite(value) or (key == "gps_error_m" and value <= 0):
            continue  # phones write -1 for unknown
        extras[key] = value % 360.0 if key == "heading_deg" else value
    return extras


def _iso_time(text: str) -> str:
    """Return ISO 8601 from ISO 8601 or from EXIF's notation; "" for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.isoformat() if is_plausible(moment) else ""
    except ValueError:
        return parse_time(text)
