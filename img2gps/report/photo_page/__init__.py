"""The dataset report: one offline page about photos before anything is trained on them.

Where they were taken and looking where, when, how sure the phones were, what is there twice or
far off, what was left out and why, and how near to each other each split puts the two sides.
"""

from __future__ import annotations

from img2gps.report.photo_page.page import write

__all__ = ["write"]
