"""Build the page about photos, which shows a data set before anything is trained on it.

The page is one HTML file that needs no network. It shows where, when and in which directions the
photos were taken, which positioning errors the phones state, duplicates and far outliers, which
files were left out and why, and how near each kind of split brings training and validation photos.
"""

from __future__ import annotations

from img2gps.report.photo_page.page import write

__all__ = ["write"]
