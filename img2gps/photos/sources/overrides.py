"""`overrides.csv` beside the photos, which corrects positions and excludes photos by name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from img2gps.photos.photofile import Unusable, display_name
from img2gps.photos.sources.base import Item, Reject
from img2gps.photos.sources.columns import extras_of, label_of, read_table
from img2gps.photos.sources.text import spellings

OVERRIDES = "overrides.csv"


def apply_overrides(items: list[Item], path: Path, rejects: list[Reject]) -> list[Item]:
    """Correct or exclude photos as `overrides.csv` says, which names them by path or file name."""
    if not os.path.isfile(path):  # noqa: PTH113 # `Path.is_file` may raise
        return items
    by_name: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        for name in {item.photo, item.photo.rpartition("/")[2]}:
            by_name.setdefault(name, []).append(position)
    changed: dict[int, Item | None] = {}
    for number, row in enumerate(read_table(path, ["photo"]), start=2):
        where = f"{OVERRIDES}, row {number}"
        names = (display_name(name) for name in spellings(row["photo"]))
        matches = next((by_name[name] for name in names if name in by_name), [])
        if len(matches) != 1:
            count = "no photo" if not matches else f"{len(matches)} photos"
            rejects.append(
                Reject(where, f"{count} called {row['photo']!r}", "give the path inside the folder")
            )
            continue
        item = items[matches[0]]
        if matches[0] in changed:
            rejects.append(Reject(where, f"{item.photo} is in a row above", "keep one of the rows"))
            continue
        if row.get("exclude", "").lower() not in ("", "0", "no", "false"):
            why = row.get("reason", "")
            rejects.append(
                Reject(item.photo, f"excluded by {OVERRIDES}" + (f": {why}" if why else ""), "")
            )
            changed[matches[0]] = None
            continue
        if not row.get("lat") and not row.get("lon"):  # a suspect that nobody has decided on
            continue
        try:
            label = label_of(row)
        except Unusable as error:
            rejects.append(Reject(where, error.reason, error.remedy))
            continue
        columns = {**item.columns, **extras_of(row), "note": f"by {OVERRIDES}"}
        changed[matches[0]] = replace(item, label=label, label_from="overrides", columns=columns)
    merged = (changed.get(position, item) for position, item in enumerate(items))
    return [item for item in merged if item is not None]
