"""submission.csv: one row for each row of a course's table, with the answers behind."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.files import write_csv
from img2gps.inference.localizer import Localizer

log = logging.getLogger(__name__)

PHOTO_COLUMNS = ("image_path", "filepath", "image", "path", "file_name", "filename", "photo", "id")
SUBMISSION = "submission.csv"


def write_submission(localizer: Localizer, table: Path, path: Path) -> int:
    """Write the photo column of a table with Latitude and Longitude; return the number of rows.

    Paths are relative to the folder of the table. A photo that cannot be read gets the mean
    training position, as a row must not be missing, and is named in the log.

    Raises:
        BadInput: the table cannot be read, or has no column of photos.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{table}: cannot be read ({error}); give a CSV") from error
    lower = {name.strip().lower(): name for name in reversed(names)}
    column = next((lower[name] for name in PHOTO_COLUMNS if name in lower), None)
    if column is None:
        raise BadInput(f"{table}: no column of photos (such as image_path); found: {names}")
    photos = [table.parent / row[column].replace("\\", "/") for row in rows]
    middle = localizer.mean_position()
    written = []
    for row, answer in zip(rows, localizer.stream(photos), strict=True):
        if answer.lat_deg is None or answer.lon_deg is None:
            log.warning("%s: %s; gets the mean training position", row[column], answer.error)
        lat, lon = middle if answer.error else (answer.lat_deg, answer.lon_deg)
        written.append({column: row[column], "Latitude": lat, "Longitude": lon})
    write_csv(path, (column, "Latitude", "Longitude"), written)
    return len(written)
