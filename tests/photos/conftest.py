"""Fixtures of tests that ingest photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.photos import make_photo

LAT, LON = 39.9515, -75.1914


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of six photos, two of them in folders below."""
    folder = tmp_path / "photos"
    (folder / "day 2" / "evening").mkdir(parents=True)
    names = ["a.jpg", "b.JPG", "c.heic", "d.png", "day 2/e.jpg", "day 2/evening/f.webp"]
    for i, name in enumerate(names):
        path = folder / name
        make_photo(path, LAT + i / 1e4, LON, seed=i, taken_at=f"2024:05:01 1{i}:00:00")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
