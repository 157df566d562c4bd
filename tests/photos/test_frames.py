"""Frames of a video beside a track, both made by code."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from img2gps.cli import main as cli
from img2gps.photos.ingest import CsvSource, ingest
from tests.photos.test_labels import GEOD, gpx, walk

av = pytest.importorskip("av")


def video(path: Path, seconds: int, taken: str = "2024-05-01T14:01:40Z") -> Path:
    """Two frames a second; the grey of a frame is its second."""
    with av.open(str(path), "w") as container:
        if taken:
            container.metadata["creation_time"] = taken
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(2 * seconds):
            grey = np.full((48, 64, 3), number // 2 * 10, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 2)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Exit status and output of the command."""
    with pytest.raises(SystemExit) as end:
        cli.main(["frames", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.fixture
def ride(tmp_path: Path) -> Path:
    return gpx(tmp_path / "ride.gpx", {at: walk(at) for at in range(0, 601, 5)})


def test_frames_become_a_data_set_with_the_tracks_positions(
    tmp_path: Path, ride: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    made = video(tmp_path / "ride.mp4", 12)
    status, said, _ = frames(capsys, made, "--track", ride, "--every", "4s", "--out", out)
    assert (status, said.splitlines()[0]) == (0, f"3 frames in {out}, 0 outside the track")
    table = pd.read_csv(out / "photos.csv")
    assert table["time"].tolist() == [f"2024-05-01T14:01:{s}.000+00:00" for s in (40, 44, 48)]
    for row, at in zip(table.itertuples(), (100, 104, 108), strict=True):
        assert GEOD.inv(row.lon, row.lat, *walk(at)[::-1])[2] < 0.3
    found = ingest(
        CsvSource(out / "photos.csv"), image_size=8, cache_dir=tmp_path / "cache", progress=False
    )
    assert found.rejects.empty
    assert set(found.manifest["session"]) == {"ride"}
    shown = found.pixels().mean(axis=(1, 2, 3))[found.manifest["taken_at"].argsort()]
    assert shown == pytest.approx([0, 40, 80], abs=4)


def test_a_start_and_an_offset_move_the_frames(
    tmp_path: Path, ride: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = video(tmp_path / "a.mp4", 4, taken="")
    status, _, said = frames(capsys, made, "--track", ride)
    assert (status, "does not say when it was taken; give --start" in said) == (2, True)
    out = tmp_path / "out"
    moved = ("--start", "2024-05-01T10:00:00", "--clock-offset", 4 * 3600 - 2)
    status, said, _ = frames(capsys, made, "--track", ride, *moved, "--out", out)
    assert f"1 frames in {out}, 1 outside the track" in said.splitlines()


def test_a_video_outside_the_track_says_by_how_much_the_clock_seems_off(
    tmp_path: Path, ride: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = video(tmp_path / "a.mp4", 4, taken="2024-05-01T16:01:40Z")
    status, _, said = frames(capsys, made, "--track", ride, "--out", tmp_path / "o")
    assert status == 2
    assert "none of 2 frames was taken while the track was recorded; 0 of 2 photos" in said
    assert (
        "seems 2 h fast: with data.clock_offset_s=-7200 (--clock-offset -7200) it would be 2"
        in said
    )
    assert not (tmp_path / "o").exists()


def test_a_video_of_any_name_becomes_a_data_set(
    tmp_path: Path, ride: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, out = tmp_path / os.fsdecode(b"\xff\n\\1 a.mp4"), tmp_path / "out"
    shutil.move(video(tmp_path / "a.mp4", 4), made)
    assert frames(capsys, made, "--track", ride, "--out", out)[0] == 0
    source = CsvSource(out / "photos.csv")
    found = ingest(source, image_size=8, cache_dir=tmp_path / "cache", progress=False)
    assert set(found.manifest["session"]) == {"_1 a"}
    assert found.rejects.empty


def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, ride: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_text("bought milk")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    made = video(tmp_path / "b.mp4", 1)
    for arguments, message in (
        ((tmp_path / "a.mp4", "--track", ride), "cannot be read (Invalid data"),
        ((tmp_path / "gone.mp4", "--track", ride), "cannot be read (No such file"),
        ((tmp_path / "pipe.mp4", "--track", ride), "not a regular file; give a video"),
        ((made, "--track", ride, "--every", "0s"), "--every 0s: must be a time above 0"),
        ((made, "--track", ride, "--start", "noon"), "--start noon: no time"),
        ((made, "--track", ride, "--out", tmp_path / "full"), "is not empty; name a new folder"),
        ((made, "--track", tmp_path / "b.gpx"), "cannot be opened: No such file"),
    ):
        status, _, said = frames(capsys, *arguments)
        assert status == 2
        assert message in said
        assert len(said.splitlines()) == 1
