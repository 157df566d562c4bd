"""A local Hugging Face image data set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded
from img2gps.photos.photofile import Unusable, read_bytes
from img2gps.photos.sources.base import Item, Listing, Reject, key
from img2gps.photos.sources.columns import extras_of, headers, label_of
from img2gps.photos.sources.text import shown


@dataclass(frozen=True)
class HuggingFaceSource:
    """A local Hugging Face image data set: a parquet file, or a folder of them.

    It needs an image column and columns of latitude and longitude (with any of the CSV's headers).
    """

    path: Path | str
    split: str = "train"
    name: str | None = None

    def listing(self, cache_dir: Path, *, threads: int, progress: bool) -> Listing:
        """List the rows of one split; pictures stay encoded until they are read."""
        root = expanded(self.path, "data.root")
        frame = _load(root, self.split, cache_dir / "huggingface", progress)
        pictures = _Pictures(frame, _picture_column(frame, root), root, cache_dir)
        items: list[Item] = []
        rejects: list[Reject] = []
        for number, row in enumerate(_rows(frame, root)):
            photo = f"{self.split}/{number:06d}"
            load = partial(pictures.load, number)
            try:
                label, extras = label_of(row), extras_of(row)
                items.append(Item(photo, str(number), load, label, columns=extras))
            except Unusable as error:
                rejects.append(Reject(photo, error.reason, error.remedy))
        return Listing(
            name=self.name or root.stem,
            origin=str(root),
            key=key(f"huggingface {root.resolve()} {_stamps(root)}", items, rejects),
            items=lambda: items,
            rejects=rejects,
        )


def _load(root: Path, split: str, cache: Path, progress: bool) -> Any:
    """Return the split as a `datasets.Dataset`."""
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
        if root.is_file():
            files = {split: str(root)}
            return datasets.load_dataset("parquet", data_files=files, split=split, cache_dir=cache)
        return datasets.load_dataset(str(root), split=split, cache_dir=cache)
    except Exception as error:  # the library raises whatever its readers raise
        reason = " ".join(str(error).split())
        raise BadInput(f"{root}: {reason}; give a parquet data set with images") from error


def _picture_column(frame: Any, root: Path) -> str:
    import datasets

    found = [name for name, kind in frame.features.items() if isinstance(kind, datasets.Image)]
    if not found:
        raise _missing("column of the type Image", frame, root)
    return str(found[0])


def _missing(what: str, frame: Any, root: Path) -> BadInput:
    kinds = frame.features.items()
    found = ", ".join(f"{name} ({getattr(kind, 'dtype', kind)})" for name, kind in kinds)
    return BadInput(
        f"{root}: no {what} (found: {shown(found)}); it needs an image column and Latitude and "
        "Longitude"
    )


def _rows(frame: Any, root: Path) -> Iterator[dict[str, str]]:
    """Yield each row's label and further columns as text, as a CSV has them."""
    import datasets

    kinds = frame.features.items()
    columns = headers([name for name, kind in kinds if not isinstance(kind, datasets.Image)])
    if not {"lat", "lon"} <= columns.keys():
        raise _missing("columns of latitude and longitude", frame, root)
    table = frame.select_columns(list(columns.values())).to_pandas()
    for values in table.itertuples(index=False, name=None):
        yield {
            column: "" if value is None or value != value else str(value)  # NaN
            for column, value in zip(columns, values, strict=True)
        }


class _Pictures:
    """The encoded pictures of a data set, read one at a time from its Arrow file."""

    def __init__(self, frame: Any, column: str, root: Path, cache_dir: Path) -> None:
        import datasets

        self._frame = frame.cast_column(column, datasets.Image(decode=False))
        self._column = column
        self._folder = root.resolve() if root.is_dir() else root.resolve().parent
        self._allowed = (self._folder, cache_dir.resolve())
        self._lock = threading.Lock()

    def load(self, row: int) -> bytes:
        """Return the bytes of a row's picture; raises `Unusable`."""
        with self._lock:
            picture = self._frame[row][self._column] or {}
        if picture.get("bytes"):
            return bytes(picture["bytes"])
        if not picture.get("path"):
            raise Unusable("no picture in this row", "remove the row")
        path = (self._folder / picture["path"]).resolve()
        if not any(path.is_relative_to(folder) for folder in self._allowed):
            raise Unusable("leads out of the data set's folder", "move the picture there")
        return read_bytes(path)


def _stamps(root: Path) -> str:
    """Return what changes when a file of the data set does."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()] or [root]
    return " ".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
