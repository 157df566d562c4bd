"""Labels that deserve a second look before training, and a file in which to correct them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.core.files import write_csv
from img2gps.core.geo import distance_m, wrap_lon_deg
from img2gps.photos.dataset import Dataset
from img2gps.photos.exif.gps import IMPRECISE_M, VOID
from img2gps.photos.exif.photo import APART
from img2gps.photos.sessions import seconds
from img2gps.photos.sources.columns import read_table

COLUMNS = ("photo", "lat", "lon", "exclude", "reason", "now_lat", "now_lon")

_ERRORS = 3.0  # times their stated errors: further apart, two labels of one place contradict
_APART_M = 50.0  # at least this, also where no error is stated
_FAST_M_S = 10.0  # faster than anybody who takes photos on foot
_SOON_S = 300.0  # photos further apart in time say nothing about each other
_AT_ONCE_S = 10.0  # photos of two cameras that were taken at one moment
_TOGETHER_M = 30.0  # people who walk together are usually nearer to each other
_LEAST_PAIRS = 3  # of such photos that show that two people walked together
_TURNED_DEG = 60.0  # between the headings of two near copies
_COMPARED = 50  # near copies at most that each one is compared with

Reason = tuple[int, str]  # row and what is wrong with its label
Rows = NDArray[np.int64]


def suspects(dataset: Dataset) -> dict[str, list[str]]:
    """Return the reasons for each photo whose label is suspicious, in the order of their names."""
    photos = _Photos.of(dataset.manifest)
    found: dict[str, list[str]] = defaultdict(list)
    for check in (_imprecise, _jumps, _copies_apart, _cameras_apart):
        for row, reason in check(photos):
            found[photos.name[row]].append(reason)
    for photo, metres in dataset.summary["far_m"].items():
        found[photo].append(f"{metres:,.0f} m from the middle of all photos")
    return dict(sorted(found.items()))


@dataclass(frozen=True, eq=False)
class _Photos:
    """The columns of a manifest that the checks read."""

    name: Sequence[str]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    error_m: NDArray[np.float64]
    heading_deg: NDArray[np.float64]
    moment: NDArray[np.float64]  # in seconds; NaN where unknown
    camera: Sequence[str]
    session: pd.Series[str]
    group: pd.Series[str]
    note: Sequence[str]

    @classmethod
    def of(cls, manifest: pd.DataFrame) -> _Photos:
        times = [seconds(text) if text else np.nan for text in manifest["taken_at"]]
        return cls(
            name=manifest["photo"].to_list(),
            lat=manifest["lat_deg"].to_numpy(np.float64),
            lon=manifest["lon_deg"].to_numpy(np.float64),
            error_m=manifest["gps_error_m"].to_numpy(np.float64),
            heading_deg=manifest["heading_deg"].to_numpy(np.float64),
            moment=np.array(times),
            camera=manifest["camera"].to_list(),
            session=manifest["session"],
            group=manifest["group"],
            note=manifest["note"].to_list(),
        )

    def metres(self, row: int, others: Rows) -> NDArray[np.float64]:
        """Return the distance of one label to others."""
        return distance_m(self.lat[row], self.lon[row], self.lat[others], self.lon[others])

    def limit_m(self, row: int, others: Rows) -> NDArray[np.float64]:
        """Return how far apart the labels of photos of one place may be."""
        errors = np.nan_to_num(self.error_m)
        return np.asarray(np.maximum(_APART_M, _ERRORS * (errors[row] + errors[others])))

    def between(self, row: int, other: int, share: float) -> tuple[float, float]:
        """Return the position at this share of the way from one label to another."""
        lat = self.lat[row] + share * (self.lat[other] - self.lat[row])
        lon = self.lon[row] + share * wrap_lon_deg(self.lon[other] - self.lon[row])
        return float(lat), float(wrap_lon_deg(lon))

    def in_time(self, rows: Rows) -> Rows:
        """Return the rows that have a time, in its order."""
        known = rows[np.isfinite(self.moment[rows])]
        return known[np.argsort(self.moment[known], kind="stable")]


def _imprecise(photos: _Photos) -> Iterator[Reason]:
    """Yield photos whose own file says that the position is bad."""
    for row, note in enumerate(photos.note):
        said = [part for part in note.split("; ") if part.startswith((VOID, APART))]
        if photos.error_m[row] > IMPRECISE_M or "positioning error" in note:
            said.append("its phone says that the position is imprecise")
        if said:
            yield row, "; ".join(said)


def _jumps(photos: _Photos) -> Iterator[Reason]:
    """Yield photos far from the ones before and after them, which are near each other."""
    for rows in _groups(photos.session, photos.camera):
        walk = photos.in_time(rows)
        for before, row, after in zip(walk, walk[1:], walk[2:], strict=False):
            sides = np.array([before, after])
            passed = np.abs(photos.moment[sides] - photos.moment[row])
            metres = photos.metres(row, sides)
            straight = float(photos.metres(before, after))
            jumped = metres > np.maximum(photos.limit_m(row, sides), 2 * straight)
            fast = metres / np.maximum(passed, 1.0) > _FAST_M_S
            if passed.sum() <= _SOON_S and jumped.all() and fast.all():
                share = passed[0] / (passed.sum() or 1.0)
                lat, lon = photos.between(before, after, share)
                reason = (
                    f"{metres.min():,.0f} m from the photos before and after it, which say "
                    f"{lat:.6f}, {lon:.6f}"
                )
                yield row, reason


def _copies_apart(photos: _Photos) -> Iterator[Reason]:
    """Yield near copies with contradicting labels or headings; one of the two is wrong."""
    for rows in _groups(photos.group):
        for row in rows:
            others = rows[rows != row][:_COMPARED]
            metres = photos.metres(row, others)
            if np.any(metres > photos.limit_m(row, others)):
                far = int(metres.argmax())
                yield row, f"{metres[far]:,.0f} m from its near copy {photos.name[others[far]]}"
            apart = photos.heading_deg[others] - photos.heading_deg[row]
            turned = np.nan_to_num(np.abs((apart + 180) % 360 - 180))
            if turned.max() > _TURNED_DEG:
                copy = photos.name[others[int(turned.argmax())]]
                yield row, f"heading {turned.max():.0f} degrees off that of its near copy {copy}"


def _cameras_apart(photos: _Photos) -> Iterator[Reason]:
    """Yield photos of two cameras at one moment that are apart, if the cameras usually are not."""
    for rows in _groups(photos.session):
        walk = photos.in_time(rows)
        pairs = [
            (int(a), int(b))
            for a, b in pairwise(walk)
            if photos.camera[a] != photos.camera[b]
            and photos.moment[b] - photos.moment[a] <= _AT_ONCE_S
        ]
        apart = [float(photos.metres(a, np.array(b))) for a, b in pairs]
        if len(pairs) < _LEAST_PAIRS or np.median(apart) > _TOGETHER_M:
            continue
        for (a, b), metres in zip(pairs, apart, strict=True):
            if metres > photos.limit_m(a, np.array(b)):
                for row, other in ((a, b), (b, a)):
                    yield row, f"{metres:,.0f} m from {photos.name[other]}, taken then beside it"


def _groups(*columns: Sequence[str] | pd.Series[str]) -> Iterator[Rows]:
    """Yield the rows that agree in all columns, of which the first is not empty."""
    table = pd.DataFrame(dict(enumerate(columns)))
    named = table[table[0] != ""]
    for rows in named.groupby(list(named.columns)).indices.values():
        yield named.index.to_numpy()[rows]


def write_overrides(
    path: Path, found: Mapping[str, Sequence[str]], dataset: Dataset, base: Path | None = None
) -> None:
    """Write or extend an `overrides.csv` by a row for each suspect, to be filled in by hand.

    A row without a position and without a mark under `exclude` changes nothing. Rows that the
    file, or else `base`, has already stay as they are.
    """
    existing = next((file for file in (path, base) if file and file.exists()), None)
    rows = [dict(row) for row in read_table(existing, ["photo"])] if existing else []
    named = {row["photo"] for row in rows}
    positions = dataset.manifest.set_index("photo")[["lat_deg", "lon_deg"]]
    for photo, reasons in found.items():
        if photo not in named and photo in positions.index:
            lat, lon = (str(degrees) for degrees in positions.loc[photo])
            reason = "; ".join(reasons)
            rows.append({"photo": photo, "reason": reason, "now_lat": lat, "now_lon": lon})
    columns = dict.fromkeys([*COLUMNS, *(column for row in rows for column in row)])
    blank = dict.fromkeys(columns, "")
    write_csv(path, list(columns), [blank | row for row in rows])
