"""The source that a path means, by its ending or by what is there."""

from __future__ import annotations

from pathlib import Path

from img2gps.core.paths import expanded
from img2gps.photos.sources.base import Source
from img2gps.photos.sources.folder import FolderSource, photo_files
from img2gps.photos.sources.huggingface import HuggingFaceSource
from img2gps.photos.sources.table import CsvSource


def named_source(given: str | Path, *, allow_outside: bool = False, split: str = "train") -> Source:
    """Return a CSV's, a Hugging Face data set's or a folder's source.

    Args:
        given: the path as the user typed it.
        allow_outside: of a CSV: accept paths that leave its folder.
        split: of a Hugging Face data set.
    """
    path = expanded(given, "source")
    if path.suffix.lower() in (".csv", ".tsv"):
        return CsvSource(path, allow_outside=allow_outside)
    tables = path.suffix.lower() == ".parquet" or any(path.glob("**/*.parquet"))
    if tables and not photo_files(path, []):
        return HuggingFaceSource(path, split=split)
    return FolderSource(path)
