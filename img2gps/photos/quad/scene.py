"""The fixed campus: buildings, ground, trees and landmarks, in metres east and north.

The scene never depends on a seed: the same ground stands for every data set of one version, so
that places are what photos share. Its origin is the south-west corner of the study's box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from img2gps.core import geo
from img2gps.photos.quad import textures
from img2gps.photos.quad.textures import Facade, Pyramid

SOUTH_DEG, NORTH_DEG = 39.9504, 39.9527  # Spruce Street .. Walnut Street
WEST_DEG, EAST_DEG = -75.1926, -75.1901  # 34th Street .. 33rd Street
_EXTENT = geo.to_east_north_m(NORTH_DEG, EAST_DEG, SOUTH_DEG, WEST_DEG)
WIDTH_M, DEPTH_M = float(_EXTENT[0]), float(_EXTENT[1])  # about 213 m x 256 m
MARGIN_M = 60.0  # ground drawn beyond the box
GROUND_PX_PER_M = 6
TINT, GROUND_TINT = 0.5, 0.28  # how much of a colour its quarter decides: walls, ground
N_BUILDINGS = 19  # inside the box; the facades after these stand across the streets
N_SPOTS = 100  # standing points of the main part, and as many that only `test_new` uses

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """One extruded rectangle: centre, size along and across, rotation, from `base` to `top`."""

    east: float
    north: float
    along: float
    across: float
    angle_deg: float
    top: float
    facade: Facade
    base: float = 0.0

    def corners(self, grow: float = 0.0) -> Floats:
        """Return the four corners (4, 2), counter-clockwise, pushed out by `grow` metres."""
        a = np.radians(self.angle_deg)
        along = np.array([np.cos(a), np.sin(a)]) * (self.along / 2 + grow)
        across = np.array([-np.sin(a), np.cos(a)]) * (self.across / 2 + grow)
        centre = np.array([self.east, self.north])
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        return np.stack([centre + i * along + j * across for i, j in signs])


@dataclass(frozen=True)
class Walls:
    """Vertical rectangles, one row each: ends (n, 2), heights in metres, outward normals (n, 2)."""

    start: Floats
    end: Floats
    base: Floats
    top: Floats
    normal: Floats
    texture: Pyramid  # an atlas, row i belonging to wall i


@dataclass(frozen=True)
class Standing:
    """A flat figure that always faces the camera: a tree, a lamp, a sculpture."""

    east: float
    north: float
    width: float
    height: float
    sprite: Pyramid
    shadow: float = 0.0  # radius in metres; 0 = casts none


@dataclass(frozen=True)
class Scene:
    """Everything that stands still, ready to be drawn."""

    blocks: list[Block]
    walls: Walls
    ground: Pyramid
    standing: list[Standing]
    passers_by: list[Pyramid]
    detail: NDArray[np.float32]  # what `textures.detail` gives
    spots: Floats  # (2 * N_SPOTS, 2) metres; the first N_SPOTS are the main part's


_CORNERS = np.array(  # [south, north][west, east]: plum brick, slate; terracotta, moss
    [[[150, 74, 100], [70, 108, 168]], [[212, 116, 52], [120, 164, 84]]], dtype=np.float64
)


def quarter(east: float, north: float) -> Floats:
    """Return the colour (3,) of a quarter: each corner was built in its own time and taste."""
    u = float(np.clip(east / WIDTH_M, 0, 1))
    v = float(np.clip(north / DEPTH_M, 0, 1))
    south, north_ = ((1 - u) * row[0] + u * row[1] for row in _CORNERS)
    return np.asarray((1 - v) * south + v * north_)


def _mix(own: textures.Rgb, tint: Floats, weight: float) -> textures.Rgb:
    """Return `own` drawn towards `tint`, as light or dark as before."""
    level = sum(own) / float(tint.sum())
    red, green, blue = (
        int(min(255.0, (1 - weight) * c + weight * t * level))
        for c, t in zip(own, tint, strict=True)
    )
    return red, green, blue


def _in_quarter(look: Facade, east: float, north: float) -> Facade:
    """Return the facade in the manner of its quarter."""
    tint = quarter(east, north)
    return replace(look, wall=_mix(look.wall, tint, TINT), glass=_mix(look.glass, tint, 0.6 * TINT))


def _blocks() -> list[Block]:
    """Return the buildings of the campus and of the streets around it."""
    styles = textures.FACADES
    rows = [  # east, north, along, across, angle, top, facade
        (30, 27, 34, 24, 4, 17, 0),
        (84, 25, 30, 22, -6, 13, 1),
        (134, 29, 28, 26, 10, 26, 2),
        (184, 27, 30, 24, -3, 15, 3),
        (28, 78, 24, 34, -5, 21, 4),
        (80, 74, 26, 20, 12, 10, 5),
        (137, 77, 34, 18, -8, 14, 6),
        (187, 79, 22, 30, 5, 30, 7),
        (31, 131, 30, 22, 8, 12, 8),
        (107, 122, 12, 12, 20, 32, 9),
        (183, 131, 28, 26, -10, 18, 10),
        (27, 181, 22, 30, 3, 24, 11),
        (82, 177, 32, 20, -4, 16, 12),
        (136, 183, 22, 26, 14, 11, 13),
        (186, 180, 26, 24, 6, 20, 14),
        (33, 230, 36, 20, -6, 14, 15),
        (88, 229, 24, 26, 9, 28, 16),
        (138, 231, 30, 18, -3, 12, 17),
        (187, 230, 24, 26, -12, 22, 18),
    ]
    blocks = [
        Block(e, n, along, across, angle, top, _in_quarter(styles[look], e, n))
        for e, n, along, across, angle, top, look in rows
    ]
    tiers = [(2, 12, 12, 38), (7, 10, 14, 42), (11, 12, 12, 33), (16, 14, 10, 40), (0, 8, 8, 27)]
    for index, along, across, top in tiers:  # towers on the roofs: seen over nearer buildings
        lower = blocks[index]
        blocks.append(
            Block(
                lower.east,
                lower.north,
                along,
                across,
                lower.angle_deg + 5,
                top,
                lower.facade,
                base=lower.top,
            )
        )
    return blocks + _across_the_streets()


def _across_the_streets() -> list[Block]:
    """Return closed rows of houses across the streets, so that no view leaves the scene."""
    rng = np.random.default_rng(7)
    styles = textures.FACADES[N_BUILDINGS:]
    off, per_side = 35.0, 9
    west, south, east, north = -off, -off, WIDTH_M + off, DEPTH_M + off
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    houses = []
    for side in range(4):
        (x0, y0), (x1, y1) = corners[side], corners[side + 1]
        step = math.hypot(x1 - x0, y1 - y0) / per_side
        for k in range(per_side):
            t = (k + 0.5) / per_side
            x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
            look = _in_quarter(styles[(per_side * side + k) % len(styles)], x, y)
            along, top = step * (0.86 + 0.1 * rng.random()), 9 + 30 * rng.random() ** 2
            houses.append(Block(x, y, along, 18.0, 90.0 * (side % 2), top, look))
    return houses


def _walls(blocks: list[Block]) -> Walls:
    starts, ends, bases, tops, normals, looks = [], [], [], [], [], []
    for b, block in enumerate(blocks):
        corners = block.corners()
        for side in range(4):
            start, end = corners[side], corners[(side + 1) % 4]
            length = float(np.hypot(*(end - start)))
            rng = np.random.default_rng([11, b, side])
            starts.append(start)
            ends.append(end)
            bases.append(block.base)
            tops.append(block.top)
            normals.append(np.array([end[1] - start[1], start[0] - end[0]]) / length)
            looks.append(
                textures.facade(
                    block.facade,
                    length,
                    block.top - block.base,
                    side,
                    rng,
                    ground_floor=block.base == 0,
                )
            )
    return Walls(
        np.array(starts),
        np.array(ends),
        np.array(bases),
        np.array(tops),
        np.array(normals),
        textures.atlas(looks),
    )


def _inside(points: Floats, blocks: list[Block], grow: float) -> NDArray[np.bool_]:
    """Return which points (n, 2) lie within `grow` metres of a building on the ground."""
    hit = np.zeros(len(points), dtype=bool)
    for block in blocks:
        if block.base > 0:
            continue
        a = np.radians(block.angle_deg)
        d = points - [block.east, block.north]
        along = np.abs(d[:, 0] * np.cos(a) + d[:, 1] * np.sin(a))
        across = np.abs(d[:, 1] * np.cos(a) - d[:, 0] * np.sin(a))
        hit |= (along < block.along / 2 + grow) & (across < block.across / 2 + grow)
    return hit


def _scatter(
    n: int,
    blocks: list[Block],
    seed: int,
    inset: float,
    clear: float,
    apart: float,
    keep_to_edge: float = 0,
) -> Floats:
    """Return `n` points, `clear` metres off buildings and `apart` metres from each other."""
    rng = np.random.default_rng(seed)
    kept: list[Floats] = []
    while len(kept) < n:
        p = np.array([inset, inset]) + rng.random(2) * [WIDTH_M - 2 * inset, DEPTH_M - 2 * inset]
        if _inside(p[None], blocks, clear)[0]:
            continue
        edge = np.abs(p / [WIDTH_M, DEPTH_M] - 0.5).max() * 2
        if rng.random() > edge**keep_to_edge:
            continue
        if all(np.hypot(*(p - q)) >= apart for q in kept):
            kept.append(p)
    return np.array(kept)


def _ground(blocks: list[Block]) -> Pyramid:
    """Return lawn, paths, plazas and streets as one map, row 0 in the north."""
    scale = GROUND_PX_PER_M
    size = (int((WIDTH_M + 2 * MARGIN_M) * scale), int((DEPTH_M + 2 * MARGIN_M) * scale))
    image = Image.new("RGBA", size, (96, 128, 62, textures.LAWN))
    draw = ImageDraw.Draw(image)

    def px(east: float, north: float) -> tuple[float, float]:
        return (east + MARGIN_M) * scale, (DEPTH_M + MARGIN_M - north) * scale

    rng = np.random.default_rng(13)
    columns, rows = 4, 5
    for i in range(columns):  # each court has its own lawn or paving
        for j in range(rows):
            west, south = WIDTH_M * i / columns, DEPTH_M * j / rows
            east, north = WIDTH_M * (i + 1) / columns, DEPTH_M * (j + 1) / rows
            own, kind = textures.COURTS[(3 * i + 5 * j) % len(textures.COURTS)]
            tint = _mix(own, quarter((west + east) / 2, (south + north) / 2), GROUND_TINT)
            draw.rectangle([px(west, north), px(east, south)], fill=(*tint, kind))
    for k in range(34):
        ends = rng.random((2, 2)) * [WIDTH_M, DEPTH_M]
        draw.line(
            [px(*ends[0]), px(*ends[1])],
            fill=textures.PATHS[k % len(textures.PATHS)],
            width=int(scale * (2 + 2 * rng.random())),
        )
    for block in blocks:
        if block.base == 0:
            draw.polygon([px(*c) for c in block.corners(1.2)], fill=(150, 146, 138))
    for near, far, grey in ((-22.0, -8.0, 74), (-8.0, -5.0, 168), (-25.0, -22.0, 160)):
        for a, b in (
            ((near, near), (far, DEPTH_M - near)),
            ((WIDTH_M - far, near), (WIDTH_M - near, DEPTH_M - near)),
            ((near, near), (WIDTH_M - near, far)),
            ((near, DEPTH_M - far), (WIDTH_M - near, DEPTH_M - near)),
        ):
            draw.rectangle([px(a[0], b[1]), px(b[0], a[1])], fill=(grey, grey, grey + 3))
    return textures.pyramid(textures.grain(np.asarray(image), rng, 0.10))


@lru_cache(maxsize=1)
def campus() -> Scene:
    """Return the scene, built once per process (about two seconds)."""
    blocks = _blocks()
    spots = _scatter(
        2 * N_SPOTS, blocks, seed=3, inset=7.0, clear=3.0, apart=8.0, keep_to_edge=0.35
    )
    rng = np.random.default_rng(17)
    standing = []
    trees = _scatter(70, blocks, seed=5, inset=2.0, clear=3.5, apart=7.0)
    gap = np.hypot(*(trees[:, None] - spots[None]).transpose(2, 0, 1)).min(axis=1)
    for east, north in trees[gap > 3.5]:
        height = 5.0 + 8.0 * rng.random()
        standing.append(
            Standing(
                float(east),
                float(north),
                height * (0.55 + 0.35 * rng.random()),
                height,
                textures.tree(textures.species(east / WIDTH_M, north / DEPTH_M, rng), rng),
                shadow=height * 0.3,
            )
        )
    lamp = textures.lamp()
    marks = _scatter(40, blocks, seed=6, inset=4.0, clear=2.0, apart=9.0)
    gap = np.hypot(*(marks[:, None] - spots[None]).transpose(2, 0, 1)).min(axis=1)
    for k, (east, north) in enumerate(marks[gap > 2.5]):
        height = 2.0 + 2.5 * rng.random()
        standing.append(
            Standing(
                float(east),
                float(north),
                height * 0.8,
                height,
                textures.sculpture(k, rng),
                shadow=0.6,
            )
        )
    for east, north in _scatter(36, blocks, seed=8, inset=2.0, clear=2.0, apart=12.0):
        standing.append(Standing(float(east), float(north), 0.9, 4.6, lamp))
    people = [textures.person(np.random.default_rng([19, k])) for k in range(32)]
    return Scene(
        blocks,
        _walls(blocks),
        _ground(blocks),
        standing,
        people,
        textures.detail(np.random.default_rng(37)),
        spots,
    )


def to_degrees(east: float, north: float) -> tuple[float, float]:
    """Return latitude and longitude in degrees of a point in scene metres."""
    lat, lon = geo.from_east_north_m(east, north, SOUTH_DEG, WEST_DEG)
    return float(lat), float(lon)
