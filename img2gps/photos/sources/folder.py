"""A folder of geotagged photos."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded
from img2gps.photos.photofile import display_name
from img2gps.photos.sources.base import Item, Listing, Reject, file_item, key
from img2gps.photos.sources.overrides import OVERRIDES, apply_overrides
from img2gps.photos.sources.walk import PHOTO_SUFFIXES, walk

OUTSIDE = "a link fetches it from outside the folder"


@dataclass(frozen=True)
class FolderSource:
    """A folder of geotagged photos, searched recursively without hidden files.

    `overrides.csv` in it (photo, lat, lon, exclude, reason) corrects or excludes photos.
    """

    root: Path | str
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos below the root."""
        root = expanded(self.root, "data.root")
        if not root.is_dir():
            raise _no_folder(root)
        found = walk(root)
        items = []
        for path in found.photos:
            item = file_item(display_name(path), root / path)
            items.append(
                replace(item, columns={"note": OUTSIDE}) if path in found.outside else item
            )
        rejects = list(found.rejects)
        items = apply_overrides(_unique(items), root / OVERRIDES, rejects)
        return Listing(
            name=self.name or display_name(root.resolve().name) or "photos",
            origin=display_name(str(root)),
            key=key("folder", items, rejects),
            items=lambda: items,
            rejects=rejects,
            not_photos=found.not_photos(frozenset({OVERRIDES})),
        )


def photo_files(root: Path, rejects: list[Reject]) -> list[Path]:
    """Return the photos below a folder, found and rejected as by `FolderSource`."""
    found = walk(root)
    rejects += found.rejects
    return [root / path for path in found.photos]


def _no_folder(root: Path) -> BadInput:
    if not root.exists():
        return BadInput(f"{root}: no such folder; give the folder that holds the photos")
    if root.suffix.lower() in PHOTO_SUFFIXES:
        return BadInput(f"{root}: one photo, not a folder; give the folder that holds the photos")
    return BadInput(
        f"{root}: a file, not a folder; give the folder that holds the photos, a CSV (path, lat, "
        "lon) or a parquet file"
    )


def _unique(items: list[Item]) -> list[Item]:
    """Make names unique: two names that are not UTF-8 may be equal after escaping."""
    seen: Counter[str] = Counter()
    result = []
    for item in items:
        seen[item.photo] += 1
        count = seen[item.photo]
        result.append(item if count == 1 else replace(item, photo=f"{item.photo}~{count}"))
    return result
