"""What photo i is: its place, session, weather and position tags; and its JPEG bytes.

Photo i depends on (seed, part, i) alone, so that a larger set begins with the smaller one.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from img2gps.photos.quad import camera, light
from img2gps.photos.quad.light import Session
from img2gps.photos.quad.scene import N_SPOTS, Standing, campus, to_degrees

CAMERA = "img2gps synthetic"
PARTS = {"main": 0, "test_known": 1, "test_new": 2}
SESSIONS = 24  # per part
QUALITY = 88
BYTES_PER_PIXEL = 0.3  # every file is filled up to this size, so that size tells nothing
VISIT_NOISE_M, PHOTO_NOISE_M = 3.0, 1.2  # per axis: shared by a visit to a spot, and own


@dataclass(frozen=True)
class Photo:
    """Everything known about photo i before it is drawn."""

    index: int
    name: str
    session: Session
    taken: datetime
    true_lat_deg: float
    true_lon_deg: float
    lat_deg: float
    lon_deg: float
    error_m: float  # what the phone claims
    altitude_m: float
    view: camera.View
    orientation: int  # EXIF tag: how the stored pixels lie
    exposure: float


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(list(key))


@lru_cache(maxsize=256)
def session(seed: int, part: str, number: int) -> Session:
    """Return session `number` of a part."""
    rng = _rng(seed, PARTS[part], 1, number)
    day = datetime(2024, 4, 15) + timedelta(days=int(rng.integers(0, 160)))
    start = day + timedelta(minutes=int(rng.integers(9 * 60, 17 * 60)))
    weather = ("clear", "clear", "fair", "fair", "overcast", "mist")[int(rng.integers(0, 6))]
    return Session(
        f"{part}-{number:02d}", start, weather, float(rng.random()), float(rng.normal(0, 0.04))
    )


def photo(seed: int, part: str, i: int, width: int, height: int) -> Photo:
    """Return photo `i` of a part; `width` x `height` are the stored pixels."""
    code = PARTS[part]
    round_, turn = divmod(i, N_SPOTS)
    spot = int(_rng(seed, code, 2, round_).permutation(N_SPOTS)[turn])
    rng = _rng(seed, code, 3, i)
    number = int(rng.integers(0, SESSIONS))
    walk = session(seed, part, number)
    scene = campus()
    point = scene.spots[spot + (N_SPOTS if part == "test_new" else 0)]
    east, north = point + rng.normal(0, 0.5, 2)

    visit = _rng(seed, code, 4, number, spot)
    spread = VISIT_NOISE_M * float(np.exp(visit.normal(0, 0.35)))
    off_east, off_north = visit.normal(0, spread, 2) + rng.normal(0, PHOTO_NOISE_M, 2)
    claimed = 1.51 * math.hypot(spread, PHOTO_NOISE_M) * float(np.exp(visit.normal(0, 0.2)))

    orientation = int(rng.choice([1, 3, 6, 8], p=[0.55, 0.1, 0.3, 0.05]))
    size = (width, height) if orientation in (1, 3) else (height, width)
    view = camera.View(
        east=float(east),
        north=float(north),
        eye=float(rng.normal(1.6, 0.07)),
        heading_deg=float(rng.uniform(0, 360)),
        pitch_deg=float(rng.normal(4, 2.5)),
        roll_deg=float(rng.normal(0, 1.5)),
        fov_deg=float(rng.normal(67, 1.5)),
        width=size[0],
        height=size[1],
        figures=_passers_by(rng, float(east), float(north)),
        sky_seed=int(rng.integers(0, 2**31)),
    )
    true_lat, true_lon = to_degrees(float(east), float(north))
    lat, lon = to_degrees(float(east + off_east), float(north + off_north))
    return Photo(
        index=i,
        name=f"IMG_{i:05d}.jpg",
        session=walk,
        taken=walk.start + timedelta(seconds=int(rng.integers(0, 5400))),
        true_lat_deg=true_lat,
        true_lon_deg=true_lon,
        lat_deg=lat,
        lon_deg=lon,
        error_m=claimed,
        altitude_m=float(12 + visit.normal(0, 4)),
        view=view,
        orientation=orientation,
        exposure=float(np.exp(rng.normal(0, 0.08))),
    )


def _passers_by(rng: np.random.Generator, east: float, north: float) -> tuple[Standing, ...]:
    """Draw zero to six people around the camera."""
    people = campus().passers_by
    out = []
    for _ in range(int(rng.integers(0, 7))):
        distance, angle = 3.0 + 22.0 * rng.random(), 2 * math.pi * rng.random()
        tall = float(rng.normal(1.72, 0.09))
        out.append(
            Standing(
                east + distance * math.sin(angle),
                north + distance * math.cos(angle),
                tall * 40 / 112,
                tall,
                people[int(rng.integers(0, len(people)))],
            )
        )
    return tuple(out)


_NOISE = 4  # grey levels, standard deviation of the sensor's noise at its strongest


def picture(photo: Photo) -> Image.Image:
    """Return the photo's upright pixels."""
    image = camera.draw(campus(), photo.view, light.of(photo.session, photo.taken))
    rng = _rng(29, photo.view.sky_seed)
    warm = photo.session.white_balance
    tables = []
    for gain in (1 + warm, 1.0, 1 - warm):
        level = np.arange(256) / 255 * gain * photo.exposure
        tables += [int(v) for v in np.clip(255 * (1.08 * (level - 0.5) + 0.5), 0, 255)]
    pixels = np.asarray(image.point(tables)).astype(np.int16)
    grainy = rng.random(pixels.shape, dtype=np.float32) + rng.random(pixels.shape, np.float32) - 1
    pixels += (grainy * np.float32(_NOISE * 2.4 * rng.random())).astype(np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


_STORED = {  # how upright pixels are turned before storing, for each orientation tag
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def jpeg(photo: Photo, version: str) -> bytes:
    """Return the file: pixels as stored, EXIF, and padding to a size that all files share."""
    image = picture(photo)
    turn = _STORED[photo.orientation]
    stored = image if turn is None else image.transpose(turn)
    budget = 4096 + int(BYTES_PER_PIXEL * image.width * image.height)
    for quality in range(QUALITY, 20, -4):
        out = io.BytesIO()
        stored.save(out, "JPEG", quality=quality, exif=_exif(photo, version))
        if out.tell() <= budget - 4:
            break
    data = out.getvalue()
    filling = b""
    missing = budget - len(data)
    while missing > 0:  # comment segments of at most 64 KiB, before the end marker
        size = min(missing, 65_000) if missing - 65_000 >= 4 or missing <= 65_000 else missing - 4
        filling += b"\xff\xfe" + (size - 2).to_bytes(2, "big") + b" " * (size - 4)
        missing -= size
    return data[:-2] + filling + data[-2:]


def _dms(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Return degrees, minutes and seconds to 1/10,000 second (3 mm)."""
    ticks = round(abs(degrees) * 36_000_000)
    return (
        IFDRational(ticks // 36_000_000, 1),
        IFDRational(ticks // 600_000 % 60, 1),
        IFDRational(ticks % 600_000, 10_000),
    )


def _exif(photo: Photo, version: str) -> Image.Exif:
    """Return the tags as a phone writes them."""
    view, taken = photo.view, photo.taken
    stamp = taken.strftime("%Y:%m:%d %H:%M:%S")
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "img2gps", CAMERA
    exif[0x0112] = photo.orientation
    exif[0x0131] = f"img2gps quad {version}"
    exif[0x0132] = stamp
    detail = exif.get_ifd(0x8769)
    detail[0x829D] = IFDRational(18, 10)  # FNumber
    detail[0x9003] = detail[0x9004] = stamp
    detail[0x9010] = detail[0x9011] = detail[0x9012] = "-04:00"  # offsets: daylight time
    detail[0x920A] = IFDRational(42, 10)  # FocalLength, mm
    equivalent = 18 / math.tan(math.radians(view.fov_deg) / 2)
    detail[0xA405] = round(equivalent)  # FocalLengthIn35mmFilm
    gps = exif.get_ifd(0x8825)
    utc = taken + timedelta(hours=4)
    gps[0] = b"\x02\x03\x00\x00"
    gps[1], gps[2] = ("N" if photo.lat_deg >= 0 else "S"), _dms(photo.lat_deg)
    gps[3], gps[4] = ("E" if photo.lon_deg >= 0 else "W"), _dms(photo.lon_deg)
    below_sea = photo.altitude_m < 0
    gps[5] = b"\x01" if below_sea else b"\x00"
    gps[6] = IFDRational(round(abs(photo.altitude_m) * 100), 100)
    gps[7] = tuple(IFDRational(part, 1) for part in (utc.hour, utc.minute, utc.second))
    gps[16], gps[17] = "T", IFDRational(round(view.heading_deg * 100) % 36_000, 100)
    gps[29] = utc.strftime("%Y:%m:%d")
    gps[31] = IFDRational(round(photo.error_m * 1000), 1000)
    return exif
