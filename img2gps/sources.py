"""Where photos come from: a folder, a CSV, a Hugging Face data set, the built-in quad.

A source lists its photos cheaply; nothing is decoded here. What cannot be used is listed as a
reject with its reason; only a source that cannot be read at all raises `BadInput`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from img2gps.errors import BadInput
from img2gps.exif import parse_time
from img2gps.photofile import Unusable, display_name, read_bytes

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".heic", ".heif", ".hif", ".avif", ".png", ".tif"}
    | {".tiff", ".webp"}
)
# Pictures all the same, but nothing that carries a photo and its EXIF to the decoders here.
OTHER_PICTURES = frozenset(
    {".gif", ".bmp", ".jxl", ".jp2", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
    | {".orf", ".raf", ".rw2", ".pef", ".srw"}
)
OVERRIDES = "overrides.csv"


@dataclass(frozen=True)
class Reject:
    """A photo that is left out: its name, why, and what to do."""

    file: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Item:
    """One photo to read."""

    photo: str  # its name in the manifest
    stamp: str  # changes when the content may have changed
    load: Callable[[], bytes]  # may raise Unusable
    label: tuple[float, float] | None = None  # latitude, longitude; wins over EXIF
    columns: Mapping[str, Any] = field(default_factory=dict)  # further manifest columns; win too


@dataclass(frozen=True)
class Listing:
    """What a source offers, with a key that changes when the photos do."""

    name: str
    origin: str  # for messages: the folder or file
    key: str
    items: Callable[[], Sequence[Item]]
    rejects: Sequence[Reject] = ()
    not_photos: Mapping[str, int] = field(default_factory=dict)  # suffix to count
    synthetic: bool = False
    version: str = ""  # of generated data: part of the fingerprint


class Source(Protocol):
    """Anything that lists photos."""

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos; `cache_dir` is where generated or unpacked ones may be put."""
        ...


# --- folder ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderSource:
    """A folder of geotagged photos, searched recursively; hidden files are passed over.

    `overrides.csv` in it (photo, lat, lon, exclude, reason) corrects or excludes photos.
    """

    root: Path | str
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos below the root by name."""
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise BadInput(f"{root}: no such folder; give the folder that holds the photos")
        rejects: list[Reject] = []
        items: list[Item] = []
        others: Counter[str] = Counter()
        for relative in _walk(root, rejects):
            suffix = Path(relative).suffix.lower()
            photo = display_name(relative)
            if suffix in PHOTO_SUFFIXES:
                items.append(_file_item(photo, root / relative))
            elif suffix in OTHER_PICTURES:
                remedy = "export it as JPEG with location"
                rejects.append(Reject(photo, f"{suffix} pictures are not read", remedy))
            elif relative != OVERRIDES:
                others[suffix or "no suffix"] += 1
        items = _apply_overrides(_unique(items), root / OVERRIDES, rejects)
        return Listing(
            name=self.name or root.resolve().name or "photos",
            origin=str(root),
            key=_key("folder", items, rejects),
            items=lambda: items,
            rejects=rejects,
            not_photos=dict(others),
        )


def _walk(root: Path, rejects: list[Reject]) -> Iterator[str]:
    """Paths of files relative to the root, sorted; links to folders are followed once."""
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
            except OSError:  # a link loop: reported when the file is opened
                is_folder = False
            if is_folder:
                folders.append(path)
            else:
                yield path
        stack.extend(reversed(folders))


def _file_item(photo: str, path: Path) -> Item:
    try:
        status = path.stat()
        stamp = f"{status.st_size} {status.st_mtime_ns}"
    except OSError as error:
        stamp = f"{error.errno}"
    return Item(photo, stamp, partial(read_bytes, path))


def _unique(items: list[Item]) -> list[Item]:
    """Names made unique: two names that are not UTF-8 may look alike after escaping."""
    seen: Counter[str] = Counter()
    result = []
    for item in items:
        seen[item.photo] += 1
        count = seen[item.photo]
        result.append(item if count == 1 else replace(item, photo=f"{item.photo}~{count}"))
    return result


def _key(kind: str, items: Sequence[Item], rejects: Sequence[Reject]) -> str:
    """Digest of all that listing saw: names, sizes, times, labels, rejects."""
    digest = hashlib.sha256(kind.encode())
    for item in items:
        row = [item.photo, item.stamp, item.label, dict(item.columns)]
        digest.update(json.dumps(row, default=str).encode())
    for reject in rejects:
        digest.update(json.dumps([reject.file, reject.reason]).encode())
    return digest.hexdigest()


# --- tables: CSV and overrides --------------------------------------------------------------

_ALIASES = {
    "photo": "path imagepath image imagename img file filename filepath photo photopath name",
    "lat": "lat latitude latdeg gpslatitude gpslat",
    "lon": "lon lng long longitude londeg gpslongitude gpslon",
    "altitude_m": "altitude altitudem alt gpsaltitude elevation",
    "heading_deg": "heading headingdeg bearing azimuth compass gpsimgdirection",
    "gps_error_m": "gpserror gpserrorm accuracy gpshpositioningerror",
    "taken_at": "takenat time datetime timestamp datetimeoriginal",
    "session": "session",
    "exclude": "exclude excluded drop",
    "reason": "reason why",
}
_COLUMN_OF = {alias: column for column, names in _ALIASES.items() for alias in names.split()}
_EXTRA_NUMBERS = ("altitude_m", "heading_deg", "gps_error_m")


def _read_table(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV under our column names; raises `BadInput` for a table without `required`."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; give a CSV file") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = {
            raw: _COLUMN_OF[bare]
            for raw in reader.fieldnames or ()
            if (bare := re.sub(r"[^a-z0-9]", "", raw.lower())) in _COLUMN_OF
        }
        missing = [column for column in required if column not in names.values()]
        if missing:
            raise BadInput(
                f"{path}: no column for {', '.join(missing)} (found: {header.strip()!r}); "
                "name the columns path, lat, lon"
            )
        rows = []
        for raw_row in reader:
            row: dict[str, str] = {}
            for raw, column in names.items():
                row.setdefault(column, (raw_row[raw] or "").strip())
            if delimiter != ",":  # where the comma is the decimal point
                row |= {key: row[key].replace(",", ".") for key in ("lat", "lon") if key in row}
            rows.append(row)
    except csv.Error as error:
        raise BadInput(f"{path}: {error}; give a CSV with the columns path, lat, lon") from error
    return rows


def _label(row: Mapping[str, str]) -> tuple[float, float]:
    """Latitude and longitude of a table's row; raises `Unusable`."""
    values = []
    for key, limit in (("lat", 90.0), ("lon", 180.0)):
        text = row.get(key, "")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not -limit <= value <= limit:
            raise Unusable(f"{key} is {text!r}", f"give degrees between -{limit:g} and {limit:g}")
        values.append(value)
    return values[0], values[1]


def _extras(row: Mapping[str, str]) -> dict[str, Any]:
    """Further manifest columns that a table gives; what is no number or no time is left out."""
    extras: dict[str, Any] = {"session": row["session"]} if row.get("session") else {}
    if taken_at := _iso_time(row.get("taken_at", "")):
        extras["taken_at"] = taken_at
    for key in _EXTRA_NUMBERS:
        try:
            extras[key] = float(row.get(key, ""))
        except ValueError:
            continue
    return extras


def _iso_time(text: str) -> str:
    """A time as the manifest has it: from ISO 8601 or EXIF's way to write one; else ""."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return parse_time(text)


def _apply_overrides(items: list[Item], path: Path, rejects: list[Reject]) -> list[Item]:
    """Correct or exclude photos as `overrides.csv` says; it names them by path or file name."""
    if not path.is_file():
        return items
    by_name: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        for name in {item.photo, item.photo.rpartition("/")[2]}:
            by_name.setdefault(name, []).append(position)
    changed: dict[int, Item | None] = {}
    for number, row in enumerate(_read_table(path, ["photo"]), start=2):
        where = f"{OVERRIDES}, row {number}"
        matches = by_name.get(row["photo"], [])
        if len(matches) != 1:
            count = "no photo" if not matches else f"{len(matches)} photos"
            rejects.append(
                Reject(where, f"{count} called {row['photo']!r}", "give the path inside the folder")
            )
            continue
        item = items[matches[0]]
        if row.get("exclude", "").lower() not in ("", "0", "no", "false"):
            why = row.get("reason", "")
            rejects.append(
                Reject(item.photo, f"excluded by {OVERRIDES}" + (f": {why}" if why else ""), "")
            )
            changed[matches[0]] = None
            continue
        try:
            label = _label(row)
        except Unusable as error:
            rejects.append(Reject(where, error.reason, error.remedy))
            continue
        changed[matches[0]] = replace(
            item, label=label, columns={**item.columns, **_extras(row), "note": f"by {OVERRIDES}"}
        )
    merged = (changed.get(position, item) for position, item in enumerate(items))
    return [item for item in merged if item is not None]


@dataclass(frozen=True)
class CsvSource:
    """A table of photos: path (relative to the CSV), latitude, longitude.

    Other headers are understood (Latitude, lng, image_path, ...). A path may not lead out of
    the CSV's folder unless `allow_outside`.
    """

    path: Path | str
    allow_outside: bool = False
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos of the table's rows."""
        table = Path(self.path).expanduser()
        rejects: list[Reject] = []
        items: dict[str, Item] = {}
        inside = table.parent.resolve()
        for number, row in enumerate(_read_table(table, ["photo", "lat", "lon"]), start=2):
            given = row["photo"].replace("\\", "/")
            path = table.parent / given
            photo = display_name(os.path.normpath(given)) if given else f"row {number}"
            try:
                if not given:
                    raise Unusable("no path", f"complete row {number}")
                try:
                    resolved = path.resolve()
                except (OSError, RuntimeError) as error:  # RuntimeError: link loop, before 3.13
                    raise Unusable("a link that leads nowhere", "remove the link") from error
                if not self.allow_outside and not resolved.is_relative_to(inside):
                    raise Unusable(
                        "leads out of the CSV's folder",
                        "move it there or set data.allow_outside=true",
                    )
                if photo in items:
                    raise Unusable(f"listed again in row {number}", "keep one of the rows")
                items[photo] = replace(
                    _file_item(photo, path), label=_label(row), columns=_extras(row)
                )
            except Unusable as error:
                rejects.append(Reject(photo, error.reason, error.remedy))
        listed = _apply_overrides(list(items.values()), table.parent / OVERRIDES, rejects)
        return Listing(
            name=self.name or table.stem,
            origin=str(table),
            key=_key("csv", listed, rejects),
            items=lambda: listed,
            rejects=rejects,
        )


# --- Hugging Face ---------------------------------------------------------------------------


@dataclass(frozen=True)
class HuggingFaceSource:
    """A local Hugging Face image data set: a parquet file, or a folder of them.

    Needs an image column and columns of latitude and longitude (any of the CSV's headers).
    """

    path: Path | str
    split: str = "train"
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the rows of one split; pictures stay encoded until they are read."""
        root = Path(self.path).expanduser()
        try:
            import datasets
        except ImportError as error:
            raise BadInput(
                f"{root}: Hugging Face data sets need an extra; pip install 'img2gps[huggingface]'"
            ) from error
        if not root.exists():
            raise BadInput(f"{root}: no such file or folder; download the data set first")
        if not progress:
            datasets.disable_progress_bars()
        try:
            frame = datasets.load_dataset(
                *(("parquet",) if root.is_file() else (str(root),)),
                data_files={self.split: str(root)} if root.is_file() else None,
                split=self.split,
                cache_dir=str(cache_dir / "huggingface"),
            )
        except Exception as error:  # the library raises whatever its readers raise
            reason = " ".join(str(error).split())
            raise BadInput(f"{root}: {reason}; give a parquet data set with images") from error
        pictures = [
            name for name, kind in frame.features.items() if isinstance(kind, datasets.Image)
        ]
        columns = {
            _COLUMN_OF[bare]: name
            for name in frame.column_names
            if (bare := re.sub(r"[^a-z0-9]", "", name.lower())) in _COLUMN_OF
            and name not in pictures
        }
        if not pictures or not {"lat", "lon"} <= columns.keys():
            raise BadInput(
                f"{root}: needs an image column and Latitude and Longitude "
                f"(found: {', '.join(frame.column_names)}); rename the columns"
            )
        frame = frame.cast_column(pictures[0], datasets.Image(decode=False))
        table = frame.select_columns(list(columns.values())).to_pandas()
        lock = threading.Lock()  # one reader of the Arrow file at a time

        def load(row: int) -> bytes:
            with lock:
                picture = frame[row][pictures[0]]
            if picture and picture["bytes"]:
                return bytes(picture["bytes"])
            if picture and picture["path"]:
                return read_bytes(Path(picture["path"]))
            raise Unusable("no picture in this row", "remove the row")

        rejects: list[Reject] = []
        items = []
        for number, values in enumerate(table.itertuples(index=False, name=None)):
            row = {key: str(value) for key, value in zip(columns, values, strict=True)}
            photo = f"{self.split}/{number:06d}"
            try:
                items.append(
                    Item(photo, str(number), partial(load, number), _label(row), _extras(row))
                )
            except Unusable as error:
                rejects.append(Reject(photo, error.reason, error.remedy))
        files = sorted(root.rglob("*.parquet")) if root.is_dir() else [root]
        stamps = [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
        return Listing(
            name=self.name or root.stem,
            origin=str(root),
            key=_key("huggingface " + " ".join(stamps), items, rejects),
            items=lambda: items,
            rejects=rejects,
        )


# --- the built-in quad ----------------------------------------------------------------------


@dataclass(frozen=True)
class QuadSource:
    """The built-in synthetic quad: rendered once into the cache, then read like a folder."""

    n: int = 741
    width: int | None = None  # None: the scene's own
    height: int | None = None
    seed: int = 0
    part: Literal["main", "test_known", "test_new"] = "main"
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the photos of the scene; they are rendered when they are first read."""
        from img2gps import quad

        size = {"width": self.width, "height": self.height}
        chosen = {key: value for key, value in size.items() if value is not None}
        spec = quad.QuadSpec(n=self.n, seed=self.seed, part=self.part, **chosen)
        digest = hashlib.sha256(f"quad {quad.QUAD_VERSION} {spec!r}".encode()).hexdigest()
        folder = cache_dir / f"quad-photos-{digest[:12]}"

        def items() -> Sequence[Item]:
            quad.render(spec, folder, threads=threads, progress=progress)
            with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
                truth = {row["photo"]: row for row in csv.DictReader(file)}
            photos = FolderSource(folder).listing(cache_dir, threads=threads, progress=progress)
            return [replace(item, columns=_truth(truth[item.photo])) for item in photos.items()]

        return Listing(
            name=self.name or "quad",
            origin="the built-in quad",
            key=digest,
            items=items,
            synthetic=True,
            version=quad.QUAD_VERSION,
        )


def _truth(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "true_lat_deg": float(row["true_lat_deg"]),
        "true_lon_deg": float(row["true_lon_deg"]),
        "session": row["session"],
    }
