from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from img2gps.core import geo

LAT0, LON0 = 39.9515, -75.1914  # the study's quad
SPHERE = pyproj.Geod(a=geo.EARTH_RADIUS_M, b=geo.EARTH_RADIUS_M)
ELLIPSOID = pyproj.Geod(ellps="WGS84")

lats = st.floats(-90, 90)
lons = st.floats(-180, 180)


def pyproj_m(geod: pyproj.Geod, lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    return float(geod.inv(lon1, lat1, lon2, lat2)[2])


@given(lats, lons, lats, lons)
def test_distance_is_the_great_circle_of_the_mean_sphere(
    lat1: float, lon1: float, lat2: float, lon2: float
) -> None:
    expected = pyproj_m(SPHERE, lat1, lon1, lat2, lon2)
    # near antipodes arcsin loses half of the digits
    tolerance_m = 1e-5 if expected < 2e7 else 0.2
    assert geo.distance_m(lat1, lon1, lat2, lon2) == pytest.approx(
        expected, rel=1e-9, abs=tolerance_m
    )


@given(lats, lons, lats, lons)
def test_distance_stays_near_the_ellipsoids_geodesic(
    lat1: float, lon1: float, lat2: float, lon2: float
) -> None:
    expected = pyproj_m(ELLIPSOID, lat1, lon1, lat2, lon2)
    assume(expected > 1)
    assert geo.distance_m(lat1, lon1, lat2, lon2) == pytest.approx(expected, rel=0.006)


def test_distance_between_places_with_a_known_one() -> None:
    # Paris to London, 343.5 km (great circle); one degree of the equator is R * pi / 180
    assert geo.distance_m(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343_556, rel=1e-3)
    assert geo.distance_m(0, 0, 0, 1) == pytest.approx(geo.EARTH_RADIUS_M * np.pi / 180)


@given(lats, lons, lats, lons)
def test_distance_is_symmetric_and_zero_on_the_spot(
    lat1: float, lon1: float, lat2: float, lon2: float
) -> None:
    there, back = geo.distance_m(lat1, lon1, lat2, lon2), geo.distance_m(lat2, lon2, lat1, lon1)
    assert there == pytest.approx(float(back), abs=1e-6)
    assert geo.distance_m(lat1, lon1, lat1, lon1) == 0


def test_distance_broadcasts_arrays() -> None:
    table = geo.distance_m(np.zeros((2, 1)), 0.0, 0.0, np.array([0.0, 1.0, 2.0]))
    assert table.shape == (2, 3)
    assert table[0] == pytest.approx(np.arange(3) * geo.EARTH_RADIUS_M * np.pi / 180)


def test_distance_across_the_date_line_is_short() -> None:
    assert geo.distance_m(0, 179.9995, 0, -179.9995) == pytest.approx(111.195, abs=1e-3)


@given(st.floats(-1e6, 1e6))
def test_wrapped_longitude_is_the_same_meridian_in_range(lon: float) -> None:
    wrapped = float(geo.wrap_lon_deg(lon))
    assert -180 <= wrapped < 180
    turns = (wrapped - lon) / 360
    assert turns == pytest.approx(round(turns), abs=1e-9)


def test_wrapping_a_hair_below_minus_180_stays_in_range() -> None:
    assert geo.wrap_lon_deg(np.nextafter(-180.0, -181.0)) == pytest.approx(-180.0)
    assert geo.wrap_lon_deg(180.0) == -180.0


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(-80, 80), st.floats(-179.999, 179.999))
def test_east_north_round_trip(east: float, north: float, lat0: float, lon0: float) -> None:
    lat, lon = geo.from_east_north_m(east, north, lat0, lon0)
    back = geo.to_east_north_m(lat, lon, lat0, lon0)
    assert np.allclose(back, (east, north), atol=1e-6)


@given(st.floats(-200, 200), st.floats(-200, 200))
def test_east_north_agrees_with_an_azimuthal_projection_over_a_campus(
    east: float, north: float
) -> None:
    to_degrees = pyproj.Proj(
        proj="aeqd", lat_0=LAT0, lon_0=LON0, a=geo.EARTH_RADIUS_M, b=geo.EARTH_RADIUS_M
    )
    lon, lat = to_degrees(east, north, inverse=True)
    assert np.allclose(geo.to_east_north_m(lat, lon, LAT0, LON0), (east, north), atol=0.01)


def test_east_is_positive_to_the_east_and_north_to_the_north() -> None:
    east, north = geo.to_east_north_m(LAT0 + 0.001, LON0 + 0.001, LAT0, LON0)
    assert north == pytest.approx(111.195, abs=1e-3)
    assert east == pytest.approx(111.195 * np.cos(np.radians(LAT0)), abs=1e-3)


def test_mean_position_is_the_mean_of_each_coordinate() -> None:
    assert geo.mean_position([1.0, 2.0, 6.0], [10.0, 11.0, 15.0]) == pytest.approx((3.0, 12.0))


def test_median_position_is_the_median_of_each_coordinate_also_across_the_date_line() -> None:
    assert geo.median_position([1, 2, 6], [10, 11, 15]) == pytest.approx((2, 11))
    lons = [179.9, -179.9, 179.8, -179.7, -179.6]
    assert geo.median_position([0] * 5, lons) == pytest.approx((0, -179.9))


def test_mean_position_across_the_date_line_lies_on_it() -> None:
    lat, lon = geo.mean_position([0.0, 0.0], [179.0, -179.0])
    assert lat == 0
    assert abs(lon) == pytest.approx(180.0)


def test_rmse_by_hand() -> None:
    # errors of 1 and 7 degrees of the equator: sqrt((1 + 49) / 2) = 5
    degree = geo.EARTH_RADIUS_M * np.pi / 180
    assert geo.rmse_m([0, 0], [0, 0], [0, 0], [1, 7]) == pytest.approx(5 * degree)


@given(st.integers(0, 2**32 - 1), st.floats(-80, 80), st.floats(-180, 179.999))
def test_label_scaling_round_trip_and_unit_variance(seed: int, lat0: float, lon0: float) -> None:
    rng = np.random.default_rng(seed)
    lat, lon = geo.from_east_north_m(rng.normal(0, 80, 50), rng.normal(0, 80, 50), lat0, lon0)
    scaler = geo.LabelScaler.fit(lat, lon)
    targets = scaler.scale(lat, lon)
    assert targets.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert targets.std(axis=0) == pytest.approx([1, 1], rel=1e-6)
    assert geo.distance_m(lat, lon, *scaler.unscale(targets)).max() < 1e-6


def test_label_scaling_of_an_axis_without_spread_uses_a_metre() -> None:
    lat = np.full(7, 39.9517)  # whose mean rounds: the spread is 7e-15, not 0
    scaler = geo.LabelScaler.fit(lat, np.linspace(-75.2, -75.1, 7))
    metre_off = scaler.unscale([1.0, 0.0])
    assert metre_off[0] - lat[0] == pytest.approx(np.degrees(1 / geo.EARTH_RADIUS_M))


def test_unscaled_positions_are_on_the_globe() -> None:
    scaler = geo.LabelScaler(89.0, 1.0, 179.0, 1.0)
    lat, lon = scaler.unscale([[5.0, 5.0]])
    assert lat == pytest.approx([90.0])
    assert lon == pytest.approx([-176.0])
