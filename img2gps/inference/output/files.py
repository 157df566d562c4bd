"""Answers as CSV, JSON, GeoJSON, GPX and KML, chosen by the file's ending."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from img2gps import __version__
from img2gps.core.errors import BadInput
from img2gps.core.files import write_text_atomic
from img2gps.inference.position import Position

COLUMNS = (
    *("photo", "lat_deg", "lon_deg", "radius_m", "from_here"),
    *("true_lat_deg", "true_lon_deg", "error_m", "error"),
)
_GPX = "http://www.topografix.com/GPX/1/1"
_KML = "http://www.opengis.net/kml/2.2"


def write_positions(path: Path, positions: Sequence[Position], *, synthetic: bool) -> None:
    """Write answers in the format that the file's ending names.

    Raises:
        BadInput: another ending.
    """
    write_text_atomic(path, _writer(path)(positions, synthetic))


def check_ending(path: Path) -> None:
    """Refuse an ending that `write_positions` does not know, before any photo is looked at.

    Raises:
        BadInput: naming those that it knows.
    """
    _writer(path)


def as_json(positions: Sequence[Position], synthetic: bool) -> str:
    """Return a list of objects, one a photo; what is unknown is null."""
    rows = [{**_plain(position), "synthetic": synthetic} for position in positions]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def row(position: Position) -> dict[str, Any]:
    """Return the columns of one answer."""
    found = {column: getattr(position, column) for column in COLUMNS}
    return {**found, "error": position.error or None}


def _plain(position: Position) -> dict[str, Any]:
    """Return the columns of one answer, and its density where the model gives one."""
    density = {} if position.density is None else {"density": position.density.plain()}
    return {**row(position), **density}


def _csv(positions: Sequence[Position], _: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for position in positions:
        values = row(position)
        yes_no = {True: "1", False: "0"}.get(values["from_here"])
        writer.writerow({**values, "from_here": yes_no})
    return text.getvalue()


def _geojson(positions: Sequence[Position], synthetic: bool) -> str:
    """Return points, longitude first (RFC 7946, section 3.1.1); photos without answer are null."""
    features = []
    for position in positions:
        known = _plain(position)
        lat, lon = known.pop("lat_deg"), known.pop("lon_deg")
        point = None if lat is None else {"type": "Point", "coordinates": [lon, lat]}
        features.append({"type": "Feature", "geometry": point, "properties": known})
    found = {"type": "FeatureCollection", "synthetic": synthetic, "features": features}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _gpx(positions: Sequence[Position], _: bool) -> str:
    ET.register_namespace("", _GPX)
    root = ET.Element(f"{{{_GPX}}}gpx", version="1.1", creator=f"img2gps {__version__}")
    for position in _answered(positions):
        at = {"lat": f"{position.lat_deg:.7f}", "lon": f"{position.lon_deg:.7f}"}
        point = ET.SubElement(root, f"{{{_GPX}}}wpt", at)
        ET.SubElement(point, f"{{{_GPX}}}name").text = _printable(position.photo)
        ET.SubElement(point, f"{{{_GPX}}}desc").text = in_words(position)
    return _xml(root)


def _kml(positions: Sequence[Position], _: bool) -> str:
    ET.register_namespace("", _KML)
    root = ET.Element(f"{{{_KML}}}kml")
    document = ET.SubElement(root, f"{{{_KML}}}Document")
    for position in _answered(positions):
        mark = ET.SubElement(document, f"{{{_KML}}}Placemark")
        ET.SubElement(mark, f"{{{_KML}}}name").text = _printable(position.photo)
        ET.SubElement(mark, f"{{{_KML}}}description").text = in_words(position)
        point = ET.SubElement(mark, f"{{{_KML}}}Point")
        at = f"{position.lon_deg:.7f},{position.lat_deg:.7f}"
        ET.SubElement(point, f"{{{_KML}}}coordinates").text = at
    return _xml(root)


def in_words(position: Position) -> str:
    """Return how sure an answer is, and how far off where that is known.

    >>> in_words(Position("a.jpg", 39.95, -75.19, 80.2, True, error_m=12.0))
    'within 80 m; 12 m from the position in the photo'
    """
    parts = []
    if position.radius_m is not None:
        parts.append(f"within {position.radius_m:.0f} m")
    if position.from_here is False:
        parts.append("does not look as if it was taken here")
    if position.error_m is not None:
        parts.append(f"{position.error_m:.0f} m from the position in the photo")
    return "; ".join(parts)


def _answered(positions: Sequence[Position]) -> list[Position]:
    return [position for position in positions if position.lat_deg is not None]


def _printable(text: str) -> str:
    """Return text without the characters that XML has no way to write."""
    return "".join(c if c in "\t\n" or c >= " " else "?" for c in text)


def _xml(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


_WRITERS: dict[str, Callable[[Sequence[Position], bool], str]] = {
    ".csv": _csv,
    ".json": as_json,
    ".geojson": _geojson,
    ".gpx": _gpx,
    ".kml": _kml,
}


def _writer(path: Path) -> Callable[[Sequence[Position], bool], str]:
    try:
        return _WRITERS[path.suffix.lower()]
    except KeyError as error:
        raise BadInput(
            f"--to {path}: name a file that ends in one of {', '.join(_WRITERS)}"
        ) from error
