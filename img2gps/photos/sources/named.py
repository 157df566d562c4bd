"""The source that a path means, by its ending or by what is there."""

from __future__ import annotations

from pathlib import Path

from img2gps.core.paths import expanded
from img2gps.photos.sources.base import Source
from img2gps.photos.sources.folder import FolderSource, photo_files
from img2gps.photos.sources.huggingface import HuggingFaceSource
from img2gps.photos.sources.table import TABLE_SUFFIXES, CsvSource
from img2gps.photos.track import MAX_GAP_S


def named_source(
    given: str | Path,
    *,
    allow_outside: bool = False,
    split: str = "train",
    track: str | Path | None = None,
    clock_offset_s: float = 0.0,
    track_gap_s: float = MAX_GAP_S,
) -> Source:
    """Return the source of a table, a Hugging Face data set or a folder.

    Args:
        given: the path as the user typed it.
        allow_outside: of a table: accept paths that leave its folder.
        split: of a Hugging Face data set.
        track: of a folder: GPX by which photos without a position are placed.
        clock_offset_s: to add to the camera's clock.
        track_gap_s: largest time between two points of the track.
    """
    path = expanded(given, "source")
    if path.suffix.lower() in TABLE_SUFFIXES:
        return CsvSource(path, allow_outside=allow_outside)
    tables = path.suffix.lower() == ".parquet" or any(path.glob("**/*.parquet"))
    if tables and not photo_files(path, []):
        return HuggingFaceSource(path, split=split)
    return FolderSource(path, None, track, clock_offset_s, track_gap_s)
