"""Photos to a dataset cache: read, decoded and resized once, shared by every run.

Bounded memory: pixels go straight to disk, only the manifest grows with the number of photos.
Several processes may ask for the same cache at once: one builds it, the others wait and open.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from img2gps.core.errors import BadInput
from img2gps.core.geo import distance_m
from img2gps.core.hardware import cores
from img2gps.core.paths import expanded
from img2gps.photos import dataset as store
from img2gps.photos import exif
from img2gps.photos.dataset import DamagedCache, Dataset
from img2gps.photos.decode import DECODER_VERSION, decode
from img2gps.photos.photofile import Unusable
from img2gps.photos.sources import (
    CsvSource,
    FolderSource,
    HuggingFaceSource,
    Item,
    Listing,
    QuadSource,
    Reject,
    Source,
)

__all__ = [
    "CsvSource",
    "FolderSource",
    "HuggingFaceSource",
    "QuadSource",
    "Source",
    "ingest",
    "sessions",
]

log = logging.getLogger(__name__)

SESSION_GAP = timedelta(minutes=30)
_FAR_TIMES, _FAR_AT_LEAST_M = 10.0, 250.0  # a far outlier: this many medians from the median
_SHOWN = 5  # names in a log line; all of them are in dataset.json

T = TypeVar("T")
R = TypeVar("R")


def ingest(
    source: Source,
    *,
    image_size: int,
    cache_dir: Path | str,
    threads: int | None = None,
    progress: bool = True,
    verify: bool = False,
) -> Dataset:
    """The dataset cache of a source, built if it is not there, not current or damaged.

    Photos are squashed to `image_size` x `image_size`. `threads` defaults to the cores that
    this process may use. `verify` compares every photo of a cache that is there with its
    digest, not only some. Raises `BadInput` where no photo at all can be used.
    """
    cache = expanded(cache_dir, "data.cache")
    threads = threads or cores()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        listing = source.listing(cache, threads=threads, progress=progress)
        folder = cache / _folder_name(listing, image_size)
        with _locked(folder):
            if folder.exists():
                try:
                    found = store.open_dataset(folder)
                    if verify:
                        found.verify()
                    return found
                except DamagedCache as damage:
                    log.warning("cache %s is damaged (%s): building it again", folder, damage)
            return _build(listing, folder, image_size, threads, progress)
    except OSError as error:
        raise BadInput(
            f"cache {cache}: {error.strerror or error}; free space or choose another folder "
            "(IMG2GPS_CACHE)"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; who has to wait says so. A killed process leaves no lock behind."""
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.warning("another process is reading the same photos: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _folder_name(listing: Listing, image_size: int) -> str:
    versions = f"{store.SCHEMA} {DECODER_VERSION} {exif.READER_VERSION}"
    key = f"{versions} {image_size} {listing.key} {listing.version}"
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", listing.name).strip("-")[:40] or "photos"
    return f"{slug}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _build(
    listing: Listing, folder: Path, image_size: int, threads: int, progress: bool
) -> Dataset:
    """Read everything into a temporary folder, then put it in place whole. Under the lock."""
    scratch = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    scratch.mkdir()
    try:
        rejects = list(listing.rejects)
        rows: list[dict[str, Any]] = []
        items = listing.items()
        with (scratch / store.PIXELS).open("w+b") as file:
            writer = _PixelWriter(file, image_size)
            read = _in_order(lambda item: _read(item, image_size), items, threads)
            for outcome in _watched(read, len(items), listing.name, progress):
                if isinstance(outcome, Reject):
                    rejects.append(outcome)
                else:
                    row, pixels = outcome
                    rows.append(row)
                    writer.append(pixels)
            if not rows:
                raise _nothing_usable(listing, rejects, folder)
            order = sorted(range(len(rows)), key=lambda i: _rank(rows[i]))
            writer.finish(order)
        _finish(listing, scratch, [rows[i] for i in order], rejects, image_size)
        _replace(folder, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return store.open_dataset(folder)


def _replace(folder: Path, scratch: Path) -> None:
    """Put the new folder in place; a damaged old one keeps its open memory maps until closed."""
    if folder.exists():
        old = folder.with_name(f".{folder.name}.damaged")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        scratch.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        scratch.rename(folder)


# --- one photo ------------------------------------------------------------------------------


def _read(item: Item, image_size: int) -> tuple[dict[str, Any], NDArray[np.uint8]] | Reject:
    """A manifest row with pixels, or a reject. Never raises: no photo stops an ingest."""
    try:
        data = item.load()
        found = exif.read(data, item.photo.rpartition("/")[2])
        lat, lon = item.label or (found.lat_deg, found.lon_deg)
        if lat is None or lon is None:
            raise Unusable(found.reason, found.remedy)
        pixels, (width, height) = decode(data, image_size)
    except Unusable as error:
        return Reject(item.photo, error.reason, error.remedy)
    except Exception as error:  # the last resort; whatever it is, it is listed by name
        return Reject(item.photo, f"{type(error).__name__}: {error}", "report it with this photo")
    row: dict[str, Any] = {name: getattr(found, name) for name in _FROM_EXIF}
    if item.label is not None:
        row |= {"gps_error_m": None, "dop": None}  # they speak of the position that was replaced
    row |= {
        "photo": item.photo,
        "lat_deg": lat,
        "lon_deg": lon,
        "width_px": width,
        "height_px": height,
        "original": hashlib.blake2b(data, digest_size=16).hexdigest(),
        "content": store.pixel_digest(pixels),
        "session": "",
        "true_lat_deg": None,
        "true_lon_deg": None,
    }
    return row | dict(item.columns), pixels


_FROM_EXIF = (
    *("altitude_m", "heading_deg", "heading_ref", "gps_error_m", "dop", "taken_at", "camera"),
    *("orientation", "note"),
)


def _rank(row: dict[str, Any]) -> tuple[str, float, float, str, str]:
    """By content, so that names and order of the files change nothing."""
    return row["content"], row["lat_deg"], row["lon_deg"], row["taken_at"], row["photo"]


def _in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Results in the order of the items, a few at a time in flight."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # Ctrl-C ends now, not after all that was queued
            for future in waiting:
                future.cancel()


def _watched(results: Iterator[R], total: int, name: str, progress: bool) -> Iterator[R]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        yield from bar.track(results, total=total, description=f"reading {name}")


class _PixelWriter:
    """A .npy file of unknown length: rows are appended, the length is filled in at the end."""

    def __init__(self, file: BinaryIO, image_size: int) -> None:
        self._file = file
        self._shape = (image_size, image_size, 3)
        self._rows = 0
        self._header()

    def _header(self) -> None:
        self._file.seek(0)
        description = {"descr": "|u1", "fortran_order": False, "shape": (self._rows, *self._shape)}
        # numpy pads the header for a growing first axis, so that it can be written again.
        np.lib.format.write_array_header_1_0(self._file, description)

    def append(self, pixels: NDArray[np.uint8]) -> None:
        self._file.write(np.ascontiguousarray(pixels).tobytes())
        self._rows += 1

    def finish(self, order: Sequence[int]) -> None:
        """Write the length and bring the rows into `order`."""
        start = self._file.tell() - self._rows * int(np.prod(self._shape))
        self._header()
        if self._file.tell() != start:
            raise RuntimeError("the .npy header has changed its length")
        self._file.flush()
        permute_rows(self._file.fileno(), start, int(np.prod(self._shape)), order)


def permute_rows(descriptor: int, start: int, row_bytes: int, order: Sequence[int]) -> None:
    """Bring the rows of a file into `order`, in place and with one row of memory.

    Row i becomes what row `order[i]` was. Rows lie one behind the other from byte `start`.
    """

    def read(row: int) -> bytes:
        return os.pread(descriptor, row_bytes, start + row * row_bytes)

    def write(row: int, content: bytes) -> None:
        os.pwrite(descriptor, content, start + row * row_bytes)

    done = np.zeros(len(order), dtype=bool)
    for first in range(len(order)):  # cycle by cycle
        if done[first] or order[first] == first:
            continue
        held, row = read(first), first
        while order[row] != first:
            write(row, read(order[row]))
            done[row] = True
            row = order[row]
        write(row, held)
        done[row] = True


# --- the whole set --------------------------------------------------------------------------


def _finish(
    listing: Listing,
    scratch: Path,
    rows: list[dict[str, Any]],
    rejects: list[Reject],
    image_size: int,
) -> None:
    """Write the tables and, last, `dataset.json`."""
    manifest = pd.DataFrame(rows)
    if not manifest["session"].any():
        manifest["session"] = sessions(manifest["taken_at"])
    store.write_manifest(manifest, scratch / store.MANIFEST)
    rejects = sorted(rejects, key=lambda reject: reject.file)
    _write_rejects(rejects, scratch / store.REJECTS)
    status = (scratch / store.PIXELS).stat()
    record = {
        "schema": store.SCHEMA,
        "name": listing.name,
        "fingerprint": _fingerprint(manifest, image_size, listing.version),
        "image_size": image_size,
        "synthetic": listing.synthetic,
        "decoder": DECODER_VERSION,
        "summary": _summary(listing, manifest, rejects),
        "sha256": {
            name: store.file_digest(scratch / name) for name in (store.MANIFEST, store.REJECTS)
        },
        "pixels": {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (scratch / store.RECORD).write_text(text + "\n", encoding="utf-8")


def _write_rejects(rejects: Sequence[Reject], path: Path) -> None:
    frame = pd.DataFrame([asdict(reject) for reject in rejects], columns=list(store.REJECT_COLUMNS))
    frame.to_csv(path, index=False, lineterminator="\n")


def _fingerprint(manifest: pd.DataFrame, image_size: int, version: str) -> str:
    digest = hashlib.sha256(f"{DECODER_VERSION} {image_size} {version}\n".encode())
    for row in manifest[["content", "lat_deg", "lon_deg"]].itertuples(index=False):
        digest.update(f"{row.content} {row.lat_deg!r} {row.lon_deg!r}\n".encode())
    return digest.hexdigest()[:16]


def _nothing_usable(listing: Listing, rejects: Sequence[Reject], folder: Path) -> BadInput:
    """The error for a source without a usable photo; every reject is listed beside the cache."""
    if not rejects:
        others = ", ".join(f"{n} {suffix}" for suffix, n in listing.not_photos.items())
        return BadInput(
            f"{listing.origin}: no photos in it{f' (but {others})' if others else ''}; "
            "give a folder of JPEG, HEIC, AVIF, PNG, TIFF or WebP photos"
        )
    (reason, count), *_ = Counter(reject.reason for reject in rejects).most_common(1)
    remedy = next(reject.remedy for reject in rejects if reject.reason == reason)
    path = folder.with_name(f"{folder.name}-rejects.csv")
    _write_rejects(rejects, path)
    photos = "1 photo" if len(rejects) == 1 else f"{len(rejects)} photos"
    return BadInput(
        f"{listing.origin}: none of {photos} can be used ({count} x {reason}; each by name in "
        f"{path}); {remedy}"
    )


def sessions(taken_at: Iterable[str]) -> list[str]:
    """Photos taken in one go, named by their first photo's time; "" where there is no time.

    A pause of more than 30 minutes starts a new session. Moments are compared in UTC where
    every time has an offset, else as the clock on the wall: cameras of one place share it.
    """
    texts = list(taken_at)
    moments = {i: datetime.fromisoformat(text) for i, text in enumerate(texts) if text}
    if all(moment.tzinfo for moment in moments.values()):
        clock = {i: moment.astimezone(UTC) for i, moment in moments.items()}
    else:
        clock = {i: moment.replace(tzinfo=UTC) for i, moment in moments.items()}
    names = [""] * len(texts)
    last: datetime | None = None
    name = ""
    for i in sorted(clock, key=lambda i: (clock[i], texts[i])):
        if last is None or clock[i] - last > SESSION_GAP:
            name = moments[i].strftime("%Y-%m-%d %H:%M:%S")
        names[i], last = name, clock[i]
    return names


def _summary(listing: Listing, manifest: pd.DataFrame, rejects: Sequence[Reject]) -> dict[str, Any]:
    """What deserves a look, logged and kept in `dataset.json`; nothing is dropped for it."""
    groups = manifest.groupby("content")["photo"].apply(list)
    duplicates = [photos for photos in groups if len(photos) > 1]
    far = _far(manifest)
    notes = {
        str(photo): str(note)
        for photo, note in zip(manifest["photo"], manifest["note"], strict=True)
        if note
    }
    if duplicates:
        log.warning(
            "photos with the same pixels: %d group(s), for instance %s",
            len(duplicates),
            ", ".join(duplicates[0][:_SHOWN]),
        )
    if far:
        log.warning(
            "photos far from the others: %d, %s",
            len(far),
            ", ".join(f"{photo} ({metres:,.0f} m)" for photo, metres in list(far.items())[:_SHOWN]),
        )
    for photo, note in list(notes.items())[:_SHOWN]:
        log.warning("%s: %s", photo, note)
    return {
        "origin": listing.origin,
        "photos": len(manifest),
        "rejects": dict(Counter(reject.reason for reject in rejects).most_common()),
        "not_photos": dict(listing.not_photos),
        "duplicates": duplicates,
        "far_m": far,
        "notes": notes,
    }


def _far(manifest: pd.DataFrame) -> dict[str, float]:
    """Photos far outside: ten times the median distance from the median position, at least."""
    lat, lon = manifest["lat_deg"].to_numpy(), manifest["lon_deg"].to_numpy()
    apart = distance_m(lat, lon, float(np.median(lat)), float(np.median(lon)))
    limit = max(_FAR_TIMES * float(np.median(apart)), _FAR_AT_LEAST_M)
    rows = np.flatnonzero(apart > limit)
    return {str(manifest["photo"].iloc[row]): round(float(apart[row]), 1) for row in rows}
