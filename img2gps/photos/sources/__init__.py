"""Where photos come from: a folder, a CSV, a Hugging Face data set, the built-in quad.

A source lists its photos and decodes nothing. A photo that cannot be used is listed as a reject
with its reason; `BadInput` is raised only if the source itself cannot be read.
"""

from __future__ import annotations

from img2gps.photos.sources.base import Item, Listing, Reject, Source
from img2gps.photos.sources.folder import FolderSource, photo_files
from img2gps.photos.sources.huggingface import HuggingFaceSource
from img2gps.photos.sources.named import named_source
from img2gps.photos.sources.overrides import OVERRIDES
from img2gps.photos.sources.quad import QuadSource
from img2gps.photos.sources.table import TABLE_SUFFIXES, CsvSource, position_tables
from img2gps.photos.sources.walk import PHOTO_SUFFIXES

__all__ = [
    "OVERRIDES",
    "PHOTO_SUFFIXES",
    "TABLE_SUFFIXES",
    "CsvSource",
    "FolderSource",
    "HuggingFaceSource",
    "Item",
    "Listing",
    "QuadSource",
    "Reject",
    "Source",
    "named_source",
    "photo_files",
    "position_tables",
]
