"""A map of answers as SVG: in metres east and north, with nothing to fetch."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from img2gps.core import geo
from img2gps.inference.density import Density
from img2gps.inference.output.files import in_words
from img2gps.inference.position import Position

WIDTH = 720  # px; the page scales it
_TALLEST, _FLATTEST = 1.2, 0.55  # height over width
_MARGIN = 0.12  # of the ground's width, on each side
_FEW = 3  # photos, beyond which circles would hide the map and show only under the pointer
_CROWDS = {" few": _FEW, " single": 1}  # classes of a map with so many answers at most
_FAR = 1.5  # ground widths from the middle; true positions beyond are mentioned, not drawn
_MOST_DENSITIES = 100  # photos, beyond which densities would make the page large
_HELD = ((0.9, 45), (0.5, 60))  # share of a density, and how opaque its region is, of 255
_TILE_PX = 256
TILES = "https://tile.openstreetmap.org/{z}/{x}/{y}.png"
_SHADE = (0, 114, 178)  # of densities, which must show on light and dark paper
CREDIT = "Map: OpenStreetMap contributors"

Degrees = NDArray[np.float64]


@dataclass(frozen=True)
class _Frame:
    """Degrees to pixels."""

    lat0: float
    lon0: float
    west: float  # metres
    north: float
    scale: float  # px a metre
    height: float

    def px(self, lat: float, lon: float) -> tuple[float, float]:
        east, north = geo.to_east_north_m(lat, lon, self.lat0, self.lon0)
        return (float(east) - self.west) * self.scale, (self.north - float(north)) * self.scale


def draw(positions: Sequence[Position], training: Degrees | None = None, *, tiles: bool) -> Markup:
    """Return the map as an SVG element; empty where no photo has an answer.

    Args:
        positions: the answers.
        training: latitude and longitude (n, 2) of the training photos, drawn as the ground.
        tiles: whether the page fetches OpenStreetMap's pictures when it is opened.
    """
    ground = np.empty((0, 2)) if training is None else training
    answered = [one for one in positions if one.lat_deg is not None and one.lon_deg is not None]
    if not answered:
        return Markup()
    frame = _frame(answered, ground)
    parts = [_tiles(frame)] if tiles else []
    parts += [_dot(frame, lat, lon) for lat, lon in ground.tolist()]
    shaded = len(answered) <= _MOST_DENSITIES
    parts += [_photo(frame, one, shaded=shaded) for one in answered]
    parts += [_scale_bar(frame), _north()]
    return Markup(
        '<svg class="map{few}" viewBox="0 0 {w} {h:.0f}" role="img" aria-label="{label}">'
        "{parts}</svg>"
    ).format(
        w=WIDTH,
        h=frame.height,
        few="".join(name for name, most in _CROWDS.items() if len(answered) <= most),
        label=f"Map of {len(answered)} answers",
        parts=Markup("\n").join(parts),
    )


def _frame(answered: Sequence[Position], ground: Degrees) -> _Frame:
    points = np.array([[one.lat_deg, one.lon_deg] for one in answered], dtype=np.float64)
    spanning = np.concatenate([points, ground])
    lat0, lon0 = geo.mean_position(spanning[:, 0], spanning[:, 1])
    east, north = geo.to_east_north_m(spanning[:, 0], spanning[:, 1], lat0, lon0)
    radius = max((one.radius_m or 0.0 for one in answered), default=0.0)
    span = max(float(np.ptp(east)), float(np.ptp(north)), radius, 20.0)
    true = [one for one in answered if _is_near(one, lat0, lon0, _FAR * span)]
    if true:
        at = [geo.to_east_north_m(o.true_lat_deg, o.true_lon_deg, lat0, lon0) for o in true]  # type: ignore[arg-type]  # near ones have both
        east = np.append(east, [float(e) for e, _ in at])
        north = np.append(north, [float(n) for _, n in at])
    if len(answered) <= _FEW:  # their circles are always shown, and whole
        own_east, own_north = geo.to_east_north_m(points[:, 0], points[:, 1], lat0, lon0)
        radii = np.array([one.radius_m or 0.0 for one in answered])
        east = np.concatenate([east, own_east - radii, own_east + radii])
        north = np.concatenate([north, own_north - radii, own_north + radii])
    pad = _MARGIN * span
    wide = max(float(np.ptp(east)), span / 2) + 2 * pad
    high = max(float(np.ptp(north)), span / 2) + 2 * pad
    high = min(max(high, _FLATTEST * wide), max(_TALLEST * wide, high))
    wide = max(wide, high / _TALLEST)
    scale = WIDTH / wide
    middle = (float(east.max() + east.min()) / 2, float(north.max() + north.min()) / 2)
    return _Frame(lat0, lon0, middle[0] - wide / 2, middle[1] + high / 2, scale, high * scale)


def _is_near(one: Position, lat0: float, lon0: float, far_m: float) -> bool:
    if one.true_lat_deg is None or one.true_lon_deg is None:
        return False
    return float(geo.distance_m(one.true_lat_deg, one.true_lon_deg, lat0, lon0)) <= far_m


def _dot(frame: _Frame, lat: float, lon: float) -> Markup:
    x, y = frame.px(lat, lon)
    return Markup('<circle class="ground" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(x, y)


def _photo(frame: _Frame, one: Position, *, shaded: bool) -> Markup:
    trusted = one.from_here is not False  # elsewhere the density means nothing
    density = _density(frame, one.density) if shaded and trusted and one.density else Markup()
    parts = (
        density,
        _circle(frame, one),
        *_alike(frame, one),
        _truth(frame, one),
        _answer(frame, one),
    )
    return Markup("<g>{}</g>").format(Markup().join(parts))


def _circle(frame: _Frame, one: Position) -> Markup:
    if one.radius_m is None:
        return Markup()
    x, y = frame.px(one.lat_deg or 0, one.lon_deg or 0)
    strange = " strange" if one.from_here is False else ""
    return Markup('<circle class="radius{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
        strange, x, y, one.radius_m * frame.scale
    )


def _density(frame: _Frame, density: Density) -> Markup:
    """Return the smallest regions that hold 90 % and 50 % of a density, as shades."""
    grid = density.grid()
    opaque = sum(more * (grid.probability >= grid.least_within(share)) for share, more in _HELD)
    rows, columns = grid.probability.shape
    picture = np.empty((rows, columns, 4), np.uint8)
    picture[..., :3], picture[..., 3] = _SHADE, opaque
    left, top = frame.px(float(grid.lat_deg[0]), float(grid.lon_deg[0]))
    side = grid.cell_m * frame.scale
    return Markup(
        '<image class="density" href="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" '
        'preserveAspectRatio="none"/>'
    ).format(_png(picture), left - side / 2, top - side / 2, columns * side, rows * side)


def _png(pixels: NDArray[np.uint8]) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def _alike(frame: _Frame, one: Position) -> list[Markup]:
    """Return a ring where each of the most similar training photos was taken."""
    ring = Markup('<circle class="alike" cx="{:.1f}" cy="{:.1f}" r="6"><title>{}</title></circle>')
    return [
        ring.format(*frame.px(photo.lat_deg, photo.lon_deg), f"looks like {one.photo}")
        for photo in one.neighbours
    ]


def _truth(frame: _Frame, one: Position) -> Markup:
    if one.true_lat_deg is None or one.true_lon_deg is None:
        return Markup()
    x, y = frame.px(one.lat_deg or 0, one.lon_deg or 0)
    to_x, to_y = frame.px(one.true_lat_deg, one.true_lon_deg)
    if not (0 <= to_x <= WIDTH and 0 <= to_y <= frame.height):
        return Markup()
    return Markup(
        '<path class="error" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'
        '<circle class="truth" cx="{:.1f}" cy="{:.1f}" r="5"><title>{}</title></circle>'
    ).format(x, y, to_x, to_y, to_x, to_y, f"{one.photo}: position in the photo")


def _answer(frame: _Frame, one: Position) -> Markup:
    x, y = frame.px(one.lat_deg or 0, one.lon_deg or 0)
    kind = "answer strange" if one.from_here is False else "answer"
    title = f"{one.photo}: {one.lat_deg:.6f}, {one.lon_deg:.6f}; {in_words(one)}"
    return Markup(
        '<path class="{}" d="M{:.1f} {:.1f}l-7 -15a7.6 7.6 0 1 1 14 0z"><title>{}</title></path>'
    ).format(kind, x, y, title)


def _scale_bar(frame: _Frame) -> Markup:
    wanted = WIDTH / frame.scale / 4
    power = 10 ** math.floor(math.log10(wanted))
    metres = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    y = frame.height - 14
    return Markup(
        '<path class="rule" d="M14 {y:.1f}v-5m0 5h{w:.1f}v-5"/>'
        '<text x="{x:.1f}" y="{ty:.1f}">{label}</text>'
    ).format(y=y, w=metres * frame.scale, x=metres * frame.scale + 20, ty=y, label=f"{metres:g} m")


def _north() -> Markup:
    at = WIDTH - 24
    return Markup(
        '<path class="rule" d="M{x} 34v-20l-4 8m4 -8l4 8"/><text x="{t}" y="48">N</text>'
    ).format(x=at, t=at - 5)


def _tiles(frame: _Frame) -> Markup:
    """Return OpenStreetMap's pictures, which the reader's browser fetches."""
    metres_a_px = 1 / frame.scale
    equator = 2 * math.pi * geo.EARTH_RADIUS_M * math.cos(math.radians(frame.lat0))
    zoom = min(19, max(1, round(math.log2(equator / (_TILE_PX * metres_a_px)))))
    east, south = frame.west + WIDTH / frame.scale, frame.north - frame.height / frame.scale
    lat1, lon1 = geo.from_east_north_m(frame.west, frame.north, frame.lat0, frame.lon0)
    lat2, lon2 = geo.from_east_north_m(east, south, frame.lat0, frame.lon0)
    x1, y1 = _tile(float(lat1), float(lon1), zoom)
    x2, y2 = _tile(float(lat2), float(lon2), zoom)
    parts = []
    for column in range(math.floor(x1), math.floor(x2) + 1):
        for row in range(math.floor(y1), math.floor(y2) + 1):
            left, top = frame.px(*_corner(column, row, zoom))
            right, bottom = frame.px(*_corner(column + 1, row + 1, zoom))
            parts.append(
                Markup(
                    '<image href="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
                ).format(
                    TILES.format(z=zoom, x=column, y=row), left, top, right - left, bottom - top
                )
            )
    parts.append(
        Markup('<text class="credit" x="{}" y="{:.0f}">{}</text>').format(
            WIDTH - 220, frame.height - 6, escape(CREDIT)
        )
    )
    return Markup().join(parts)


def _tile(lat: float, lon: float, zoom: int) -> tuple[float, float]:
    """Return the fractional tile of a position (Web Mercator)."""
    n = 2.0**zoom
    y = math.log(math.tan(math.pi / 4 + math.radians(lat) / 2))
    return (lon + 180) / 360 * n, (1 - y / math.pi) / 2 * n


def _corner(column: int, row: int, zoom: int) -> tuple[float, float]:
    """Return latitude and longitude of a tile's north-west corner."""
    n = 2.0**zoom
    lat = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / n))))
    return lat, column / n * 360 - 180
