"""What every source returns: a listing of photos, with a key that changes when they do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from img2gps.photos.track import Track


@dataclass(frozen=True)
class Reject:
    """A photo that is left out, with the reason and what to do."""

    file: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Label:
    """A position that a sidecar or a track gives."""

    lat_deg: float
    lon_deg: float
    source: str  # the manifest's `label_from`
    columns: Mapping[str, Any] = field(default_factory=dict)  # of the manifest; for what is unknown


@dataclass(frozen=True)
class Item:
    """One photo to read."""

    photo: str  # its name in the manifest
    stamp: str  # changes when the content may have changed
    load: Path | Callable[[], bytes]  # a file, or what returns its content or raises Unusable
    label: tuple[float, float] | None = None  # latitude, longitude; wins over EXIF
    columns: Mapping[str, Any] = field(default_factory=dict)  # further manifest columns; win too
    label_from: str = "table"  # what gave the label
    sidecars: Sequence[Path] = ()  # read if EXIF has no position, the most trusted first


@dataclass(frozen=True)
class Listing:
    """The photos of a source, with a key that changes when they do."""

    name: str
    origin: str  # for messages: the folder or file
    key: str
    items: Callable[[], Sequence[Item]]
    rejects: Sequence[Reject] = ()
    not_photos: Mapping[str, int] = field(default_factory=dict)  # suffix to count
    synthetic: bool = False
    version: str = ""  # of generated data: part of the fingerprint
    track: Track | None = None  # places photos of which nothing else says where they were taken


class Source(Protocol):
    """Anything that lists photos."""

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos; `cache_dir` is where generated or unpacked ones may be put."""
        ...


def file_item(photo: str, path: Path) -> Item:
    """Return the item of a file, which is read later; its size and time tell whether it changed."""
    return Item(photo, _stamp(path), path)


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return f"{error.errno}"
    return f"{status.st_size} {status.st_mtime_ns}"


def key(kind: str, items: Sequence[Item], rejects: Sequence[Reject]) -> str:
    """Return a digest of everything in a listing: names, sizes, times, labels, rejects."""
    digest = hashlib.sha256(kind.encode())
    for item in items:
        sidecars = [f"{path.name} {_stamp(path)}" for path in item.sidecars]
        row = [item.photo, item.stamp, item.label, dict(item.columns), *sidecars]
        digest.update(json.dumps(row, default=str).encode())
    for reject in rejects:
        digest.update(json.dumps([reject.file, reject.reason]).encode())
    return digest.hexdigest()
