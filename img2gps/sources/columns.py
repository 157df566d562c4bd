"""Tables of photos: columns under their many names, labels and times brought to one form."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from img2gps.errors import BadInput
from img2gps.exif import is_plausible, parse_time, refuse_null_island
from img2gps.photofile import Unusable

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
COLUMN_OF = {alias: column for column, names in _ALIASES.items() for alias in names.split()}
_EXTRA_NUMBERS = ("altitude_m", "heading_deg", "gps_error_m")


def bare_name(header: str) -> str:
    """A header as `COLUMN_OF` knows it: letters and digits, lower case."""
    return re.sub(r"[^a-z0-9]", "", header.lower())


def read_table(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV under our column names; raises `BadInput` for a table without `required`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; give a CSV file") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # of spreadsheets
    coding = ("utf-16", "replace") if wide else ("utf-8-sig", "surrogateescape")
    text = io.TextIOWrapper(io.BytesIO(content), *coding).read()
    if not text.strip():
        raise BadInput(f"{path}: empty; give a header line and one row a photo")
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = {
            raw: COLUMN_OF[bare]
            for raw in reader.fieldnames or ()
            if (bare := bare_name(raw)) in COLUMN_OF
        }
        missing = [column for column in required if column not in names.values()]
        if missing:
            raise BadInput(
                f"{path}: no column for {', '.join(missing)} (found: {header.strip()!r}); "
                "name the columns path, lat, lon"
            )
        rows = []
        for raw_row in reader:
            row: dict[str, str] = {}
            for raw, column in names.items():
                row.setdefault(column, (raw_row[raw] or "").strip())
            if delimiter != ",":  # where the comma is the decimal point
                row |= {key: row[key].replace(",", ".") for key in ("lat", "lon") if key in row}
            rows.append(row)
    except csv.Error as error:
        raise BadInput(f"{path}: {error}; give a CSV with the columns path, lat, lon") from error
    return rows


def label_of(row: Mapping[str, str]) -> tuple[float, float]:
    """Latitude and longitude of a table's row; raises `Unusable`."""
    values = []
    for key, limit in (("lat", 90.0), ("lon", 180.0)):
        text = row.get(key, "")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not -limit <= value <= limit:
            raise Unusable(f"{key} is {text!r}", f"give degrees between -{limit:g} and {limit:g}")
        values.append(value)
    lat, lon = values
    refuse_null_island(lat, lon, "give its true position, or remove the row")
    return lat, lon


def extras_of(row: Mapping[str, str]) -> dict[str, Any]:
    """Further manifest columns that a table gives; what is no number or no time is left out."""
    extras: dict[str, Any] = {"session": row["session"]} if row.get("session") else {}
    if taken_at := _iso_time(row.get("taken_at", "")):
        extras["taken_at"] = taken_at
    for key in _EXTRA_NUMBERS:
        try:
            extras[key] = float(row.get(key, ""))
        except ValueError:
            continue
    return extras


def _iso_time(text: str) -> str:
    """A time as the manifest has it: from ISO 8601 or EXIF's way to write one; else ""."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.isoformat() if is_plausible(moment) else ""
    except ValueError:
        return parse_time(text)
