"""A local Hugging Face image data set."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded
from img2gps.photos.photofile import Unusable, read_bytes
from img2gps.photos.sources.base import Item, Listing, Reject, key
from img2gps.photos.sources.columns import extras_of, headers, label_of


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
        root = expanded(self.path, "data.root")
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
        columns = headers([name for name in frame.column_names if name not in pictures])
        if not pictures or not {"lat", "lon"} <= columns.keys():
            raise BadInput(
                f"{root}: needs an image column and Latitude and Longitude "
                f"(found: {', '.join(frame.column_names)}); rename the columns"
            )
        frame = frame.cast_column(pictures[0], datasets.Image(decode=False))
        table = frame.select_columns(list(columns.values())).to_pandas()
        lock = threading.Lock()  # one reader of the Arrow file at a time
        inside = (root.resolve() if root.is_dir() else root.resolve().parent, cache_dir.resolve())

        def load(row: int) -> bytes:
            with lock:
                picture = frame[row][pictures[0]]
            if picture and picture["bytes"]:
                return bytes(picture["bytes"])
            if picture and picture["path"]:
                path = (inside[0] / picture["path"]).resolve()
                if not any(path.is_relative_to(folder) for folder in inside):
                    raise Unusable("leads out of the data set's folder", "move the picture there")
                return read_bytes(path)
            raise Unusable("no picture in this row", "remove the row")

        rejects: list[Reject] = []
        items = []
        for number, values in enumerate(table.itertuples(index=False, name=None)):
            row = {
                key: "" if value is None or value != value else str(value)  # NaN
                for key, value in zip(columns, values, strict=True)
            }
            photo = f"{self.split}/{number:06d}"
            try:
                items.append(
                    Item(photo, str(number), partial(load, number), label_of(row), extras_of(row))
                )
            except Unusable as error:
                rejects.append(Reject(photo, error.reason, error.remedy))
        files = [path for path in sorted(root.rglob("*")) if path.is_file()] or [root]
        stamps = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
        return Listing(
            name=self.name or root.stem,
            origin=str(root),
            key=key(f"huggingface {root.resolve()} {' '.join(stamps)}", items, rejects),
            items=lambda: items,
            rejects=rejects,
        )
