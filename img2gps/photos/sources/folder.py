"""A folder of geotagged photos."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded
from img2gps.photos.photofile import display_name
from img2gps.photos.sources.base import Item, Listing, Reject, file_item, key
from img2gps.photos.sources.overrides import OVERRIDES, apply_overrides
from img2gps.photos.sources.sidecars import match
from img2gps.photos.sources.walk import PHOTO_SUFFIXES, walk
from img2gps.photos.track import MAX_GAP_S, read_track

OUTSIDE = "a link leads to it, outside the folder"


@dataclass(frozen=True)
class FolderSource:
    """A folder of geotagged photos, searched recursively without hidden files.

    `overrides.csv` in it (photo, lat, lon, exclude, reason) corrects or excludes photos. Sidecars
    beside a photo say where it was taken if its own EXIF does not.
    """

    root: Path | str
    name: str | None = None
    track: Path | str | None = None  # GPX, by whose time photos without a position are placed
    clock_offset_s: float = 0.0
    track_gap_s: float = MAX_GAP_S

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos below the root."""
        root = expanded(self.root, "data.root")
        if not root.is_dir():
            raise _no_folder(root)
        found = walk(root)
        track = None
        if self.track is not None:
            track = read_track(self.track, self.clock_offset_s, self.track_gap_s)
        sidecars = match(found.photos, found.others)
        items = []
        for path in found.photos:
            item = file_item(display_name(path), root / path)
            beside = [root / sidecar for sidecar in sidecars.get(path, ())]
            columns = {"note": OUTSIDE} if path in found.outside else {}
            items.append(replace(item, sidecars=beside, columns=columns))
        rejects = list(found.rejects)
        items = apply_overrides(_unique(items), root / OVERRIDES, rejects)
        return Listing(
            name=self.name or display_name(root.resolve().name) or "photos",
            origin=display_name(str(root)),
            key=key("folder" + (track.digest() if track else ""), items, rejects),
            items=lambda: items,
            rejects=rejects,
            not_photos=found.not_photos({OVERRIDES, *chain.from_iterable(sidecars.values())}),
            track=track,
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
