"""Photos read in processes of their own: whatever a file does, the rest is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from img2gps.photos.guard import Readers
from img2gps.photos.photo import Photo, Request
from img2gps.photos.photofile import Unusable
from tests.helpers.hostile import Crashing, Looping, Sleeping, Swelling, png_of
from tests.helpers.photos import make_photo, picture
from tests.photos.test_decode import encode


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [make_photo(tmp_path / f"{i}.jpg", 39.95, -75.19, seed=i) for i in range(6)]


def request(path: Path) -> Request:
    return Request(path, path.name, 16)


def outcomes(paths: list[Path], deadline_s: float = 20.0, count: int = 1) -> list[str]:
    """What became of each photo: its width, or why it was refused."""
    with Readers(count, deadline_s) as readers:
        read = list(readers.read([request(path) for path in paths]))
    return [str(found.width_px) if isinstance(found, Photo) else found.reason for found in read]


@pytest.mark.parametrize("count", [1, 3])
def test_photos_come_in_order_as_they_are(tmp_path: Path, count: int) -> None:
    paths = [make_photo(tmp_path / f"{i}.png", 1, 1, size=(8 + i, 8), seed=i) for i in range(40)]
    assert outcomes(paths, count=count) == [str(8 + i) for i in range(40)]


def test_a_photo_is_the_same_as_read_here(photos: list[Path]) -> None:
    with Readers(1) as readers:
        (found,) = readers.read([Request(photos[0].read_bytes(), "a.jpg", 16)])
    assert isinstance(found, Photo)
    expected = picture(seed=0).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.abs(found.pixels.astype(int) - np.asarray(expected)).max() < 8
    assert found.exif.lat_deg == pytest.approx(39.95)
    assert found.exif.camera == "Maker Phone 1"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Looping, "takes longer than 0.5 s to read"),
        (Sleeping, "takes longer than 0.5 s to read"),
        (Crashing, "crashes the decoder (SIGABRT)"),
        (Swelling, "takes more memory than a photo may"),
    ],
)
def test_a_file_that_hangs_crashes_or_swells_is_refused_and_the_rest_is_read(
    photos: list[Path], kind: type[Path], reason: str
) -> None:
    paths = [*photos[:3], kind(photos[0]), *photos[3:]]
    assert outcomes(paths, deadline_s=0.5) == ["64"] * 3 + [reason] + ["64"] * 3


def test_a_picture_that_takes_longer_than_the_deadline_is_refused(
    tmp_path: Path, photos: list[Path]
) -> None:
    slow = tmp_path / "slow.jpg"
    slow.write_bytes(slow_jpeg())
    assert outcomes([photos[0], slow, photos[1]], deadline_s=0.5) == [
        *("64", "takes longer than 0.5 s to read", "64")
    ]


def slow_jpeg(side: int = 8000) -> bytes:
    """A progressive JPEG of 64 megapixels whose last scan is repeated 180 times."""
    data = encode(Image.new("RGB", (side, side)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 180 + data[-2:]


def test_a_worker_that_an_earlier_photo_broke_costs_no_photo(photos: list[Path]) -> None:
    with Readers(1) as readers:

        def wanted() -> Iterator[Request]:
            for number, path in enumerate(photos * 10):
                if number == 40:
                    os.kill(readers._readers[0].process.pid, signal.SIGSEGV)
                yield request(path)

        assert all(isinstance(found, Photo) for found in readers.read(wanted()))


def test_large_pictures_are_read_with_the_memory_that_they_need(
    tmp_path: Path, photos: list[Path]
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(png_of(8000, 6000, 6))  # 384 MB while it is decoded
    paths = [photos[0], large, photos[1], large, photos[2]]
    assert outcomes(paths, count=2) == ["64", "8000", "64", "8000", "64"]


def test_few_photos_are_read_ahead(photos: list[Path]) -> None:
    started: list[Path] = []

    def wanted() -> Iterator[Request]:
        for path in photos * 100:
            started.append(path)
            yield request(path)

    with Readers(2) as readers:
        read = readers.read(wanted())
        for taken in range(1, 30):
            next(read)
            assert len(started) <= taken + 8 * 3


def test_a_source_that_raises_costs_its_photo_alone(photos: list[Path]) -> None:
    def gone() -> Request:
        raise Unusable("no picture in this row", "remove the row")

    def wrong() -> Request:
        raise KeyError("of somebody's own source")

    with Readers(1) as readers:
        read = list(readers.read([request(photos[0]), gone, wrong, request(photos[1])]))
    assert [getattr(found, "reason", "") for found in read] == [
        *("", "no picture in this row", 'KeyError: "of somebody\'s own source"', "")
    ]


def workers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "img2gps.photos.worker" in " ".join(process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_an_ingest_ends_at_once_whatever_a_library_does(
    tmp_path: Path, number: int, status: int
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "slow.jpg").write_bytes(slow_jpeg(16_000))
    make_photo(tmp_path / "photos" / "a.jpg", 39.95, -75.19)
    (tmp_path / "t.csv").write_text("path,lat,lon\nphotos/slow.jpg,39.95,-75.19\n")
    before = {process.pid for process in workers()}
    command = [sys.executable, "-m", "img2gps", "ingest", str(tmp_path / "t.csv")]
    ingest = subprocess.Popen(
        [*command, "--cache", str(tmp_path / "cache"), "--deadline", "60"], stderr=subprocess.PIPE
    )
    mine: list[psutil.Process] = []
    while not mine:
        assert ingest.poll() is None
        time.sleep(0.1)
        mine = [process for process in workers() if process.pid not in before]
    time.sleep(1)
    ingest.send_signal(number)
    assert ingest.wait(timeout=30) == status
    if number != signal.SIGKILL:
        assert not psutil.wait_procs(mine, timeout=5)[1]
