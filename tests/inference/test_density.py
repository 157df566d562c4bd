"""The density over the ground: its numbers, its grid, and its way through files and maps."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy import stats
from starlette.testclient import TestClient

from img2gps.core import geo
from img2gps.inference.app.server import create
from img2gps.inference.density import Density
from img2gps.inference.output import files, maps
from img2gps.inference.position import Position
from tests.inference.test_app import Fixed

TWO = Density((0.7, 0.3), (39.9515, 39.9525), (-75.1913, -75.1905), (12.0, 4.0))
ONE = Density((1.0,), (39.9515,), (-75.1913,), (10.0,))
ANTIMERIDIAN = Density((0.5, 0.5), (-17.0, -17.0), (179.9999, -179.9999), (5.0, 5.0))
MANY = Density(*(tuple(np.repeat(one, 12_000)) for one in (1 / 12_000, 39.9515, -75.1913, 10.0)))
NARROW = Density((1e-5, 1 - 1e-5), (39.9515, 39.9525), (-75.1913, -75.1905), (12.0, 1e-20))
PHOTO = Position("a.jpg", 39.9517, -75.1911, 80.0, density=TWO)


def test_log_density_is_scipys() -> None:
    lat, lon = np.array([39.9515, 39.9520, 39.9530]), np.array([-75.1913, -75.1909, -75.1900])
    found = TWO.log_density(lat, lon)
    at = np.stack(geo.to_east_north_m(lat, lon, 39.9515, -75.1913), axis=1)
    expected = np.zeros(3)
    gaussians = zip(TWO.shares, TWO.lat_deg, TWO.lon_deg, TWO.width_m, strict=True)
    for share, own_lat, own_lon, width in gaussians:
        mean = np.array(geo.to_east_north_m(own_lat, own_lon, 39.9515, -75.1913))
        expected += share * stats.multivariate_normal(mean, width**2).pdf(at)
    assert np.exp(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("density", [ONE, TWO, ANTIMERIDIAN])
def test_it_integrates_to_one(density: Density) -> None:
    grid = density.grid()
    assert grid.probability.sum() == pytest.approx(1, abs=1e-3)
    per_m2 = np.exp(density.log_density(grid.lat_deg[:, None], grid.lon_deg))
    assert per_m2.sum() * grid.cell_m**2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("density", [MANY, NARROW])
def test_grid_covers_many_small_shares_and_a_gaussian_narrower_than_any_cell(
    density: Density,
) -> None:
    assert density.grid().probability.sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_smallest_region_of_a_round_gaussian_is_a_circle_of_known_size(share: float) -> None:
    grid = ONE.grid()
    area_m2 = np.count_nonzero(grid.probability >= grid.least_within(share)) * grid.cell_m**2
    radius_m = 10.0 * math.sqrt(stats.chi2(2).ppf(share))
    assert area_m2 == pytest.approx(math.pi * radius_m**2, rel=0.02)


def test_rows_without_numbers_give_no_density() -> None:
    assert Density.from_rows([]) is None
    assert Density.from_rows([(math.nan, 39.0, -75.0, 5.0)]) is None
    assert Density.from_rows([(1.0, 39.9515, -75.1913, 10.0)]) == ONE


@pytest.mark.parametrize("ending", ["json", "geojson"])
def test_json_and_geojson_keep_it(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    files.write_positions(path, [PHOTO, Position("b.jpg", 39.9, -75.1)], synthetic=False)
    found = json.loads(path.read_text())
    with_it, without = (
        (one["properties"] for one in found["features"]) if ending == "geojson" else found
    )
    assert Density.from_plain(with_it["density"]) == TWO
    assert "density" not in without


def test_map_shades_the_region_that_it_covers() -> None:
    svg = ET.fromstring(str(maps.draw([PHOTO], None, tiles=False)))  # noqa: S314 - ours
    (shade,) = svg.iter("image")
    assert shade.get("href", "").startswith("data:image/png;base64,")
    (radius,) = svg.iter("circle")
    px_a_metre = float(radius.get("r", "")) / 80.0
    north_m = (39.9525 - 39.9515) * math.radians(1) * geo.EARTH_RADIUS_M
    covered_m = north_m + 4 * 12.0 + 4 * 4.0  # four standard deviations on each side
    assert float(shade.get("height", "")) / px_a_metre == pytest.approx(covered_m, rel=0.03)


def test_map_shades_nothing_for_a_photo_from_elsewhere() -> None:
    assert "density" not in maps.draw([replace(PHOTO, from_here=False)], None, tiles=False)


def test_maps_of_many_photos_leave_densities_out() -> None:
    svg = str(maps.draw([PHOTO] * 101, None, tiles=False))
    assert svg.count('class="answer"') == 101
    assert "density" not in svg


def sent(**changes: Any) -> str:
    one = {"photo": "a.jpg", "lat_deg": 39.9517, "lon_deg": -75.1911, "radius_m": 80.0}
    return json.dumps([{**one, "density": {**TWO.plain(), **changes}}])


def test_page_draws_the_density_of_answers_that_it_sends_back() -> None:
    with TestClient(create(Fixed()), base_url="http://127.0.0.1") as client:
        found = client.post("/page/map", content=sent())
    assert found.status_code == 200
    assert len(re.findall('class="density"', found.text)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"shares": [0.7]},
        {"shares": []},
        {"shares": [-1.0, 2.0]},
        {"shares": [0.0, 0.0]},
        {"shares": [1e-5, 1e-5]},
        {"width_m": [0.0, 1.0]},
        {"width_m": [math.inf, 1.0]},
        {"width_m": [1e300, 1.0]},
        {"lat_deg": ["<b>", 1.0]},
        {"lon_deg": None},
        {"lon_deg": {"a": 1}},
    ],
)
def test_density_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with TestClient(create(Fixed()), base_url="http://127.0.0.1") as client:
        found = client.post("/page/map", content=sent(**changes))
    assert (found.status_code, found.json()) == (400, {"error": "not a list of answers"})


def test_a_gaussian_narrower_than_its_rounding_is_read_again() -> None:
    stored = replace(TWO, width_m=(0.001, 1.0)).plain()
    assert Density.from_plain(stored).width_m == (0.01, 1.0)
