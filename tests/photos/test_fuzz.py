"""A short round of `make fuzz`: damaged photos are read or refused, and nothing else happens."""

from __future__ import annotations

import pytest

from img2gps.photos.photo import Photo, Request, read_photo
from tests.helpers.fuzz import CORPUS, fuzz, mutant, original


@pytest.mark.parametrize("name", CORPUS)
def test_the_undamaged_photos_are_read_with_their_position(name: str) -> None:
    found = read_photo(Request(original(name), "a.jpg", 64))
    assert found.exif.lat_deg == pytest.approx(39.95, abs=2e-3)
    assert found.width_px in (64, 320)


def test_damaged_photos_are_read_or_refused() -> None:
    found = fuzz(0, range(240), seconds=60, workers=2)
    assert found["problems"] == []
    assert found["lost"] == 0
    assert found["mutants"] == found["read"] + found["refused"]  # type: ignore[operator]  # counts


def test_a_mutant_is_made_again_from_its_seed_and_number() -> None:
    assert mutant(3, 17) == mutant(3, 17)
    assert mutant(3, 17) != mutant(4, 17)
    assert isinstance(read_photo(Request(original("PNG"), "a.png", 64)), Photo)
