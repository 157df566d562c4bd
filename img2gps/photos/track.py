"""A GPX track: where somebody was when, and so where a photo of that moment was taken."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from img2gps.core.errors import BadInput
from img2gps.core.geo import wrap_lon_deg
from img2gps.core.paths import expanded
from img2gps.photos.photofile import Unusable, read_bytes
from img2gps.photos.sessions import seconds
from img2gps.photos.spots import points_m

MAX_BYTES = 128 * 2**20  # a day at one point a second takes 10 MB
MAX_GAP_S = 60.0  # a walker is then at most some 40 m off the straight line
_ZONE_S = 900  # time zones differ by multiples of a quarter of an hour
_FARTHEST_S = 14 * 3600
_NEAR_M, _AGREE_S = 30.0, 30.0  # of photos whose own position tells the camera's clock

Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Track:
    """Points in the order of their time.

    `clock_offset_s` is added to what the camera's clock says. A time without a zone counts as UTC,
    so the offset has to contain the zone. Photos are placed between two points that are at most
    `max_gap_s` apart. The track remembers the photos that it was asked about, for `clock_hint`.
    """

    name: str
    seconds: Seconds  # since 1970, UTC
    lat_deg: NDArray[np.float64]
    lon_deg: NDArray[np.float64]  # beyond 180 behind the antimeridian, so that it has no jumps
    clock_offset_s: float = 0.0
    max_gap_s: float = MAX_GAP_S
    _asked: list[float] = field(default_factory=list)  # times of the photos that needed it
    _known: list[tuple[float, float, float]] = field(default_factory=list)  # time and own position

    def position(self, taken_at: str) -> tuple[float, float]:
        """Return latitude and longitude at the time of a photo; raises `Unusable`."""
        if not taken_at:
            raise Unusable("no time, by which the track could place it", "enter its position")
        moment = seconds(taken_at)
        self._asked.append(moment)
        moment += self.clock_offset_s
        after = int(np.searchsorted(self.seconds, moment))
        before = after if after < len(self.seconds) and self.seconds[after] == moment else after - 1
        if not self._covers(np.array([moment]))[0]:
            away = float(np.abs(self.seconds - moment).min())
            raise Unusable(
                f"taken {_duration(away)} from the nearest point of {self.name}",
                "set data.clock_offset_s (--clock-offset) or data.track_gap_s (--track-gap)",
            )
        span = slice(before, after + 1)
        lat, lon = (np.interp(moment, self.seconds[span], of[span]) for of in self._degrees())
        return float(lat), float(lon if abs(lon) <= 180 else wrap_lon_deg(lon))

    def _degrees(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.lat_deg, self.lon_deg

    def _covers(self, moments: Seconds) -> NDArray[np.bool_]:
        """Return which moments lie between two points that are near enough to each other."""
        after = np.searchsorted(self.seconds, moments)
        inside = (after > 0) & (after < len(self.seconds))
        following = np.minimum(after, len(self.seconds) - 1)
        gap = self.seconds[following] - self.seconds[np.maximum(following - 1, 0)]
        covered = (inside & (gap <= self.max_gap_s)) | (self.seconds[following] == moments)
        return np.asarray(covered)

    def compare(self, taken_at: str, lat_deg: float, lon_deg: float) -> None:
        """Remember a photo with a position of its own, which tells how right its clock is."""
        if taken_at:
            self._known.append((seconds(taken_at), lat_deg, lon_deg))

    def digest(self) -> str:
        """Return what changes when the track or its use does."""
        digest = hashlib.sha256(f"{self.clock_offset_s} {self.max_gap_s}".encode())
        for column in (self.seconds, *self._degrees()):
            digest.update(column.tobytes())
        return digest.hexdigest()

    def clock_hint(self) -> str:
        """Return by how much the camera's clock seems off; "" if it seems right."""
        asked = np.array(self._asked)
        if not asked.size:
            return ""
        covered = int(self._covers(asked + self.clock_offset_s).sum())
        candidates = sorted(
            range(-_FARTHEST_S, _FARTHEST_S + 1, _ZONE_S),
            key=lambda offset: (-int(self._covers(asked + offset).sum()), abs(offset)),
        )
        best = self._clock_of_known() if self._known else None
        best = float(candidates[0]) if best is None else best
        would = int(self._covers(asked + best).sum())
        if would <= covered:
            return ""
        return (
            f"{covered} of {len(asked)} photos were taken while {self.name} was recorded; the "
            f"camera's clock seems {_duration(abs(best))} {'slow' if best > 0 else 'fast'}: with "
            f"data.clock_offset_s={best:.0f} (--clock-offset {best:.0f}) it would be {would}"
        )

    def _clock_of_known(self) -> float | None:
        """Return the offset at which photos with a position are nearest to the track."""
        moments, lat, lon = (np.array(column) for column in zip(*self._known, strict=True))
        metres, nearest = cKDTree(points_m(*self._degrees())).query(points_m(lat, lon))
        offsets = (self.seconds[nearest] - moments)[metres <= _NEAR_M]
        if not offsets.size:
            return None
        middle = float(np.median(offsets))
        return middle if np.mean(np.abs(offsets - middle) <= _AGREE_S) > 0.5 else None


def read_track(
    path: Path | str, clock_offset_s: float = 0.0, max_gap_s: float = MAX_GAP_S
) -> Track:
    """Read a GPX file, or all of a folder; raises `BadInput`."""
    if not math.isfinite(clock_offset_s):
        raise BadInput(f"data.clock_offset_s={clock_offset_s}: must be a number of seconds")
    if not max_gap_s > 0:
        raise BadInput(f"data.track_gap_s={max_gap_s}: must be above 0 seconds")
    root = expanded(path, "data.track")
    files = sorted(root.glob("*.[gG][pP][xX]")) if root.is_dir() else [root]
    points = [point for file in files for point in _points(file)]
    if not points:
        raise BadInput(f"{root}: no track point with a time; give a GPX track (data.track)")
    seconds, rows = np.unique([point[0] for point in points], return_index=True)
    lat, lon = (np.array([points[row][axis] for row in rows]) for axis in (1, 2))
    return Track(root.name, seconds, lat, np.unwrap(lon, period=360), clock_offset_s, max_gap_s)


def _points(file: Path) -> Iterator[tuple[float, float, float]]:
    """Yield time, latitude and longitude of each track point that has all three."""
    try:
        content = read_bytes(file, MAX_BYTES)
        if b"<!" in content.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
            raise Unusable("defines entities", "")
        root = ET.fromstring(content)  # noqa: S314, no DTD
    except Unusable as error:
        raise BadInput(f"{file}: {error.reason}; give a GPX track (data.track)") from error
    except ET.ParseError as error:
        raise BadInput(f"{file}: no XML ({error}); give a GPX track (data.track)") from error
    for point in root.iter():
        if _tag(point) == "trkpt":
            time = next((child.text or "" for child in point if _tag(child) == "time"), "")
            try:
                moment = seconds(time.strip())
                lat, lon = float(point.attrib["lat"]), float(point.attrib["lon"])
            except (ValueError, KeyError):  # a point without a time, or a broken one
                continue
            if abs(lat) <= 90 and abs(lon) <= 180:
                yield moment, lat, lon


def _tag(element: ET.Element) -> str:
    """Return an element's name, whatever the version of GPX whose namespace it is in."""
    return element.tag.rpartition("}")[2]


def _duration(seconds: float) -> str:
    """Return a time in the unit that people would use.

    >>> _duration(90), _duration(14_400), _duration(18_930)
    ('90 s', '4 h', '5 h 16 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    parts = [f"{minutes // 60} h"] * (minutes >= 60) + [f"{minutes % 60} min"] * (minutes % 60 > 0)
    return " ".join(parts)
