"""submission.csv: one row for each row of a course's table, with the answers behind."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np

from img2gps.core.errors import BadInput
from img2gps.core.files import write_csv
from img2gps.inference.export.standalone.preprocess import GREY, PHOTO_COLUMNS, find
from img2gps.inference.localizer import Localizer

log = logging.getLogger(__name__)

SUBMISSION = "submission.csv"


def write_submission(localizer: Localizer, table: Path, path: Path) -> int:
    """Write the photo column of a table with Latitude and Longitude; return the number of rows.

    Paths are relative to the folder of the table. A photo that cannot be read is named in the log
    and gets the answer for a grey picture, as in the hand-in, so that no row is missing.

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
    photos = [find(row[column] or "", table.parent) for row in rows]
    size = localizer.card.image_size
    grey = localizer.answer(np.full((1, size, size, 3), GREY, np.uint8)).degrees[0].tolist()
    written = []
    for row, answer in zip(rows, localizer.stream(photos), strict=True):
        if answer.error:
            log.warning("%s: %s; a grey picture takes its row", row[column], answer.error)
        lat, lon = grey if answer.error else (answer.lat_deg, answer.lon_deg)
        written.append({column: row[column], "Latitude": lat, "Longitude": lon})
    write_csv(path, (column, "Latitude", "Longitude"), written)
    return len(written)
