"""The files below a folder, and which of them are photos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from img2gps.photos.photofile import display_name
from img2gps.photos.sources.base import Reject

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".heic", ".heif", ".hif", ".avif", ".png", ".tif"}
    | {".tiff", ".webp", ".dng"}
)
# Pictures, too, but not read here with their EXIF.
OTHER_PICTURES = frozenset(
    {".gif", ".bmp", ".jxl", ".jp2", ".psd", ".raw", ".cr2", ".cr3", ".nef", ".arw"}
    | {".orf", ".raf", ".rw2", ".pef", ".srw"}
)


@dataclass
class Found:
    """What lies below a folder; paths are relative to it."""

    photos: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    outside: set[str] = field(default_factory=set)  # photos outside it, to which a link leads
    hidden: int = 0  # files and folders whose name begins with a dot
    rejects: list[Reject] = field(default_factory=list)

    def not_photos(self, ignored: Set[str]) -> dict[str, int]:
        """Return how many files of each suffix are no photos, without those `ignored` by name."""
        suffixes = (Path(path).suffix.lower() for path in self.others if path not in ignored)
        counted = Counter(suffix or "no suffix" for suffix in suffixes)
        return dict(counted) | ({"hidden": self.hidden} if self.hidden else {})


def walk(root: Path) -> Found:
    """Return the files below a folder in the order of their names; links are followed once."""
    found = Found()
    seen: set[tuple[int, int]] = set()
    stack = [""]
    inside = root.resolve()
    while stack:
        relative = stack.pop()
        try:
            status = (root / relative).stat()
            if (status.st_dev, status.st_ino) in seen:
                reason = "link to a folder already read"
                found.rejects.append(Reject(display_name(relative), reason, "remove the link"))
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / relative) as entries:
                listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            name, reason = display_name(relative) or ".", f"folder cannot be read: {error.strerror}"
            found.rejects.append(Reject(name, reason, "check the permissions"))
            continue
        outside = not (root / relative).resolve().is_relative_to(inside)
        folders = []
        for entry in listed:
            path = f"{relative}{os.sep}{entry.name}" if relative else entry.name
            if entry.name.startswith("."):  # .thumbnails, ._IMG_1234.jpg of macOS
                found.hidden += 1
            elif _is_folder(entry):
                folders.append(path)
            else:
                _sort(found, path, outside or (entry.is_symlink() and _leads_out(entry, inside)))
        stack.extend(reversed(folders))
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link loop, reported when the file is opened
        return False


def _leads_out(entry: os.DirEntry[str], inside: Path) -> bool:
    try:
        return not Path(entry.path).resolve().is_relative_to(inside)
    except (OSError, RuntimeError):  # as above
        return False


def _sort(found: Found, path: str, outside: bool) -> None:
    suffix = Path(path).suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        found.photos.append(path)
        if outside:
            found.outside.add(path)
    elif suffix in OTHER_PICTURES:
        reason = f"{suffix} pictures are not read"
        remedy = "export it as JPEG with location"
        found.rejects.append(Reject(display_name(path), reason, remedy))
    else:
        found.others.append(path)
