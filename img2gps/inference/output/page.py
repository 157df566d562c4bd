"""One self-contained page of answers: map, photos, and the parts of photos that decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from img2gps import __version__
from img2gps.inference.output.files import in_words
from img2gps.inference.position import Position

_TEMPLATES = Path(__file__).with_name("templates")
TILE_SOURCE = "https://tile.openstreetmap.org"


@dataclass(frozen=True)
class Shown:
    """One photo of the page.

    Attributes:
        position: its answer.
        picture: the photo, small, as a data URI; empty where there is none.
        decided: the photo with the decisive part in colour, as a data URI.
        moved_m: how far the answer moves where that part is covered.
    """

    position: Position
    picture: str = ""
    decided: str = ""
    moved_m: float | None = None


def page(
    card: Mapping[str, Any],
    photos: Sequence[Shown],
    picture: Markup,
    *,
    tiles: bool = False,
    lines: Sequence[str] = (),
) -> str:
    """Return the page as HTML. It fetches nothing, or only map tiles where they were asked for.

    Args:
        card: what is known of the model that answered, as plain values.
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


@cache
def environment() -> jinja2.Environment:
    """Return the templates with the words that they use; everything is escaped."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True
    )
    found.filters["in_words"] = in_words
    return found
