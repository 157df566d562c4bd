"""Positions on the ground: distances, local metres east and north, and the scaling of labels.

Pure functions of arrays: degrees (WGS 84) in, metres out, unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_M = 6_371_008.8  # IUGG mean radius R1 (Moritz 2000, Geodetic Reference System 1980)

Floats = NDArray[np.float64]


def distance_m(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> Floats:
    """Return the great-circle distance in metres (haversine formula); arguments broadcast.

    It is computed on a sphere of the mean radius and within 0.6 % of the ellipsoid's geodesic.

    >>> float(distance_m(0.0, 0.0, 0.0, 1.0).round())
    111195.0
    """
    phi1, phi2 = np.radians(lat1), np.radians(lat2)
    half_dlat = (phi2 - phi1) / 2
    half_dlon = (np.radians(lon2) - np.radians(lon1)) / 2
    a = np.sin(half_dlat) ** 2 + np.cos(phi1) * np.cos(phi2) * np.sin(half_dlon) ** 2
    return np.asarray(2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.clip(a, 0.0, 1.0))))


def wrap_lon_deg(lon: ArrayLike) -> Floats:
    """Return the longitude within [-180, 180)."""
    wrapped = (np.asarray(lon, dtype=np.float64) + 180.0) % 360.0 - 180.0
    # Slightly below -180 rounds up to 180, which is -180.
    return np.asarray(np.where(wrapped >= 180.0, -180.0, wrapped))


def to_east_north_m(
    lat: ArrayLike, lon: ArrayLike, lat0: float, lon0: float
) -> tuple[Floats, Floats]:
    """Return metres east and north of (lat0, lon0) on the local tangent plane (equirectangular).

    The error is a centimetre over a campus, and some 1 % at 50 km in middle latitudes. Positions
    may lie on both sides of the antimeridian.
    """
    north = np.radians(np.asarray(lat, dtype=np.float64) - lat0) * EARTH_RADIUS_M
    dlon = wrap_lon_deg(np.asarray(lon, dtype=np.float64) - lon0)
    east = np.radians(dlon) * EARTH_RADIUS_M * np.cos(np.radians(lat0))
    return np.asarray(east), np.asarray(north)


def from_east_north_m(
    east: ArrayLike, north: ArrayLike, lat0: float, lon0: float
) -> tuple[Floats, Floats]:
    """Return latitude and longitude in degrees; the inverse of `to_east_north_m`."""
    lat = lat0 + np.degrees(np.asarray(north, dtype=np.float64) / EARTH_RADIUS_M)
    scale = EARTH_RADIUS_M * np.cos(np.radians(lat0))
    lon = lon0 + np.degrees(np.asarray(east, dtype=np.float64) / scale)
    return np.asarray(lat), wrap_lon_deg(lon)


def mean_position(lat: ArrayLike, lon: ArrayLike) -> tuple[float, float]:
    """Return the mean latitude and longitude in degrees, also across the antimeridian."""
    lats, lons = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    lon0 = float(lons[0])
    mean_lon = wrap_lon_deg(lon0 + wrap_lon_deg(lons - lon0).mean())
    return float(lats.mean()), float(mean_lon)


def median_position(lat: ArrayLike, lon: ArrayLike) -> tuple[float, float]:
    """Return the median latitude and longitude in degrees, also across the antimeridian."""
    lons = np.asarray(lon, dtype=np.float64)
    median_lon = wrap_lon_deg(lons[0] + np.median(wrap_lon_deg(lons - lons[0])))
    return float(np.median(np.asarray(lat))), float(median_lon)


def rmse_m(lat: ArrayLike, lon: ArrayLike, pred_lat: ArrayLike, pred_lon: ArrayLike) -> float:
    """Return the root mean squared great-circle error in metres."""
    return float(np.sqrt(np.mean(distance_m(lat, lon, pred_lat, pred_lon) ** 2)))


@dataclass(frozen=True)
class LabelScaler:
    """Scales degrees to targets of zero mean and unit variance and back, each axis by itself.

    It is fitted on the training part only and stored in the checkpoint.
    """

    lat_mean: float
    lat_std: float
    lon_mean: float
    lon_std: float

    @classmethod
    def fit(cls, lat: ArrayLike, lon: ArrayLike) -> LabelScaler:
        """Take the mean and the standard deviation of the labels, the latter at least one metre.

        Without that floor rounding would become the scale of an axis without spread.
        """
        lats, lons = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
        lat_mean, lon_mean = mean_position(lats, lons)
        metre_deg = float(np.degrees(1.0 / EARTH_RADIUS_M))
        lat_std, lon_std = float(lats.std()), float(wrap_lon_deg(lons - lon_mean).std())
        return cls(lat_mean, max(lat_std, metre_deg), lon_mean, max(lon_std, metre_deg))

    def scale(self, lat: ArrayLike, lon: ArrayLike) -> Floats:
        """Return targets of shape (n, 2): latitude, longitude."""
        y = (np.asarray(lat, dtype=np.float64) - self.lat_mean) / self.lat_std
        dlon = wrap_lon_deg(np.asarray(lon, dtype=np.float64) - self.lon_mean)
        return np.stack([y, dlon / self.lon_std], axis=-1)

    def unit_m(self) -> Floats:
        """Return the metres north and east that one unit of each target stands for."""
        metres = np.radians([self.lat_std, self.lon_std]) * EARTH_RADIUS_M
        return np.asarray(metres * [1.0, np.cos(np.radians(self.lat_mean))])

    def unscale(self, targets: ArrayLike) -> tuple[Floats, Floats]:
        """Return latitude and longitude in degrees from targets of shape (n, 2)."""
        t = np.asarray(targets, dtype=np.float64)
        lat = np.clip(t[..., 0] * self.lat_std + self.lat_mean, -90.0, 90.0)
        return lat, wrap_lon_deg(t[..., 1] * self.lon_std + self.lon_mean)
