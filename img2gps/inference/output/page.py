"""One self-contained page of answers: map, photos, and on request what decided them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from img2gps import __version__
from img2gps.inference.card import Card
from img2gps.inference.localizer import Position
from img2gps.inference.output.files import in_words
from img2gps.photos.dataset import Dataset
from img2gps.photos.thumbnails import by_content, data_uri

_TEMPLATES = Path(__file__).with_name("templates")
MOST_PICTURES = 200  # on one page
TILE_SOURCE = "https://tile.openstreetmap.org"


@dataclass(frozen=True)
class Shown:
    """One photo of the page.

    Attributes:
        position: its answer.
        picture: the photo, small, as a data URI; empty where there is none.
        decided: the photo with what decided in colour, as a data URI.
        moved_m: how far the answer moves where that part is covered.
    """

    position: Position
    picture: str = ""
    decided: str = ""
    moved_m: float | None = None


def page(
    card: Card,
    photos: Sequence[Shown],
    picture: Markup,
    *,
    tiles: bool = False,
    lines: Sequence[str] = (),
) -> str:
    """Return the page as HTML. It fetches nothing, or only map tiles where they were asked for.

    Args:
        card: of the model that answered.
        photos: what to show of each photo.
        picture: the map.
        tiles: whether the map fetches its background.
        lines: what to say of all photos together.
    """
    template = environment().get_template("answers.html.j2")
    return template.render(
        card=card,
        photos=photos,
        map=picture,
        lines=lines,
        tiles=TILE_SOURCE if tiles else "",
        version=__version__,
    )


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


@cache
def environment() -> jinja2.Environment:
    """Return the templates with the words that they use; everything is escaped."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True
    )
    found.filters["in_words"] = in_words
    return found
