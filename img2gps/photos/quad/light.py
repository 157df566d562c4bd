"""Sun, sky, haze and shadows of a session: what makes two photos of one view differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from img2gps.photos.quad import camera
from img2gps.photos.quad.scene import DEPTH_M, GROUND_PX_PER_M, MARGIN_M, WIDTH_M, Floats, campus


@dataclass(frozen=True)
class Session:
    """One walk over the campus with a phone: a day, a start and its weather."""

    name: str
    start: datetime
    weather: str
    turbidity: float  # 0..1, spread within one kind of weather
    white_balance: float


def of(walk: Session, taken: datetime) -> camera.Light:
    """Return sun, sky and haze at that moment, with the shadows of the session's middle."""
    hour = taken.hour + taken.minute / 60
    day = taken.timetuple().tm_yday
    declination = 23.4 * math.sin(2 * math.pi * (day - 81) / 365)
    azimuth, elevation = _sun(hour, declination)
    middle = walk.start + timedelta(minutes=45)
    warm = max(0.0, 1 - elevation / 40)
    tint = np.array([1.0, 1 - 0.10 * warm, 1 - 0.28 * warm])
    t = walk.turbidity
    table = {  # sun, ambient, zenith, horizon, haze per m, clouds
        "clear": (0.75, 0.50, (84, 136, 208), (186, 208, 230), 0.0006 + 0.0006 * t, 0.15),
        "fair": (0.60, 0.55, (110, 152, 208), (200, 212, 224), 0.0010 + 0.0010 * t, 0.65),
        "overcast": (0.0, 0.82, (168, 174, 182), (206, 208, 212), 0.0012 + 0.0012 * t, 0.5),
        "mist": (0.10, 0.76, (190, 194, 198), (212, 214, 216), 0.0040 + 0.0040 * t, 0.0),
    }
    sun, ambient, zenith, horizon, haze, clouds = table[walk.weather]
    shadows = None
    if sun > 0.3:
        shadows = _shadows(*_sun(middle.hour + middle.minute / 60, declination))
    return camera.Light(
        azimuth,
        elevation,
        sun * tint,
        ambient * (0.5 + 0.5 * tint),
        np.array(zenith, float),
        np.array(horizon, float) * (0.6 + 0.4 * tint),
        haze,
        clouds,
        shadows,
    )


def _sun(hour: float, declination_deg: float) -> tuple[float, float]:
    """Return azimuth and elevation in degrees at 40 degrees north, with noon at 13:00."""
    lat, dec = math.radians(40.0), math.radians(declination_deg)
    angle = math.radians(15 * (hour - 13))
    up = math.sin(lat) * math.sin(dec) + math.cos(lat) * math.cos(dec) * math.cos(angle)
    east = -math.cos(dec) * math.sin(angle)
    north = math.cos(lat) * math.sin(dec) - math.sin(lat) * math.cos(dec) * math.cos(angle)
    elevation = max(math.degrees(math.asin(up)), 6.0)
    return math.degrees(math.atan2(east, north)) % 360, elevation


@lru_cache(maxsize=64)
def _shadows(azimuth_deg: float, elevation_deg: float) -> camera.Singles:
    """Return the shadows of buildings and trees at a quarter of the ground map's resolution."""
    scale = GROUND_PX_PER_M / 4
    size = (
        int((WIDTH_M + 2 * MARGIN_M) * GROUND_PX_PER_M) // 4 + 1,
        int((DEPTH_M + 2 * MARGIN_M) * GROUND_PX_PER_M) // 4 + 1,
    )
    image = Image.new("L", size, 0)
    draw = ImageDraw.Draw(image)
    reach = 1 / math.tan(math.radians(elevation_deg))
    a = math.radians(azimuth_deg)
    away = np.array([-math.sin(a), -math.cos(a)]) * reach

    def px(p: Floats) -> tuple[float, float]:
        return float((p[0] + MARGIN_M) * scale), float((DEPTH_M + MARGIN_M - p[1]) * scale)

    scene = campus()
    for block in scene.blocks:
        corners, low, high = block.corners(), block.base, block.top
        for k in range(4):
            p, q = corners[k], corners[(k + 1) % 4]
            draw.polygon(
                [px(c + z * away) for c, z in ((p, low), (q, low), (q, high), (p, high))],
                fill=255,
            )
        draw.polygon([px(c + high * away) for c in corners], fill=255)
    for tree in scene.standing:
        if tree.shadow:
            foot = np.array([tree.east, tree.north])
            for t in (0.4, 0.6, 0.8):
                x, y = px(foot + away * tree.height * t)
                r = tree.shadow * scale
                draw.ellipse([x - r, y - r, x + r, y + r], fill=200)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
