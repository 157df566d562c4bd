"""Frames of a video beside a track: photos with positions, and a table of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from img2gps.core.errors import BadInput
from img2gps.core.files import write_csv
from img2gps.photos.photofile import Unusable
from img2gps.photos.track import Track

TABLE = "photos.csv"
COLUMNS = ("path", "lat", "lon", "time", "session")
QUALITY = 92  # of the JPEGs
_ODD = re.compile(r"[^\w. -]+")  # what the table could not hold, or would take for a folder


@dataclass(frozen=True)
class Written:
    """How many frames were written, and how many the track has no position for."""

    placed: int
    outside: int
    hint: str  # by how much the camera's clock seems off; "" if it seems right


def write_frames(
    video: Path, folder: Path, track: Track, every_s: float, start: datetime | None = None
) -> Written:
    """Write a frame for every `every_s` seconds of a video into `folder`, with `photos.csv`.

    `start` is when the first frame was taken; by default what the file says.

    Raises:
        BadInput: no video, no time in it, or another file already in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder}: is not empty; name a new folder for the frames")
    if video.is_fifo():  # opening it would wait for a writer
        raise BadInput(f"{video}: not a regular file; give a video")
    stem = _ODD.sub("_", video.stem)
    rows: list[dict[str, Any]] = []
    outside = 0
    for taken, image in _frames(video, every_s, start):
        try:
            lat, lon = track.position(taken.isoformat())
        except Unusable:
            outside += 1
            continue
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{stem}_{taken:%Y%m%dT%H%M%S}{taken.microsecond // 1000:03d}.jpg"
        image.save(folder / name, "JPEG", quality=QUALITY)
        time = taken.isoformat(timespec="milliseconds")
        rows.append(dict(zip(COLUMNS, (name, lat, lon, time, stem), strict=True)))
    if rows:
        write_csv(folder / TABLE, COLUMNS, rows)
    return Written(len(rows), outside, track.clock_hint())


def _frames(
    video: Path, every_s: float, start: datetime | None
) -> Iterator[tuple[datetime, Image.Image]]:
    """Yield the time and the upright picture of each frame that is taken."""
    try:
        import av
    except ImportError as error:
        raise BadInput(f"{video}: videos need an extra; pip install 'img2gps[video]'") from error
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise BadInput(f"{video}: no video in it; give a video")
            started = start or _started(video, container.metadata)
            due = 0.0
            for frame in container.decode(video=0):
                if frame.time is not None and frame.time >= due:
                    due = (frame.time // every_s + 1) * every_s
                    # PyAV has no hint for it.
                    picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]  # no hints
                    picture = picture.rotate(frame.rotation, expand=True)
                    yield started + timedelta(seconds=frame.time), picture
    except av.FFmpegError as error:
        raise BadInput(f"{video}: cannot be read ({error.strerror}); give a video") from error


def _started(video: Path, metadata: dict[str, str]) -> datetime:
    """Return when a video began, by its own metadata."""
    for key in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        try:
            moment = datetime.fromisoformat(metadata.get(key, ""))
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise BadInput(f"{video}: does not say when it was taken; give --start 2024-05-01T14:00:00Z")
