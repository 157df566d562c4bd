"""Data sets made of photos in tests."""

from __future__ import annotations

from pathlib import Path

from img2gps.photos.dataset import Dataset
from img2gps.photos.ingest import Source, ingest

NULL_ISLAND = "null island: the position is 0, 0, which stands for unknown"


def ingested(source: Source, cache: Path, size: int = 16) -> Dataset:
    return ingest(source, image_size=size, cache_dir=cache, threads=2, progress=False)


def reasons(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.rejects["file"], dataset.rejects["reason"], strict=True))
