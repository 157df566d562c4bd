"""`img2gps frames`: a data set out of a video and the track that was recorded beside it."""

from __future__ import annotations

import argparse
import math
from datetime import UTC, datetime
from pathlib import Path

HELP = "a data set out of a video and the track that was recorded beside it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("--track", required=True, type=Path, metavar="GPX", help="file or folder")
    parser.add_argument("--every", default="2s", help="time between frames (default: 2s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the video's name")
    parser.add_argument("--start", metavar="TIME", help="time of the first frame, in ISO 8601")
    parser.add_argument(
        "--clock-offset", type=float, default=0.0, metavar="S", help="to add to the camera's clock"
    )
    parser.add_argument(
        "--track-gap", type=float, default=60.0, metavar="S", help="largest between two points"
    )


def execute(args: argparse.Namespace) -> int:
    """Write the frames, and say how to train on them."""
    from img2gps.core.errors import BadInput
    from img2gps.photos.frames import TABLE, write_frames
    from img2gps.photos.track import read_track

    track = read_track(args.track, args.clock_offset, args.track_gap)
    folder = args.out or Path(args.video.stem)
    written = write_frames(args.video, folder, track, _seconds(args.every), _start(args.start))
    if not written.placed:
        raise BadInput(
            f"{args.video}: none of {written.outside} frames was taken while the track was "
            f"recorded; {written.hint or 'give --start, --clock-offset or another track'}"
        )
    if written.hint:
        print(written.hint)
    print(f"{written.placed} frames in {folder}, {written.outside} outside the track")
    print(f"train on them: python -m img2gps.train data=csv data.root={folder / TABLE}")
    return 0


def _seconds(text: str) -> float:
    from img2gps.core.errors import BadInput

    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadInput(f"--every {text}: must be a time above 0, such as --every 2s")
    return value


def _start(text: str | None) -> datetime | None:
    from img2gps.core.errors import BadInput

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"--start {text}: no time, such as 2024-05-01T14:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
