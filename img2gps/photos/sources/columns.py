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
from img2gps.photos.sources.text import read_text, shown

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
    "reason": "reason why",
}
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
    """Return the rows of a CSV under our column names; each `required` column must be there."""
    text = read_text(path, "a CSV file")
    if not text.strip():
        raise BadInput(f"{path}: empty; give a header line and one row a photo")
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = headers(reader.fieldnames or ())
        missing = [column for column in required if column not in names]
        if missing:
            raise BadInput(
                f"{path}: no column for {', '.join(missing)} (found: {shown(header)}); "
                "name the columns path, lat, lon"
            )
        rows = []
        for raw_row in reader:
            row = {column: (raw_row[raw] or "").strip() for column, raw in names.items()}
            rows.append(row | {key: row[key].replace(",", ".") for key in _NUMBERS if key in row})
    except csv.Error as error:
        raise BadInput(f"{path}: {error}; give a CSV with the columns path, lat, lon") from error
    return rows


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
            raise Unusable(
                f"{key} is {shown(text)}", f"give degrees between -{limit:g} and {limit:g}"
            )
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
