"""Photos as a split sees them: positions, copies, sessions and blocks of ground."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from img2gps.core import geo
from img2gps.photos.picking import Mask, Rows
from img2gps.photos.spots import points_m
from img2gps.photos.spread import Layout

Metres = NDArray[np.float64]


class PlacedPhotos:
    """What a split knows of the photos of a manifest, each a row of it."""

    def __init__(self, manifest: pd.DataFrame, near_copies: bool = False) -> None:
        self.n = len(manifest)
        self.lat = manifest["lat_deg"].to_numpy(np.float64)
        self.lon = manifest["lon_deg"].to_numpy(np.float64)
        self.gps_error_m = manifest["gps_error_m"].to_numpy(np.float64)
        self.content = _names(manifest, near_copies)
        self.session = manifest["session"].fillna("").astype(str).to_numpy(object)
        self.points = points_m(self.lat, self.lon)

    def nearest_m(self, rows: Rows, others: Rows) -> Metres:
        """Return great-circle metres from each row to the nearest of the others."""
        _, nearest = cKDTree(self.points[others]).query(self.points[rows])
        found = others[nearest]
        return geo.distance_m(self.lat[rows], self.lon[rows], self.lat[found], self.lon[found])

    def near(self, part: Mask, metres: float) -> Mask:
        """Return the photos within so many metres of a part, including its own."""
        if not part.any():
            return part
        return self.nearest_m(np.arange(self.n), np.flatnonzero(part)) <= metres

    def copies_of(self, part: Mask) -> Mask:
        """Return the photos that are copies of a photo of a part, including its own."""
        return self.content.isin(self.content[part]).to_numpy()

    def layout(self) -> Layout:
        """Return where the photos are, for comparing parts by it."""
        return Layout.of(*self.east_north_m())

    def east_north_m(self) -> tuple[Metres, Metres]:
        """Return metres east and north of the mean position."""
        middle = geo.mean_position(self.lat, self.lon)
        return geo.to_east_north_m(self.lat, self.lon, *middle)

    def blocks(self, side_m: float, seed: int) -> NDArray[np.object_]:
        """Return the name of each photo's block in a grid over the globe that the seed shifts.

        The grid does not depend on these photos, so adding photos moves no border. Rows are
        bands of latitude, each divided at the length of its own parallel.
        """
        shift = np.random.default_rng([seed, 0x6219]).random(2)
        metres = np.radians(self.lat) * geo.EARTH_RADIUS_M
        row = np.floor(metres / side_m + shift[0])
        parallel = np.cos((row + 0.5 - shift[0]) * side_m / geo.EARTH_RADIUS_M)
        east = np.radians(self.lon) * geo.EARTH_RADIUS_M * parallel
        column = np.floor(east / side_m + shift[1])
        names = [f"{r:.0f} {c:.0f}" for r, c in zip(row, column, strict=True)]
        return np.array(names, dtype=object)


def _names(manifest: pd.DataFrame, near_copies: bool) -> pd.Series[str]:
    """Return a name for each photo that its copies share and that every image size has.

    That is the digest of the original file; of files with the same pixels, or of near copies, the
    first digest.
    """
    content = manifest["content"].astype(str).reset_index(drop=True)
    if "original" not in manifest:
        return content
    names = manifest["original"].astype(str).reset_index(drop=True)
    names = names.groupby(content).transform("min")
    if near_copies:
        group = manifest["group"].astype(str).reset_index(drop=True)
        names = names.where(group == "", names.groupby(group).transform("min"))
    return names
