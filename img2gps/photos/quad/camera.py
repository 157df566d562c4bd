"""The camera: one view of the scene as pixels, by casting a ray per image column.

A level camera sees every vertical wall as a set of columns, which numpy draws a whole layer at a
time (nearest walls first). Pitch and roll are then a pure rotation of the camera, a homography
that Pillow applies while it scales the oversampled picture down.

Per pixel only additions, products, quotients and look-ups are used, whose results IEEE 754 fixes;
the same view gives the same bytes on machines with other vector units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from img2gps.photos.quad.scene import DEPTH_M, GROUND_PX_PER_M, MARGIN_M, Floats, Scene, Standing
from img2gps.photos.quad.textures import DETAIL_PX, DETAIL_PX_PER_M, PX_PER_M

_LAYERS = 12  # walls looked through along one column before the sky is assumed
_NEAR_M = 0.2
_DETAIL_M = 24.0  # how far blades of grass and joints of slabs are drawn
Singles = NDArray[np.float32]

# Texture coordinates are shifted by up to half a texel at random: close surfaces then show soft
# grain instead of square texels, for the price of one look-up.
_SHIFT = np.random.default_rng(31).random((2, 1 << 16), dtype=np.float32) - np.float32(0.5)


@dataclass(frozen=True)
class Light:
    """Weather and sun as they colour a picture; colours are factors or 0..255 per channel."""

    sun_azimuth_deg: float
    sun_elevation_deg: float
    sun: Floats  # (3,) factor of full sun on a surface facing it
    ambient: Floats  # (3,)
    zenith: Floats  # (3,) sky colour 0..255
    horizon: Floats  # (3,) also the colour of haze
    haze_per_m: float
    clouds: float  # 0..1
    shadows: Singles | None = None  # (h, w) on the ground map's grid, 1 = in shadow; None = none


@dataclass(frozen=True)
class View:
    """The position and attitude of the camera; angles in degrees, metres, pixels."""

    east: float
    north: float
    eye: float
    heading_deg: float
    pitch_deg: float
    roll_deg: float
    fov_deg: float  # across the longer side
    width: int
    height: int
    figures: tuple[Standing, ...] = ()  # passers-by
    sky_seed: int = 0


def draw(scene: Scene, view: View, light: Light, oversample: float = 1.25) -> Image.Image:
    """Return the view as an RGB picture of view.width x view.height pixels, upright."""
    focal = max(view.width, view.height) / 2 / math.tan(math.radians(view.fov_deg) / 2)
    rotation = _rotation(view.pitch_deg, view.roll_deg)
    corners = np.array([[x, y] for x in (0, view.width) for y in (0, view.height)], float)
    rays = np.column_stack([corners - [view.width / 2, view.height / 2], np.full(4, focal)])
    turned = _product(rotation, rays.T)
    level_focal = focal * oversample
    level = level_focal * turned[:2] / turned[2]
    left, upper = np.floor(level.min(axis=1)).astype(int) - 2
    right, lower = np.ceil(level.max(axis=1)).astype(int) + 2
    canvas = _Canvas(scene, view, light, level_focal, -left, -upper, right - left, lower - upper)
    canvas.walls()
    canvas.sky()
    canvas.standing()
    # Output pixel -> ray -> turned ray -> pixel of the level picture, as one 3 x 3 matrix.
    to_ray = np.array([[1, 0, -view.width / 2], [0, 1, -view.height / 2], [0, 0, focal]])
    to_level = np.array([[level_focal, 0, -left], [0, level_focal, -upper], [0, 0, 1]])
    m = _product(_product(to_level, rotation), to_ray)
    m /= m[2, 2]
    picture = Image.fromarray(canvas.rgb.clip(0, 255).astype(np.uint8))
    if oversample > 1:
        picture = picture.filter(ImageFilter.GaussianBlur(0.35 * oversample))
    return picture.transform(
        (view.width, view.height),
        Image.Transform.PERSPECTIVE,
        tuple(m.ravel()[:8]),
        Image.Resampling.BILINEAR,
    )


def _rotation(pitch_deg: float, roll_deg: float) -> Floats:
    """Turn a camera ray (right, down, forward) into a level ray; positive pitch looks up."""
    p, r = math.radians(pitch_deg), math.radians(roll_deg)
    roll = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    pitch = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    return _product(pitch, roll)


def _product(a: Floats, b: Floats) -> Floats:
    """Multiply matrices in a fixed order; the order of BLAS differs between machines."""
    return np.asarray((a[:, :, None] * b[None]).sum(axis=1))


class _Canvas:
    """The level picture while it is drawn: colours and depth of every pixel."""

    def __init__(
        self,
        scene: Scene,
        view: View,
        light: Light,
        focal: float,
        centre: int,
        horizon: int,
        width: int,
        height: int,
    ) -> None:
        self.scene, self.view, self.light = scene, view, light
        self.focal, self.centre, self.horizon = focal, centre, horizon
        self.width, self.height = width, height
        a = math.radians(view.heading_deg)
        self.forward = np.array([math.sin(a), math.cos(a)])
        self.right = np.array([math.cos(a), -math.sin(a)])
        self.slope = (np.arange(width) + 0.5 - centre) / focal  # right per forward, a column
        self.drop = (np.arange(height) + 0.5 - horizon) / focal  # down per forward, a row
        self.rgb = np.zeros((height, width, 3), np.float32)
        self.depth = np.full((height, width), np.inf, np.float32)
        self.noise = view.sky_seed & 0xFFFF
        self.unseen = np.arange(height * width)  # pixels that no surface covers yet

    def walls(self) -> None:
        """Draw walls from front to back; a ray that meets the ground before a wall ends there."""
        walls = self.scene.walls
        here = np.array([self.view.east, self.view.north])
        start, end = self._seen_from(walls.start - here), self._seen_from(walls.end - here)
        facing = ((walls.start - here) * walls.normal).sum(axis=1) < 0
        front = (start[1] > _NEAR_M) | (end[1] > _NEAR_M)
        wall = np.flatnonzero(facing & front)
        ar, af, br, bf = start[0][wall], start[1][wall], end[0][wall], end[1][wall]
        slope = self.slope[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            along = (slope * af - ar) / ((br - ar) - slope * (bf - af))
            distance = af + along * (bf - af)
            hit = (along >= 0) & (along < 1) & (distance > _NEAR_M)
        distance = np.where(hit, distance, np.inf)
        layers = min(_LAYERS, len(wall))
        order = np.argsort(distance, axis=1, kind="stable")[:, :layers]
        along = np.take_along_axis(along, order, axis=1)
        distance = np.take_along_axis(distance, order, axis=1)
        for k in range(layers):
            if not np.isfinite(distance[:, k]).any():
                break
            self._wall_layer(wall[order[:, k]], along[:, k], distance[:, k])
        self._ground(self.unseen[self.drop[self.unseen // self.width] > 0])

    def _shift(self, pixel: NDArray[np.intp]) -> Singles:
        """Return random shifts (2, n) of the texture coordinates of these pixels."""
        return np.asarray(_SHIFT[:, (pixel + self.noise) & 0xFFFF])

    def _seen_from(self, offset: Floats) -> tuple[Floats, Floats]:
        """Return (right, forward) of points given relative to the camera (n, 2)."""
        right = offset[:, 0] * self.right[0] + offset[:, 1] * self.right[1]
        forward = offset[:, 0] * self.forward[0] + offset[:, 1] * self.forward[1]
        return right, forward

    def _wall_layer(self, wall: NDArray[np.intp], along: Floats, distance: Floats) -> None:
        """Return for every column the wall that it meets next (distance inf = none)."""
        walls, light = self.scene.walls, self.light
        met = np.isfinite(distance)
        far = np.where(met, distance, 1.0)
        rows, cols = np.divmod(self.unseen, self.width)
        drop = self.drop.astype(np.float32)[rows]
        z = np.float32(self.view.eye) - drop * far.astype(np.float32)[cols]
        is_met = met[cols]
        below = is_met & (z < 0)
        base, top = walls.base.astype(np.float32), walls.top.astype(np.float32)
        on_wall = is_met & (z >= base[wall][cols]) & (z <= top[wall][cols]) & ~below
        self._ground(self.unseen[below])

        pixel, col, z = self.unseen[on_wall], cols[on_wall], z[on_wall]
        length = np.hypot(*(walls.end - walls.start).T)[wall]
        direction = (walls.end - walls.start)[wall]
        turned = self._seen_from(direction)
        # Ground covered by one pixel: across, the wall turns away; down, it does not.
        sideways = np.abs(turned[0] - self.slope * turned[1])
        across = far * length / np.maximum(sideways, 1e-6) / self.focal
        texel = np.sqrt(across * far / self.focal) * PX_PER_M
        level = np.clip(np.floor(np.log2(np.maximum(texel, 1e-6)) + 0.7), 0, None).astype(int)
        level = np.minimum(level, walls.texture.offset.shape[1] - 1)
        wide = walls.texture.width[wall, level]
        high = walls.texture.height[wall, level]
        per_metre = (high / (walls.top - walls.base)[wall]).astype(np.float32)
        across_px = (np.where(met, along, 0) * wide).astype(np.float32)
        shift = self._shift(pixel)
        u = np.clip(across_px[col] + shift[0], 0, wide[col] - 1).astype(np.int32)
        v = np.clip((top[wall][col] - z) * per_metre[col] + shift[1], 0, high[col] - 1)
        v = v.astype(np.int32)
        at = walls.texture.offset[wall, level][col] + v * wide[col] + u
        colour = walls.texture.texels.take(at).view(np.uint8).reshape(-1, 4)

        sun = self._sun_direction()
        facing = (walls.normal * sun[:2]).sum(axis=1)[wall]
        shade = light.ambient + light.sun * np.maximum(facing, 0.0)[:, None]
        clear = np.exp(-light.haze_per_m * far)[:, None]
        gain = (shade * clear).astype(np.float32)
        veil = (light.horizon * (1 - clear)).astype(np.float32)
        self.rgb.reshape(-1, 3)[pixel] = colour[:, :3] * gain[col] + veil[col]
        self.depth.reshape(-1)[pixel] = far.astype(np.float32)[col]
        self.unseen = self.unseen[~(on_wall | below)]

    def _sun_direction(self) -> Floats:
        """Return the unit vector (east, north, up) towards the sun."""
        azimuth = math.radians(self.light.sun_azimuth_deg)
        elevation = math.radians(self.light.sun_elevation_deg)
        flat = math.cos(elevation)
        return np.array([flat * math.sin(azimuth), flat * math.cos(azimuth), math.sin(elevation)])

    def _ground(self, pixel: NDArray[np.intp]) -> None:
        """Colour these pixels (flat indices below the horizon) with the ground."""
        if not len(pixel):
            return
        ground, light = self.scene.ground, self.light
        rows, cols = np.divmod(pixel, self.width)
        with np.errstate(divide="ignore"):
            far = np.minimum(np.where(self.drop > 0, self.view.eye / self.drop, 1e4), 1e4)
        texel = np.sqrt(far / self.focal * far * far / (self.view.eye * self.focal))
        level = np.floor(np.log2(np.maximum(texel * GROUND_PX_PER_M, 1e-6)) + 0.5)
        level = np.clip(level, 0, len(ground.offset) - 1).astype(int)
        scale = ((GROUND_PX_PER_M / 2.0**level) * far).astype(np.float32)[rows]
        origin = GROUND_PX_PER_M / 2.0**level
        x0 = (origin * (self.view.east + MARGIN_M)).astype(np.float32)
        y0 = (origin * (DEPTH_M + MARGIN_M - self.view.north)).astype(np.float32)
        slope = self.slope.astype(np.float32)[cols]
        f, r = self.forward.astype(np.float32), self.right.astype(np.float32)
        shift = self._shift(pixel)
        map_x = x0[rows] + scale * (f[0] + slope * r[0])
        map_y = y0[rows] - scale * (f[1] + slope * r[1])
        wide, high = ground.width[level], ground.height[level]
        x = np.clip(map_x + shift[0], 0, wide[rows] - 1).astype(np.int32)
        y = np.clip(map_y + shift[1], 0, high[rows] - 1).astype(np.int32)
        at = ground.offset[level][rows] + y * wide[rows] + x
        texels = ground.texels.take(at).view(np.uint8).reshape(-1, 4)
        colour = texels[:, :3]

        up = self._sun_direction()[2]
        clear = np.exp(-light.haze_per_m * far)[:, None]
        veil = (light.horizon * (1 - clear)).astype(np.float32)
        lit = ((light.ambient + light.sun * up) * clear).astype(np.float32)
        out = colour * lit[rows]
        if light.shadows is not None:
            dark = ((light.sun * up) * clear).astype(np.float32)
            halvings = level.astype(np.int32)[rows]
            sy = np.minimum((y << halvings) >> 2, light.shadows.shape[0] - 1)
            sx = np.minimum((x << halvings) >> 2, light.shadows.shape[1] - 1)
            out -= colour * dark[rows] * light.shadows[sy, sx][:, None]
        close = np.flatnonzero(far[rows] < _DETAIL_M)
        row, paved = rows[close], (texels[close, 3] == 255).astype(np.int32)
        to_tile = (DETAIL_PX_PER_M / GROUND_PX_PER_M * 2.0**level).astype(np.float32)[row]
        tile_x = (map_x[close] * to_tile).astype(np.int32) & (DETAIL_PX - 1)
        tile_y = (map_y[close] * to_tile).astype(np.int32) & (DETAIL_PX - 1)
        fade = (1 - far / _DETAIL_M).astype(np.float32)[row]
        grain = self.scene.detail[paved, tile_y, tile_x] * fade
        out[close] *= (np.float32(1) + grain)[:, None]
        self.rgb.reshape(-1, 3)[pixel] = out + veil[rows]
        self.depth.reshape(-1)[pixel] = far.astype(np.float32)[rows]

    def sky(self) -> None:
        """Draw gradient and clouds on what is left above the horizon."""
        light = self.light
        rows, cols = np.divmod(self.unseen[self.drop[self.unseen // self.width] <= 0], self.width)
        high = np.clip(-self.drop / 0.9, 0, 1)[:, None] ** 0.6
        gradient = (light.horizon + (light.zenith - light.horizon) * high).astype(np.float32)
        out = gradient[rows]
        if light.clouds > 0:
            rng = np.random.default_rng([23, self.view.sky_seed])
            noise = np.zeros((self.height, self.width), np.float32)
            for cells in (3, 7, 15):
                small = Image.fromarray(rng.random((cells, cells + 2), dtype=np.float32) - 0.5)
                noise += np.asarray(
                    small.resize((self.width, self.height), Image.Resampling.BICUBIC)
                ) / (0.25 * cells)
            cover = np.clip((noise[rows, cols] + light.clouds - 0.55) * 2.2, 0, 1)
            white = np.float32(0.35 * light.horizon.mean() + 160)
            out += (white - out) * (cover * np.float32(0.85))[:, None]
        self.rgb[rows, cols] = out

    def standing(self) -> None:
        """Draw trees, landmarks and passers-by, the far ones first."""
        figures = [*self.scene.standing, *self.view.figures]
        offset = np.array([[s.east - self.view.east, s.north - self.view.north] for s in figures])
        offset = offset.reshape(-1, 2)  # also where nothing stands
        right, forward = self._seen_from(offset)
        for k in np.argsort(-forward, kind="stable"):
            if forward[k] > 1.2:
                self._figure(figures[k], float(right[k]), float(forward[k]))

    def _figure(self, figure: Standing, right: float, far: float) -> None:
        px_per_m = self.focal / far
        middle = self.centre + right * px_per_m
        foot = self.horizon + self.view.eye * px_per_m
        left, upper = middle - figure.width / 2 * px_per_m, foot - figure.height * px_per_m
        x = np.arange(
            max(0, math.ceil(left - 0.5)),
            min(self.width, math.ceil(left + figure.width * px_per_m - 0.5)),
        )
        y = np.arange(max(0, math.ceil(upper - 0.5)), min(self.height, math.ceil(foot - 0.5)))
        if not len(x) or not len(y):
            return
        sprite = figure.sprite
        shrink = sprite.height[0] / max(figure.height * px_per_m, 1e-6)
        level = min(max(math.floor(math.log2(shrink) + 0.5), 0), len(sprite.offset) - 1)
        wide, high = int(sprite.width[level]), int(sprite.height[level])
        u = ((x + 0.5 - left) / (figure.width * px_per_m) * wide).astype(np.int32).clip(0, wide - 1)
        v = ((y + 0.5 - upper) / (figure.height * px_per_m) * high).astype(np.int32)
        v = v.clip(0, high - 1)
        colour = sprite.texels.take(sprite.offset[level] + v[:, None] * wide + u)
        colour = np.ascontiguousarray(colour).view(np.uint8).reshape(len(y), len(x), 4)
        box = np.s_[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
        alpha = colour[..., 3:] * np.float32(1 / 255)
        alpha = alpha * (self.depth[box] > far)[..., None]
        light = self.light
        clear = math.exp(-light.haze_per_m * far)
        gain = ((light.ambient + 0.55 * light.sun) * clear).astype(np.float32)
        veil = (light.horizon * (1 - clear)).astype(np.float32)
        here = self.rgb[box]
        here += (colour[..., :3] * gain + veil - here) * alpha
