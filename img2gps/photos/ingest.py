"""Photos to a data set cache: each is read, decoded and resized once, and shared by every run.

Memory is bounded: pixels go straight to disk, and only the manifest grows with the number of
photos. When several processes ask for the same cache, one builds it while the others wait.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from img2gps.core import pulse
from img2gps.core.errors import BadInput
from img2gps.core.hardware import cores
from img2gps.core.paths import expanded
from img2gps.core.progress import watched
from img2gps.photos.copies import keep_one_of_each, near_copies
from img2gps.photos.dataset import (
    PIXELS,
    SCHEMA,
    DamagedCache,
    Dataset,
    open_dataset,
    write_dataset,
    write_rejects,
)
from img2gps.photos.decode import DECODER_VERSION
from img2gps.photos.exif import READER_VERSION
from img2gps.photos.guard import DEADLINE_S, Readers
from img2gps.photos.pixelfile import PixelWriter
from img2gps.photos.reading import read_items
from img2gps.photos.sessions import sessions
from img2gps.photos.sources import (
    CsvSource,
    FolderSource,
    HuggingFaceSource,
    Listing,
    QuadSource,
    Reject,
    Source,
    position_tables,
)
from img2gps.photos.summary import summarise, warn_of_doubts

__all__ = ["CsvSource", "FolderSource", "HuggingFaceSource", "QuadSource", "Source", "ingest"]

log = logging.getLogger(__name__)

_BUILDING = ".building"  # ends the name of a folder that is being built


@dataclass(frozen=True)
class _Options:
    """How photos are read."""

    image_size: int
    threads: int
    deadline_s: float
    one_of_each: bool
    progress: bool


def ingest(
    source: Source,
    *,
    image_size: int,
    cache_dir: Path | str,
    threads: int | None = None,
    deadline_s: float = DEADLINE_S,
    one_of_each: bool = False,
    progress: bool = True,
    verify: bool = False,
) -> Dataset:
    """Return the data set of a source; build its cache if it is missing, outdated or damaged.

    Photos are squashed to `image_size` x `image_size`. `threads` processes read them, by default
    as many as this process may use cores; a photo that takes one of them more than `deadline_s`
    of processor time is refused. `one_of_each` keeps one photo of each group of near copies.
    `verify` compares every photo of an existing cache with its digest, not only some.

    Raises:
        BadInput: no photo at all can be used.
    """
    cache = expanded(cache_dir, "data.cache")
    options = _Options(image_size, threads or cores(), deadline_s, one_of_each, progress)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        listing = source.listing(cache, threads=options.threads, progress=progress)
        folder = cache / _folder_name(listing, options)
        with _locked(folder):
            dataset = _existing(folder, verify) or _build(listing, folder, options)
    except OSError as error:
        raise BadInput(
            f"cache {cache}: {error.strerror or error}; free space or choose another folder "
            "(IMG2GPS_CACHE)"
        ) from error
    warn_of_doubts(dataset)
    return dataset


def _folder_name(listing: Listing, options: _Options) -> str:
    versions = f"{SCHEMA} {DECODER_VERSION} {READER_VERSION}"
    key = f"{versions} {options.image_size} {options.one_of_each} {listing.key} {listing.version}"
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", listing.name).strip("-")[:40] or "photos"
    return f"{slug}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process in at a time; a process that was killed leaves no lock behind."""
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.warning("another process is reading the same photos: waiting for it")
        while not lock.is_locked:
            pulse.beat()  # a run that waits does not hang
            with suppress(Timeout):
                lock.acquire(timeout=60)
    try:
        yield
    finally:
        lock.release()


def _existing(folder: Path, verify: bool) -> Dataset | None:
    """Open the cache if it is there and undamaged."""
    if not folder.exists():
        return None
    try:
        found = open_dataset(folder)
        if verify:
            found.verify()
    except DamagedCache as damage:
        log.warning("cache %s is damaged (%s): building it again", folder, damage)
        return None
    return found


def _build(listing: Listing, folder: Path, options: _Options) -> Dataset:
    """Read everything into a temporary folder, then move it into place. Needs the lock."""
    _remove_abandoned(folder.parent)
    scratch = folder.with_name(f".{folder.name}{_BUILDING}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        rejects = list(listing.rejects)
        with (scratch / PIXELS).open("w+b") as file:
            writer = PixelWriter(file, options.image_size)
            manifest = pd.DataFrame(_read(listing, writer, rejects, options))
            if manifest.empty:
                raise _nothing_usable(listing, rejects, folder)
            # By content, so that names and order of the files change nothing.
            manifest = manifest.sort_values(["content", "lat_deg", "lon_deg", "taken_at", "photo"])
            looks = np.stack(manifest.pop("look").to_list())
            manifest["group"] = "" if listing.synthetic else near_copies(looks, manifest)
            if options.one_of_each:
                manifest = keep_one_of_each(manifest, rejects)
            writer.finish(manifest.index.to_list())
        manifest = manifest.reset_index(drop=True)
        if not manifest["session"].any():
            manifest["session"] = sessions(manifest["taken_at"])
        write_dataset(
            scratch,
            manifest,
            rejects,
            listing=listing,
            image_size=options.image_size,
            summary=summarise(listing, manifest, rejects),
        )
        _replace(folder, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return open_dataset(folder)


def _remove_abandoned(cache: Path) -> None:
    """Remove what processes that were killed had begun to build, for these or other photos."""
    for scratch in cache.glob(f".*{_BUILDING}"):
        folder = scratch.with_name(scratch.name.removeprefix(".").removesuffix(_BUILDING))
        lock = FileLock(folder.with_suffix(".lock"))
        with suppress(Timeout), lock.acquire(blocking=False):
            shutil.rmtree(scratch, ignore_errors=True)


def _read(
    listing: Listing, writer: PixelWriter, rejects: list[Reject], options: _Options
) -> list[dict[str, Any]]:
    """Return a row for each usable photo, with its pixels in the writer's file."""
    items = listing.items()
    rows = []
    with Readers(options.threads, options.deadline_s) as readers:
        read = read_items(items, listing.track, readers, options.image_size)
        told = f"reading {listing.name}"
        for outcome in watched(read, len(items), told) if options.progress else read:
            if isinstance(outcome, Reject):
                rejects.append(outcome)
            else:
                rows.append(outcome[0])
                writer.append(outcome[1])
    if listing.track is not None and (hint := listing.track.clock_hint()):
        log.warning(hint)
    return rows


def _replace(folder: Path, scratch: Path) -> None:
    """Move the new folder into place; processes that have the old one open keep reading it."""
    old = folder.with_name(f".{folder.name}.damaged")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    scratch.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _nothing_usable(listing: Listing, rejects: Sequence[Reject], folder: Path) -> BadInput:
    """Return the error for a source without a usable photo; rejects are listed beside the cache."""
    if not rejects:
        others = ", ".join(f"{n} {suffix}" for suffix, n in listing.not_photos.items())
        return BadInput(
            f"{listing.origin}: no photos in it{f' (but {others})' if others else ''}; "
            "give a folder of JPEG, HEIC, AVIF, PNG, TIFF or WebP photos"
        )
    (reason, count), *_ = Counter(reject.reason for reject in rejects).most_common(1)
    remedy = next(reject.remedy for reject in rejects if reject.reason == reason)
    if tables := position_tables(Path(listing.origin)):
        remedy = f"give {tables[0]} in place of the folder: it has positions of photos"
    path = folder.with_name(f"{folder.name}-rejects.csv")
    write_rejects(rejects, path)
    if len(rejects) == 1:
        return BadInput(f"{listing.origin}: {rejects[0].file} cannot be used ({reason}); {remedy}")
    return BadInput(
        f"{listing.origin}: none of {len(rejects)} photos can be used ({count} x {reason}; each by "
        f"name in {path}); {remedy}"
    )
