"""The density over the ground that some heads give: how likely a photo was taken where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from img2gps.core import geo

REACH = 4.0  # standard deviations around each Gaussian that a grid covers
NEGLIGIBLE = 1e-4  # share of all the Gaussians together that a grid need not cover
LEAST_WIDTH_M = 0.01  # of a Gaussian on a grid, whose cells must have a size
ROUNDING = 0.01  # of the sum of many shares, each of which `plain` rounds
CELLS = 192  # along the longer side of a grid

Floats = NDArray[np.float64]


class Grid(NamedTuple):
    """A density as the probability of square cells."""

    lat_deg: Floats  # (rows,), of the cells' middles, from north to south
    lon_deg: Floats  # (columns,), from west to east
    probability: Floats  # (rows, columns), of each cell
    cell_m: float  # side of a cell

    def least_within(self, share: float) -> float:
        """Return the least probability of a cell in the smallest region that holds this share."""
        falling = np.sort(self.probability, axis=None)[::-1]
        held = np.cumsum(falling)
        return float(falling[np.searchsorted(held, share * held[-1])])


@dataclass(frozen=True)
class Density:
    """Where a photo may have been taken: a mixture of round Gaussians on the ground.

    Attributes:
        shares: the probability of each Gaussian; they add up to one.
        lat_deg, lon_deg: the centre of each.
        width_m: the standard deviation of each in metres, the same in every direction.
    """

    shares: tuple[float, ...]
    lat_deg: tuple[float, ...]
    lon_deg: tuple[float, ...]
    width_m: tuple[float, ...]

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[float, float, float, float]]) -> Self | None:
        """Return the density of rows (share, latitude, longitude, width); None without rows."""
        columns = tuple(zip(*rows, strict=True))
        if not columns or not all(math.isfinite(value) for column in columns for value in column):
            return None
        return cls(*columns)

    def plain(self) -> dict[str, list[float]]:
        """Return plain values for files, rounded to a centimetre and a millionth of a share."""
        return {
            "shares": [round(share, 6) for share in self.shares],
            "lat_deg": [round(lat, 7) for lat in self.lat_deg],
            "lon_deg": [round(lon, 7) for lon in self.lon_deg],
            "width_m": [max(round(width, 2), 0.01) for width in self.width_m],  # 0 is no width
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read plain values.

        Raises:
            KeyError, TypeError, ValueError: they are no density.
        """
        columns = [[float(value) for value in plain[name]] for name in cls.__dataclass_fields__]
        shares, lat, lon, width = columns
        known = len(shares) == len(lat) == len(lon) == len(width) > 0
        if not known or not all(map(math.isfinite, (*shares, *lat, *lon, *width))):
            raise ValueError("a density needs as many finite shares as positions and widths")
        if min(shares) < 0 or min(width) <= 0:
            raise ValueError("shares and widths of a density must be positive")
        if abs(sum(shares) - 1) > ROUNDING:
            raise ValueError("the shares of a density must add up to one")
        return cls(tuple(shares), tuple(lat), tuple(lon), tuple(width))

    def log_density(self, lat_deg: ArrayLike, lon_deg: ArrayLike) -> Floats:
        """Return the natural log of the density per square metre at positions, which broadcast."""
        at = np.broadcast_arrays(lat_deg, lon_deg)
        east, north = geo.to_east_north_m(at[0], at[1], *self._origin)
        own_east, own_north = self._east_north_m()
        shares, width = np.array(self.shares), np.array(self.width_m)
        square = (east[..., None] - own_east) ** 2 + (north[..., None] - own_north) ** 2
        with np.errstate(divide="ignore"):  # a share of zero
            peaks = np.log(shares / (2 * math.pi * width**2))
        return np.asarray(np.logaddexp.reduce(peaks - square / (2 * width**2), axis=-1))

    def grid(self) -> Grid:
        """Return the density on a grid that covers all but a thousandth of it."""
        east, north = self._east_north_m()
        west, right = self._reach(east)
        south, top = self._reach(north)
        cell_m = max(right - west, top - south) / CELLS
        columns, rows = math.ceil((right - west) / cell_m), math.ceil((top - south) / cell_m)
        across = west + cell_m * np.arange(columns + 1, dtype=np.float64)
        down = top - cell_m * np.arange(rows + 1, dtype=np.float64)
        by_row = np.array(self.shares)[:, None] * -self._between(down, north)
        probability = by_row.T @ self._between(across, east)
        lat, _ = geo.from_east_north_m(0.0, (down[1:] + down[:-1]) / 2, *self._origin)
        _, lon = geo.from_east_north_m((across[1:] + across[:-1]) / 2, 0.0, *self._origin)
        return Grid(lat, lon, probability, cell_m)

    @property
    def _origin(self) -> tuple[float, float]:
        return self.lat_deg[0], self.lon_deg[0]

    def _east_north_m(self) -> tuple[Floats, Floats]:
        return geo.to_east_north_m(self.lat_deg, self.lon_deg, *self._origin)

    def _reach(self, at_m: Floats) -> tuple[float, float]:
        """Return the two ends of what a grid covers along one axis."""
        counted = self._counted()
        away = REACH * np.maximum(self.width_m, LEAST_WIDTH_M)[counted]
        return float((at_m[counted] - away).min()), float((at_m[counted] + away).max())

    def _counted(self) -> NDArray[np.bool_]:
        """Return which Gaussians a grid covers: all but the smallest, which are negligible."""
        shares = np.array(self.shares)
        rising = np.argsort(shares)
        counted = np.ones(len(shares), np.bool_)
        counted[rising[np.cumsum(shares[rising]) <= NEGLIGIBLE]] = False
        return counted

    def _between(self, edges_m: Floats, at_m: Floats) -> Floats:
        """Return the probability (k, n) of each Gaussian between one edge and the next."""
        away = (edges_m - at_m[:, None]) / (math.sqrt(2) * np.array(self.width_m)[:, None])
        return np.asarray(np.diff(_erf(away), axis=1) / 2)


# An exported page has no SciPy.
_erf = np.vectorize(math.erf, otypes=[np.float64])
