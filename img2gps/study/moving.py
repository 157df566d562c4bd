"""Moving all positions of a study to 0 N, 0 E, so that they do not say where the photos were taken.

A study can link runs that were published with moved positions before. Runs with other positions are
put in the same frame by the photos that both have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.files import read_csv
from img2gps.runs.folder import PREDICTIONS

POSITIONS = ("", "pred_", "true_")  # what stands before lat_deg and lon_deg
PRIVATE = ("photo", "taken_at")

LatLon = tuple[float, float]  # degrees
Labels = dict[str, LatLon]  # of each photo, by its content


@dataclass(frozen=True)
class Shift:
    """Where the positions of a frame go: `origin` to `target`, all others by the same metres."""

    origin: LatLon
    target: LatLon = (0.0, 0.0)

    def position(self, position: LatLon) -> LatLon:
        """Return where a position goes."""
        east, north = geo.to_east_north_m(*position, *self.origin)
        lat, lon = geo.from_east_north_m(east, north, *self.target)
        return float(lat), float(lon)

    def row(self, row: Mapping[str, str]) -> dict[str, Any]:
        """Return a row of predictions in its new place, without the photo's name and time."""
        out: dict[str, Any] = {**row, **dict.fromkeys(PRIVATE, "")}
        out["photo"] = row["content"][:12]
        for prefix in POSITIONS:
            lat, lon = f"{prefix}lat_deg", f"{prefix}lon_deg"
            if row[lat]:
                out[lat], out[lon] = self.position((float(row[lat]), float(row[lon])))
        return out


def shifts(frames: Mapping[Path, Sequence[Path]], published: Sequence[Path]) -> dict[Path, Shift]:
    """Return how the positions of each frame move.

    Args:
        frames: folders of runs, by what they have in common: positions that no move sets apart.
        published: folders of runs that stay as they are. Where there are none, the middle of the
            first frame's photos goes to 0 N, 0 E.

    Raises:
        BadInput: no run has predictions, or a frame has no photo in common with those before it.
    """
    placed, found = _labels(published), dict[Path, Shift]()
    for frame, folders in frames.items():
        labels = _labels(folders)
        if not labels:
            continue
        common = sorted(labels.keys() & placed.keys())
        if placed and not common:
            raise BadInput(
                f"{frame}: its runs were validated on none of the photos of the other runs, so "
                "their positions cannot be moved alike; train again with runs.results=null, which "
                "links no published run"
            )
        found[frame] = (
            Shift(_middle(labels, common), _middle(placed, common))
            if placed
            else Shift(_middle(labels, sorted(labels)))
        )
        placed = {key: found[frame].position(value) for key, value in labels.items()} | placed
    if not placed:
        raise BadInput(
            f"no run has {PREDICTIONS}, so there are no positions to move; finish a run first"
        )
    return found


def _labels(folders: Sequence[Path]) -> Labels:
    return {
        row["content"]: (float(row["lat_deg"]), float(row["lon_deg"]))
        for folder in folders
        if (folder / PREDICTIONS).is_file()
        for row in read_csv(folder / PREDICTIONS)[1]
    }


def _middle(labels: Labels, photos: Sequence[str]) -> LatLon:
    return geo.mean_position(*np.array([labels[photo] for photo in photos]).T)
