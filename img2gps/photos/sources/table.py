"""A table of photos with their positions: CSV, GeoJSON or GeoPackage."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded
from img2gps.photos.photofile import Unusable, display_name
from img2gps.photos.sources.base import Item, Listing, Reject, file_item, key
from img2gps.photos.sources.columns import extras_of, label_of, read_table
from img2gps.photos.sources.overrides import OVERRIDES, apply_overrides
from img2gps.photos.sources.text import spellings

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".geojson", ".json", ".gpkg"})


@dataclass(frozen=True)
class CsvSource:
    """A table of photos: path (relative to the table), latitude, longitude.

    The points of a GeoJSON or a GeoPackage take the place of the last two. Other headers are
    understood (Latitude, lng, image_path, ...). A path may lead out of the table's folder only
    with `allow_outside`.
    """

    path: Path | str
    allow_outside: bool = False
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos of the table's rows."""
        table = expanded(self.path, "data.root")
        rows = read_table(table, ["photo", "lat", "lon"])
        if not rows:
            raise BadInput(f"{table}: no rows below its header; add one a photo (path, lat, lon)")
        items: dict[str, Item] = {}
        rejects: list[Reject] = []
        for number, row in enumerate(rows, start=2):
            photo = f"row {number}"
            try:
                if not row["photo"]:
                    raise Unusable("no path", f"complete row {number}")
                given = _existing(table.parent, row["photo"].replace("\\", "/"))
                photo = display_name(os.path.normpath(given))
                path = self._inside(table.parent, given, number)
                if photo in items:
                    raise Unusable(f"listed again in row {number}", "keep one of the rows")
                items[photo] = replace(
                    file_item(photo, path), label=label_of(row), columns=extras_of(row)
                )
            except Unusable as error:
                rejects.append(Reject(photo, error.reason, error.remedy))
        listed = apply_overrides(list(items.values()), table.parent / OVERRIDES, rejects)
        return Listing(
            name=self.name or display_name(table.stem),
            origin=display_name(str(table)),
            key=key("csv", listed, rejects),
            items=lambda: listed,
            rejects=rejects,
        )

    def _inside(self, folder: Path, given: str, number: int) -> Path:
        """Return the path of a row; raises `Unusable` for one that may not be read."""
        try:
            resolved = (folder / given).resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: a link loop, before Python 3.13
            raise Unusable("a link that leads nowhere", "remove the link") from error
        except ValueError as error:  # a NUL in it
            raise Unusable("not a file's name", f"correct row {number}") from error
        if not self.allow_outside and not resolved.is_relative_to(folder.resolve()):
            raise Unusable(
                "leads out of the CSV's folder", "move it there or set data.allow_outside=true"
            )
        return folder / given


def _existing(folder: Path, given: str) -> str:
    """Return the spelling of a path under which there is a file; as given if there is none."""
    return next((name for name in spellings(given) if os.path.lexists(folder / name)), given)


def position_tables(folder: Path) -> list[Path]:
    """Return the tables right in a folder that name photos and say where they were taken."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() not in TABLE_SUFFIXES or path.name == OVERRIDES:
            continue
        with suppress(BadInput):
            if read_table(path, ["photo", "lat", "lon"]):
                found.append(path)
    return found
