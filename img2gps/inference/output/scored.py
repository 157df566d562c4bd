"""The photos of a score, as the page of answers shows them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from img2gps.inference.output.page import Shown
from img2gps.inference.position import Position
from img2gps.photos.dataset import Dataset
from img2gps.photos.thumbnails import by_content, data_uri

MOST_PICTURES = 200  # on one page


def shown_of(table: pd.DataFrame, dataset: Dataset) -> list[Shown]:
    """Return the rows of a table of predictions, the worst first, with pictures of the first."""
    worst = table.sort_values(["error_m", "photo"], ascending=[False, True])
    pictures = by_content(dataset, worst["content"].head(MOST_PICTURES))
    return [
        Shown(_position(row), data_uri(pictures[content]) if content in pictures else "")
        for content, row in zip(worst["content"], worst.to_dict("records"), strict=True)
    ]


def _position(row: dict[Hashable, Any]) -> Position:
    known = {key: None if pd.isna(value) else value for key, value in row.items()}
    here = known["from_here"]
    return Position(
        photo=row["photo"],
        lat_deg=row["pred_lat_deg"],
        lon_deg=row["pred_lon_deg"],
        radius_m=known["radius_m"],
        from_here=None if here is None else bool(here),
        true_lat_deg=row["lat_deg"],
        true_lon_deg=row["lon_deg"],
        error_m=row["error_m"],
    )
