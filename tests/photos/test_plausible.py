"""Labels that are possible and yet wrong are noticed and named with the remedy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from img2gps.photos.ingest import CsvSource, FolderSource, ingest
from tests.helpers.photos import make_photo

QUAD = [(39.9510 + i * 1e-4, -75.1915) for i in range(4)]


def warnings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: CsvSource | FolderSource
) -> list[str]:
    with caplog.at_level(logging.WARNING):
        ingest(source, image_size=32, cache_dir=tmp_path / "cache", progress=False)
    return caplog.messages


def table(folder: Path, labels: Sequence[tuple[float, float]], gps: bool = True) -> CsvSource:
    """Photos in the quad, which say so themselves or not, and a table with other labels."""
    for i, place in enumerate(QUAD):
        make_photo(folder / f"{i}.jpg", *(place if gps else (None, None)), seed=i)
    rows = [f"{i}.jpg,{lat},{lon}" for i, (lat, lon) in enumerate(labels)]
    (folder / "labels.csv").write_text("\n".join(["path,lat,lon", *rows]) + "\n")
    return CsvSource(folder / "labels.csv")


def test_swapped_columns_are_noticed_by_the_photos_own_positions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = warnings(tmp_path, caplog, table(tmp_path, [(lon, lat) for lat, lon in QUAD]))
    assert found[-1] == (
        "labels: latitude and longitude look swapped for 4 of 4 photos, whose own EXIF says so; "
        "swap the two columns of the table"
    )
    note = "0.jpg: latitude and longitude look swapped: the photo itself says 39.9510, -75.1915"
    assert note in found


def test_a_lost_sign_is_noticed_by_the_photos_own_positions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = warnings(tmp_path, caplog, table(tmp_path, [(lat, -lon) for lat, lon in QUAD]))
    assert found[-1].startswith("labels: the labels of 4 of 4 photos are more than 10 km from")
    assert "check the signs" in found[-1]


def test_a_data_set_that_is_read_already_is_doubted_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = table(tmp_path, [(lon, lat) for lat, lon in QUAD])
    (*_, first) = warnings(tmp_path, caplog, source)
    caplog.clear()
    assert warnings(tmp_path, caplog, source) == [first]


def test_positions_in_overrides_are_not_doubted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i, place in enumerate(QUAD):
        make_photo(tmp_path / f"{i}.jpg", *place, seed=i)
    (tmp_path / "overrides.csv").write_text("photo,lat,lon\n0.jpg,39.9510,-75.4\n")
    found = warnings(tmp_path, caplog, FolderSource(tmp_path))
    assert not any("own position" in warning for warning in found)


@pytest.mark.parametrize("gps", [True, False])
def test_labels_that_agree_with_the_photos_or_cannot_be_checked_are_not_doubted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, gps: bool
) -> None:
    labels = QUAD if gps else [(lon, lat) for lat, lon in QUAD]
    assert warnings(tmp_path, caplog, table(tmp_path, labels, gps)) == []


def test_one_position_for_all_photos_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        make_photo(tmp_path / "photos" / f"{i}.jpg", *QUAD[0], seed=i)
    assert warnings(tmp_path, caplog, FolderSource(tmp_path / "photos")) == [
        "photos: all 3 photos have the same position, so there is nothing to learn; check where "
        "the positions come from"
    ]
