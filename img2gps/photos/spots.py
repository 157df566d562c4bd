"""Spots: places where photos were taken, no finer than the error of their labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from img2gps.core import geo

FEW_SPOTS = 30  # of validation photos; intervals from fewer are called unreliable
MIN_SPOT_M = 10.0  # two phones' positions of one place differ by this much under open sky


def spot_radius_m(gps_error_m: ArrayLike) -> float:
    """Return the distance below which two labels may be of one place, in metres.

    That is the median stated error, and at least 10 m.
    """
    return max(MIN_SPOT_M, median_error_m(gps_error_m) or 0.0)


def median_error_m(gps_error_m: ArrayLike) -> float | None:
    """Return the median of the stated errors; None if no photo states one."""
    errors = np.asarray(gps_error_m, dtype=np.float64)
    stated = errors[np.isfinite(errors) & (errors > 0)]
    return float(np.median(stated)) if stated.size else None


def spots(lat: ArrayLike, lon: ArrayLike, gps_error_m: ArrayLike) -> NDArray[np.int64]:
    """Return the spot of each photo, numbered from the south: the unit that intervals resample.

    This is greedy leader clustering. Photos become leaders in the order of how many others stand
    within `spot_radius_m` of them, unless a leader already does; then each photo joins the nearest
    leader. So leaders are further apart than the labels' error, no photo is further than that
    from its leader, and chains do not grow, as they would with single linkage. The order of
    the photos does not change the result, and photos elsewhere do so only by the radius, which is
    the median of all stated errors. Takes n log n for spread-out photos.
    """
    lats, lons = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    if lats.size == 0:
        return np.empty(0, dtype=np.int64)
    radius_m = spot_radius_m(gps_error_m)
    points = points_m(lats, lons)
    tree = cKDTree(points)
    crowd = tree.query_ball_point(points, radius_m, return_length=True)
    free = np.ones(len(points), dtype=bool)
    leaders = []
    for row in np.lexsort((lons, lats, -np.asarray(crowd))):
        if free[row]:
            leaders.append(row)
            free[tree.query_ball_point(points[row], radius_m)] = False
    leading = np.array(leaders)
    leading = leading[np.lexsort((lons[leading], lats[leading]))]
    _, spot = cKDTree(points[leading]).query(points)
    return np.asarray(spot, dtype=np.int64)


def extent_m(lat: ArrayLike, lon: ArrayLike) -> float:
    """Return the largest distance between two of these positions, in metres.

    Only the outermost positions in 180 directions are compared, because all pairs of many photos
    do not fit into memory. That is exact to 0.02 %.
    """
    lats, lons = np.unique(np.stack([lat, lon], axis=-1), axis=0).T
    east, north = geo.to_east_north_m(lats, lons, *geo.mean_position(lats, lons))
    angles = np.radians(np.arange(180))
    along = np.outer(east, np.cos(angles)) + np.outer(north, np.sin(angles))
    rim = np.unique([along.argmin(axis=0), along.argmax(axis=0)])
    lats, lons = lats[rim], lons[rim]
    return float(geo.distance_m(lats[:, None], lons[:, None], lats[None], lons[None]).max())


def points_m(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (n, 3) on the sphere in metres: straight lines rank as great circles do."""
    phi, lam = np.radians(lat), np.radians(lon)
    unit = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
    return np.asarray(geo.EARTH_RADIUS_M * unit)
