"""The data set cache: a folder with a manifest, pixels and rejects, checked when it is opened.

| file | content |
|---|---|
| `manifest.csv` | one row a photo, ordered by content |
| `pixels.npy` | uint8 (n, size, size, 3), upright; row i belongs to manifest row i |
| `rejects.csv` | file, reason, remedy |
| `dataset.json` | name, fingerprint, checksums, summary; written last |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.photos.decode import DECODER_VERSION
from img2gps.photos.sources.base import Listing, Reject

SCHEMA = 2
MANIFEST, PIXELS, REJECTS, RECORD = "manifest.csv", "pixels.npy", "rejects.csv", "dataset.json"

NUMBER_COLUMNS = (
    *("lat_deg", "lon_deg", "altitude_m", "heading_deg", "gps_error_m", "dop"),
    *("true_lat_deg", "true_lon_deg"),
)
WHOLE_COLUMNS = ("width_px", "height_px", "orientation")
COLUMNS = (
    *("photo", "lat_deg", "lon_deg", "altitude_m", "heading_deg", "heading_ref", "gps_error_m"),
    *("dop", "taken_at", "camera", "width_px", "height_px", "orientation", "original", "content"),
    *("session", "true_lat_deg", "true_lon_deg", "note"),
)
REJECT_COLUMNS = ("file", "reason", "remedy")
_SPOT_CHECKS = 16  # rows compared with their digest at each opening; all of them if touched


class DamagedCache(Exception):
    """A cache folder that is incomplete or was changed; it has to be built again."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Photos as pixels with labels, in one cache folder; `docs/design.md` has the columns."""

    name: str
    folder: Path
    manifest: pd.DataFrame = field(repr=False)
    rejects: pd.DataFrame = field(repr=False)
    fingerprint: str  # 16 hex digits over pixels, labels, image size and decoder version
    image_size: int
    synthetic: bool
    summary: dict[str, Any] = field(repr=False)  # duplicates, outliers, counts by reason

    def __len__(self) -> int:
        return len(self.manifest)

    def lat_lon(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the labels in degrees, one a row."""
        labels = self.manifest
        return labels["lat_deg"].to_numpy(np.float64), labels["lon_deg"].to_numpy(np.float64)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the pixels, memory-mapped, of shape (n, image_size, image_size, 3)."""
        try:
            array: NDArray[np.uint8] = np.load(self.folder / PIXELS, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DamagedCache(f"{PIXELS}: {error}") from error
        return array

    def verify(self) -> None:
        """Compare every photo's pixels with its digest; raises `DamagedCache`."""
        _check_rows(self, range(len(self)))


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """Return the hex digest of one photo's pixels: the manifest's `content`."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()


def open_dataset(folder: Path) -> Dataset:
    """Open a cache folder; raises `DamagedCache` if it is not what was written.

    Tables are always checked whole. Pixels are checked by size, shape and some rows if the file
    has its recorded time, so that a cache of gigabytes opens at once; else row by row.
    """
    record = read_record(folder)
    try:
        for name in (MANIFEST, REJECTS):
            if file_digest(folder / name) != record["sha256"][name]:
                raise DamagedCache(f"{name} was changed")
        dataset = Dataset(
            name=record["name"],
            folder=folder,
            manifest=read_manifest(folder / MANIFEST),
            rejects=pd.read_csv(folder / REJECTS, dtype=str, keep_default_na=False),
            fingerprint=record["fingerprint"],
            image_size=record["image_size"],
            synthetic=record["synthetic"],
            summary=record["summary"],
        )
        status = (folder / PIXELS).stat()
    except (OSError, KeyError, ValueError) as error:
        raise DamagedCache(f"{error}") from error
    if status.st_size != record["pixels"]["bytes"]:
        raise DamagedCache(f"{PIXELS} has {status.st_size} bytes, not {record['pixels']['bytes']}")
    n, size = len(dataset), dataset.image_size
    if dataset.pixels().shape != (n, size, size, 3):
        raise DamagedCache(f"{PIXELS} has the shape {dataset.pixels().shape}")
    untouched = status.st_mtime_ns == record["pixels"]["mtime_ns"]
    rows = np.unique(np.linspace(0, n - 1, _SPOT_CHECKS).astype(int)) if untouched else range(n)
    _check_rows(dataset, (int(row) for row in rows))
    return dataset


def find_dataset(fingerprint: str, image_size: int, folders: Sequence[Path]) -> Dataset | None:
    """Open the data set with this fingerprint below one of the cache folders, if there is one."""
    for folder in folders:
        for path in sorted(folder.glob(f"*/{RECORD}")):
            try:
                record = read_record(path.parent)
                if (record["fingerprint"], record["image_size"]) == (fingerprint, image_size):
                    return open_dataset(path.parent)
            except (DamagedCache, KeyError):
                continue
    return None


def _check_rows(dataset: Dataset, rows: Iterable[int]) -> None:
    pixels, contents = dataset.pixels(), dataset.manifest["content"]
    for row in rows:
        if pixel_digest(pixels[row]) != contents.iloc[row]:
            raise DamagedCache(f"the pixels of {dataset.manifest['photo'].iloc[row]} were changed")


def read_record(folder: Path) -> dict[str, Any]:
    """Read `dataset.json`; raises `DamagedCache` if it is missing or has another schema."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedCache(f"{RECORD}: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise DamagedCache(f"{RECORD} has another schema")
    return record


def write_dataset(
    folder: Path,
    manifest: pd.DataFrame,
    rejects: Sequence[Reject],
    *,
    listing: Listing,
    image_size: int,
    summary: dict[str, Any],
) -> None:
    """Write the tables and, last, `dataset.json` into a folder that already holds the pixels."""
    write_manifest(manifest, folder / MANIFEST)
    write_rejects(sorted(rejects, key=lambda reject: reject.file), folder / REJECTS)
    status = (folder / PIXELS).stat()
    record = {
        "schema": SCHEMA,
        "name": listing.name,
        "fingerprint": _fingerprint(manifest, image_size, listing.version),
        "image_size": image_size,
        "synthetic": listing.synthetic,
        "decoder": DECODER_VERSION,
        "summary": summary,
        "sha256": {table: file_digest(folder / table) for table in (MANIFEST, REJECTS)},
        "pixels": {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def _fingerprint(manifest: pd.DataFrame, image_size: int, version: str) -> str:
    digest = hashlib.sha256(f"{DECODER_VERSION} {image_size} {version}\n".encode())
    for row in manifest[["content", "lat_deg", "lon_deg"]].itertuples(index=False):
        digest.update(f"{row.content} {row.lat_deg!r} {row.lon_deg!r}\n".encode())
    return digest.hexdigest()[:16]


def write_rejects(rejects: Sequence[Reject], path: Path) -> None:
    """Write the photos that were left out, with reason and remedy."""
    frame = pd.DataFrame([asdict(reject) for reject in rejects], columns=list(REJECT_COLUMNS))
    frame.to_csv(path, index=False, lineterminator="\n")


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write the columns in their order; an unknown value is empty."""
    manifest.loc[:, list(COLUMNS)].to_csv(path, index=False, lineterminator="\n")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest: numbers to the last digit, and a photo called "NA" as a name."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in NUMBER_COLUMNS:  # Python reads floats exactly, pandas not in every version
        frame[name] = [float(text) if text else np.nan for text in frame[name]]
    return frame.astype(dict.fromkeys(WHOLE_COLUMNS, "int64"))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
