"""A folder of geotagged photos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded
from img2gps.photos.photofile import display_name
from img2gps.photos.sources.base import Item, Listing, Reject, file_item, key
from img2gps.photos.sources.overrides import OVERRIDES, apply_overrides

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".heic", ".heif", ".hif", ".avif", ".png", ".tif"}
    | {".tiff", ".webp"}
)
# Pictures, too, but not read here with their EXIF.
OTHER_PICTURES = frozenset(
    {".gif", ".bmp", ".jxl", ".jp2", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
    | {".orf", ".raf", ".rw2", ".pef", ".srw"}
)


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
        rejects: list[Reject] = []
        items: list[Item] = []
        others: Counter[str] = Counter()
        for relative in _walk(root, rejects):
            suffix = Path(relative).suffix.lower()
            photo = display_name(relative)
            if suffix in PHOTO_SUFFIXES:
                items.append(file_item(photo, root / relative))
            elif suffix in OTHER_PICTURES:
                rejects.append(_unread(photo, suffix))
            elif relative != OVERRIDES:
                others[suffix or "no suffix"] += 1
        items = apply_overrides(_unique(items), root / OVERRIDES, rejects)
        return Listing(
            name=self.name or root.resolve().name or "photos",
            origin=str(root),
            key=key("folder", items, rejects),
            items=lambda: items,
            rejects=rejects,
            not_photos=dict(others),
        )


def photo_files(root: Path, rejects: list[Reject]) -> list[Path]:
    """Return the photos below a folder, found and rejected as by `FolderSource`."""
    found = []
    for relative in _walk(root, rejects):
        suffix = Path(relative).suffix.lower()
        if suffix in PHOTO_SUFFIXES:
            found.append(root / relative)
        elif suffix in OTHER_PICTURES:
            rejects.append(_unread(display_name(relative), suffix))
    return found


def _unread(photo: str, suffix: str) -> Reject:
    return Reject(photo, f"{suffix} pictures are not read", "export it as JPEG with location")


def _no_folder(root: Path) -> BadInput:
    if not root.exists():
        return BadInput(f"{root}: no such folder; give the folder that holds the photos")
    if root.suffix.lower() in PHOTO_SUFFIXES:
        return BadInput(f"{root}: one photo, not a folder; give the folder that holds the photos")
    return BadInput(
        f"{root}: a file, not a folder; give the folder that holds the photos, a CSV (path, lat, "
        "lon) or a parquet file"
    )


def _walk(root: Path, rejects: list[Reject]) -> Iterator[str]:
    """Yield paths of files relative to the root, sorted; links to folders are followed once."""
    seen: set[tuple[int, int]] = set()
    stack = [""]
    while stack:
        relative = stack.pop()
        try:
            status = (root / relative).stat()
            if (status.st_dev, status.st_ino) in seen:
                name = display_name(relative)
                rejects.append(Reject(name, "link to a folder already read", "remove the link"))
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / relative) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            rejects.append(
                Reject(
                    display_name(relative) or ".",
                    f"folder cannot be read: {error.strerror}",
                    "check the permissions",
                )
            )
            continue
        folders = []
        for entry in found:
            if entry.name.startswith("."):  # .thumbnails, ._IMG_1234.jpg of macOS
                continue
            path = f"{relative}{os.sep}{entry.name}" if relative else entry.name
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link loop, reported when the file is opened
                is_folder = False
            if is_folder:
                folders.append(path)
            else:
                yield path
        stack.extend(reversed(folders))


def _unique(items: list[Item]) -> list[Item]:
    """Make names unique: two names that are not UTF-8 may be equal after escaping."""
    seen: Counter[str] = Counter()
    result = []
    for item in items:
        seen[item.photo] += 1
        count = seen[item.photo]
        result.append(item if count == 1 else replace(item, photo=f"{item.photo}~{count}"))
    return result
