"""Procedural pictures of surfaces: facades, ground, trees, landmarks and people.

A texture is RGBA packed into uint32, with its half-size copies behind it in one flat array
(a `Pyramid`), so that one `take` fetches a pixel at any distance without aliasing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

PX_PER_M = 12  # of facades
DETAIL_PX, DETAIL_PX_PER_M = 256, 32  # of the tile of ground detail
LAWN, PAVED = 254, 255  # alpha of the ground map: which detail belongs on it

Bytes = NDArray[np.uint8]
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Pyramid:
    """A texture at full, half, quarter ... size: `texels` flat, per level offset and shape."""

    texels: NDArray[np.uint32]
    offset: NDArray[np.int32]
    height: NDArray[np.int32]
    width: NDArray[np.int32]


def pyramid(image: Bytes) -> Pyramid:
    """Return the mip levels of an RGB or RGBA picture (h, w, 3 or 4), down to about 2 pixels."""
    if image.shape[2] == 3:
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    level = Image.fromarray(np.ascontiguousarray(image), "RGBA")
    parts, heights, widths = [], [], []
    while True:
        pixels = np.ascontiguousarray(np.asarray(level))
        parts.append(pixels.view("<u4")[..., 0].ravel())
        heights.append(level.height)
        widths.append(level.width)
        if min(level.size) < 4:
            break
        level = level.resize((level.width // 2, level.height // 2), Image.Resampling.BOX)
    sizes = [len(p) for p in parts]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return Pyramid(
        np.concatenate(parts).astype(np.uint32),
        offsets.astype(np.int32),
        np.array(heights, np.int32),
        np.array(widths, np.int32),
    )


def atlas(textures: list[Pyramid]) -> Pyramid:
    """Many textures in one flat array; offset, height and width become (n, levels) tables.

    Short pyramids repeat their last level, so that any level can be asked of any texture.
    """
    levels = max(len(t.offset) for t in textures)
    starts = np.concatenate([[0], np.cumsum([len(t.texels) for t in textures])[:-1]])

    def table(rows: list[NDArray[np.int32]]) -> NDArray[np.int32]:
        return np.stack([np.pad(r, (0, levels - len(r)), mode="edge") for r in rows])

    return Pyramid(
        np.concatenate([t.texels for t in textures]),
        table([t.offset + np.int32(s) for t, s in zip(textures, starts, strict=True)]),
        table([t.height for t in textures]),
        table([t.width for t in textures]),
    )


def grain(image: Bytes, rng: np.random.Generator, strength: float) -> Bytes:
    """Add fine and coarse brightness noise on an RGB or RGBA picture."""
    h, w = image.shape[:2]
    fine = rng.random((h, w), dtype=np.float32) - 0.5
    coarse = Image.fromarray(rng.random((h // 24 + 2, w // 24 + 2), dtype=np.float32) - 0.5)
    stain = np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC))
    gain = 1.0 + strength * (fine + 1.5 * stain)
    lit = np.clip(image[..., :3] * gain[..., None], 0, 255).astype(np.uint8)
    return np.dstack([lit, image[..., 3:]])


@dataclass(frozen=True)
class Facade:
    """How one building looks: what makes it different from its neighbours."""

    material: str  # brick, stone, concrete, metal, glass or stucco
    wall: Rgb
    trim: Rgb
    glass: Rgb
    accent: Rgb  # doors, banners and murals
    windows: str  # punched, arched, ribbon, curtain, slit, square or round
    bay: float  # metres from window to window
    storey: float


_LOOKS = [  # material, wall, trim, glass, accent, windows, bay, storey
    ("brick", "8e3e30", "e2d8c4", "343e4a", "1e4632", "punched", 3.0, 3.6),
    ("stone", "c4b492", "968668", "3c4246", "6e281e", "arched", 4.2, 4.6),
    ("glass", "3c828c", "c8d4d6", "5ca0ac", "f0f0f0", "curtain", 1.6, 3.4),
    ("stucco", "e8e4d6", "5a78aa", "465462", "2850a0", "square", 3.4, 3.4),
    ("concrete", "969490", "686664", "2c3036", "dc7814", "ribbon", 3.2, 3.6),
    ("brick", "cea85a", "f0e8d6", "3a464a", "781e28", "arched", 3.2, 4.0),
    ("metal", "34383e", "ce5422", "78848c", "e6641e", "slit", 2.0, 4.0),
    ("glass", "243a68", "96a4b8", "305494", "dcdc5a", "curtain", 2.2, 3.8),
    ("stucco", "d68470", "f6eee0", "424850", "3c6e5a", "punched", 2.6, 3.4),
    ("stone", "e0dace", "789684", "383c42", "3c826e", "slit", 3.0, 5.0),
    ("brick", "602e34", "cebaa0", "546068", "d2aa3c", "square", 4.4, 4.2),
    ("metal", "6c927c", "3c544a", "96aaaa", "f0ecdc", "ribbon", 3.0, 3.8),
    ("stone", "967060", "deceb8", "2e323a", "283264", "arched", 3.0, 3.8),
    ("concrete", "d6d05c", "464a50", "465a64", "3c3c46", "ribbon", 2.6, 3.4),
    ("brick", "b05c3c", "3c3432", "6e828e", "1e1e22", "round", 4.0, 4.0),
    ("stucco", "789ec4", "f0f0ec", "3a4654", "be3232", "punched", 3.6, 3.6),
    ("concrete", "705a84", "c4b8cc", "3e3a4e", "f0c850", "square", 3.0, 3.4),
    ("metal", "c6cace", "b0282c", "505a64", "b0282c", "ribbon", 4.2, 4.0),
    ("glass", "967640", "584228", "ba9454", "282828", "curtain", 2.8, 3.2),
    ("brick", "805446", "beb6aa", "3c444c", "323c5a", "punched", 2.8, 3.2),
    ("concrete", "b0aca4", "787672", "404a54", "3c5a3c", "square", 3.0, 3.2),
    ("glass", "6e8ca0", "b4bec8", "82a4ba", "5a5a5a", "curtain", 1.8, 3.6),
    ("brick", "a66e54", "dcd2be", "363c46", "782828", "ribbon", 3.4, 3.4),
    ("stone", "aaa696", "cec8b8", "464c54", "283c5a", "punched", 3.0, 3.6),
    ("metal", "565c68", "969ca6", "788c9c", "c8a03c", "curtain", 2.4, 3.4),
]


def _rgb(code: str) -> Rgb:
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


FACADES = [
    Facade(material, _rgb(wall), _rgb(trim), _rgb(glass), _rgb(accent), windows, bay, storey)
    for material, wall, trim, glass, accent, windows, bay, storey in _LOOKS
]
COURTS: list[tuple[Rgb, int]] = [  # lawns and pavings
    ((92, 126, 58), LAWN),
    ((152, 96, 76), PAVED),
    ((178, 172, 158), PAVED),
    ((110, 138, 70), LAWN),
    ((132, 130, 128), PAVED),
    ((196, 178, 138), PAVED),
    ((84, 112, 64), LAWN),
]
PATHS: list[Rgb] = [(168, 160, 148), (186, 180, 172), (150, 122, 104), (128, 126, 126)]


def detail(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the brightness of grass [0] and slabs [1] close by, relative to 0, without seams."""
    noise = rng.random((2, DETAIL_PX, DETAIL_PX), dtype=np.float32) - np.float32(0.5)
    grass = noise[0] + np.roll(noise[0], 1, 0) + np.roll(noise[0], 2, 0)
    rows, columns = np.arange(DETAIL_PX)[:, None], np.arange(DETAIL_PX)[None]
    course = rows // 16 % 2 * 16  # slabs of 1 m x 0.5 m, every other row shifted
    tone = rng.random((16, 8), dtype=np.float32) - np.float32(0.5)
    slabs = 0.16 * tone[rows // 16, (columns + course) % DETAIL_PX // 32]
    slabs -= 0.22 * ((rows % 16 == 0) | ((columns + course) % 32 == 0))
    return np.stack([0.26 * grass, slabs + 0.12 * noise[1]]).astype(np.float32)


def _material(facade: Facade, h: int, w: int, rng: np.random.Generator) -> Bytes:
    """Return the bare wall (h, w, 3)."""
    gain = np.ones((h, w), np.float32)
    rows, cols = np.arange(h)[:, None], np.arange(w)[None]
    if facade.material == "brick":
        cells = rng.random((h // 2 + 1, w // 3 + 2), dtype=np.float32)
        gain += 0.22 * (cells[rows // 2, (cols + 2 * (rows // 2 % 2)) // 3] - 0.5)
    elif facade.material == "stone":
        cells = rng.random((h // 6 + 1, w // 10 + 2), dtype=np.float32)
        gain += 0.26 * (cells[rows // 6, (cols + 5 * (rows // 6 % 2)) // 10] - 0.5)
        gain -= 0.18 * ((rows % 6 == 0) | ((cols + 5 * (rows // 6 % 2)) % 10 == 0))
    elif facade.material == "concrete":
        gain -= 0.14 * ((rows % 40 == 0) | (cols % 38 == 0))
    elif facade.material == "metal":
        gain += 0.10 * (cols % 6 < 3) - 0.05
        gain -= 0.12 * (rows % 48 == 0)
    elif facade.material == "glass":
        gain += 0.16 * (rows / h - 0.5)
    bare = np.clip(np.array(facade.wall, np.float32) * gain[..., None], 0, 255).astype(np.uint8)
    return grain(bare, rng, 0.10)


def _shade(colour: Rgb, gain: float) -> Rgb:
    red, green, blue = (int(min(255.0, max(0.0, c * gain))) for c in colour)
    return red, green, blue


def _ink(rng: np.random.Generator) -> Rgb:
    """Return any colour."""
    red, green, blue = (int(c) for c in rng.integers(20, 240, 3))
    return red, green, blue


def facade(
    look: Facade,
    length: float,
    height: float,
    side: int,
    rng: np.random.Generator,
    *,
    ground_floor: bool,
) -> Pyramid:
    """Return one wall of a building, `length` x `height` metres; `side` 0 has the main entrance."""
    s = PX_PER_M
    w, h = max(int(length * s), 8), max(int(height * s), 8)
    image = Image.fromarray(_material(look, h, w, rng))
    draw = ImageDraw.Draw(image)
    storeys = max(1, int(height / look.storey))
    bays = max(1, int(length / look.bay))
    bay, storey = w / bays, h / storeys
    frame = _shade(look.trim, 0.95)
    for floor in range(storeys):
        top = h - (floor + 1) * storey
        if look.windows == "ribbon":
            draw.rectangle([0, top + 0.30 * storey, w, top + 0.78 * storey], fill=frame)
        for b in range(bays):
            pane = _shade(look.glass, 0.7 + 0.6 * rng.random())
            x0, y0 = b * bay, top
            if look.windows == "punched":
                box = [x0 + 0.28 * bay, y0 + 0.2 * storey, x0 + 0.72 * bay, y0 + 0.78 * storey]
            elif look.windows == "arched":
                box = [x0 + 0.22 * bay, y0 + 0.3 * storey, x0 + 0.78 * bay, y0 + 0.88 * storey]
            elif look.windows == "ribbon":
                box = [x0 + 0.03 * bay, y0 + 0.34 * storey, x0 + 0.97 * bay, y0 + 0.74 * storey]
            elif look.windows == "curtain":
                box = [x0 + 0.06 * bay, y0 + 0.05 * storey, x0 + 0.94 * bay, y0 + 0.95 * storey]
            elif look.windows == "slit":
                box = [x0 + 0.40 * bay, y0 + 0.08 * storey, x0 + 0.62 * bay, y0 + 0.92 * storey]
            elif look.windows == "square":
                box = [x0 + 0.15 * bay, y0 + 0.15 * storey, x0 + 0.85 * bay, y0 + 0.8 * storey]
            else:
                r = 0.3 * min(bay, storey)
                cx, cy = x0 + bay / 2, y0 + storey / 2
                box = [cx - r, cy - r, cx + r, cy + r]
            if look.windows in ("punched", "square", "slit"):
                draw.rectangle([box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 3], fill=frame)
            if look.windows == "round":
                draw.ellipse([box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2], fill=frame)
                draw.ellipse(box, fill=pane)
                continue
            if look.windows == "arched":
                r = (box[2] - box[0]) / 2
                draw.ellipse([box[0] - 2, box[1] - r - 2, box[2] + 2, box[1] + r + 2], fill=frame)
                draw.rectangle([box[0] - 2, box[1], box[2] + 2, box[3] + 2], fill=frame)
                draw.ellipse([box[0], box[1] - r, box[2], box[1] + r], fill=pane)
            draw.rectangle(box, fill=pane)
            if rng.random() < 0.35:  # a blind
                low = box[1] + (box[3] - box[1]) * rng.random() * 0.7
                draw.rectangle([box[0], box[1], box[2], low], fill=_shade(look.trim, 0.85))
            draw.line(
                [(box[0] + box[2]) / 2, box[1], (box[0] + box[2]) / 2, box[3]],
                fill=_shade(frame, 0.8),
            )
    draw.rectangle([0, 0, w, 0.5 * s], fill=look.trim)
    if ground_floor:
        draw.rectangle([0, h - 0.8 * s, w, h], fill=_shade(look.trim, 0.7))
        for door in range(1 if side else 3):
            x = w * (0.5 + 0.16 * (door - 1)) if side == 0 else w * (0.2 + 0.6 * rng.random())
            draw.rectangle([x - 1.1 * s, h - 2.9 * s, x + 1.1 * s, h], fill=look.trim)
            draw.rectangle([x - 0.8 * s, h - 2.6 * s, x + 0.8 * s, h], fill=look.accent)
        if side == 0:  # a canopy over the main entrance
            draw.rectangle([w * 0.28, h - 3.9 * s, w * 0.72, h - 3.2 * s], fill=look.accent)
    if side == 1:  # banners
        for k in range(3):
            x = w * (0.25 + 0.25 * k)
            draw.rectangle([x - 0.6 * s, 0.2 * h, x + 0.6 * s, 0.2 * h + 5 * s], fill=look.accent)
            draw.ellipse([x - 0.4 * s, 0.2 * h + s, x + 0.4 * s, 0.2 * h + 1.8 * s], fill=look.trim)
    if side == 2 and ground_floor:  # a mural in three colours
        left, width, tall = w * 0.3, w * 0.4, min(6.5 * s, 0.6 * h)
        inks = [_shade(look.accent, 0.8), look.trim, _ink(rng), _ink(rng)]
        draw.rectangle([left, h - 0.8 * s - tall, left + width, h - 0.8 * s], fill=inks[0])
        for k in range(9):
            x = left + width * (k + rng.random()) / 10
            y = h - 0.8 * s - tall * (0.1 + 0.5 * rng.random())
            wide, high = width * (0.06 + 0.1 * rng.random()), tall * (0.15 + 0.25 * rng.random())
            box = [x, y, min(x + wide, left + width), min(y + high, h - 0.8 * s)]
            (draw.ellipse if rng.random() < 0.4 else draw.rectangle)(box, fill=inks[1 + k % 3])
    pixels = np.asarray(image).copy()
    if side == 3 and look.material in ("brick", "stone", "stucco"):  # ivy
        ivy = rng.random((h // 6 + 1, w // 6 + 1))
        reach = 0.25 + 0.5 * rng.random((1, w // 6 + 1))
        above = np.linspace(1, 0, h // 6 + 1)[:, None]
        leaves = np.kron(ivy > above / reach, np.ones((6, 6), bool))[:h, :w]
        green = rng.integers(40, 110, (h, w, 1)) * np.array([0.55, 1.0, 0.4])
        pixels = np.where(leaves[..., None], green.astype(np.uint8), pixels)
    return pyramid(grain(pixels, rng, 0.05))


LEAVES: list[Rgb] = [
    (70, 110, 44),
    (52, 92, 40),
    (96, 128, 50),
    (150, 134, 48),
    (172, 84, 40),
    (206, 150, 168),
    (40, 78, 56),
    (120, 52, 52),
    (112, 140, 84),
    (64, 100, 84),
]


def species(u: float, v: float, rng: np.random.Generator) -> int:
    """Return which tree grows at (u, v) in 0..1: each quarter has two of its own."""
    if rng.random() < 1 / 3:
        return int(rng.integers(0, len(LEAVES)))
    planted = [[(5, 7), (6, 9)], [(4, 3), (2, 8)]]  # [south, north][west, east]
    return planted[int(v > 0.5)][int(u > 0.5)][int(rng.integers(0, 2))]


def tree(kind: int, rng: np.random.Generator) -> Pyramid:
    """Draw a tree of 256 x 320 pixels, its species and shape drawn from `kind` and `rng`."""
    image = Image.new("RGBA", (256, 320), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    leaf = LEAVES[kind % len(LEAVES)]
    draw.polygon([(122, 150), (134, 150), (138, 320), (118, 320)], fill=(84, 66, 50, 255))
    conifer = kind % len(LEAVES) in (6, 9)
    for _ in range(700):
        t = rng.random()
        spread = 116 * t if conifer else 112 * max(0.0, 1 - (2 * t - 1) ** 2) ** 0.5
        x = 128 + spread * (2 * rng.random() - 1)
        y = 8 + 260 * t if conifer else 12 + 208 * t
        r = 5 + 10 * rng.random()
        colour = _shade(leaf, 1.25 - 0.6 * t + 0.5 * (rng.random() - 0.5))
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(*colour, 255))
    return pyramid(np.asarray(image))


def sculpture(kind: int, rng: np.random.Generator) -> Pyramid:
    """Draw a small landmark of 64 x 80 pixels: abstract, each in a colour and shape of its own."""
    image = Image.new("RGBA", (64, 80), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    colour = _ink(rng)
    other = _ink(rng)
    draw.rectangle([16, 66, 48, 80], fill=(150, 148, 144, 255))
    if kind % 4 == 0:
        draw.ellipse([8, 8, 56, 56], fill=(*colour, 255))
        draw.ellipse([20, 20, 44, 44], fill=(*other, 255))
    elif kind % 4 == 1:
        draw.polygon([(32, 0), (58, 66), (6, 66)], fill=(*colour, 255))
        draw.rectangle([26, 30, 38, 66], fill=(*other, 255))
    elif kind % 4 == 2:
        for k in range(4):
            draw.rectangle(
                [4 + 15 * k, 6 + 8 * (k % 2), 14 + 15 * k, 66],
                fill=(*(colour if k % 2 else other), 255),
            )
    else:
        draw.rectangle([28, 2, 36, 66], fill=(*other, 255))
        draw.rectangle([6, 8, 58, 34], fill=(*colour, 255))
    return pyramid(np.asarray(image))


def lamp() -> Pyramid:
    """Draw a street lamp of 32 x 160 pixels."""
    image = Image.new("RGBA", (32, 160), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle([14, 18, 18, 160], fill=(46, 50, 54, 255))
    draw.rectangle([12, 148, 20, 160], fill=(46, 50, 54, 255))
    draw.polygon([(6, 4), (26, 4), (22, 26), (10, 26)], fill=(236, 230, 206, 255))
    draw.rectangle([5, 0, 27, 4], fill=(46, 50, 54, 255))
    return pyramid(np.asarray(image))


def person(rng: np.random.Generator) -> Pyramid:
    """Draw a passer-by of 40 x 112 pixels."""
    image = Image.new("RGBA", (40, 112), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    skin = _shade((224, 178, 146), 0.45 + 0.6 * rng.random())
    top = _ink(rng)
    legs = _shade((60, 66, 90), 0.5 + rng.random())
    hair = _shade((90, 64, 40), 0.3 + rng.random())
    stride = int(rng.integers(0, 7))
    draw.polygon([(13, 62), (20, 62), (18 - stride, 112), (11 - stride, 112)], fill=(*legs, 255))
    draw.polygon([(20, 62), (28, 62), (30 + stride, 112), (23 + stride, 112)], fill=(*legs, 255))
    draw.rounded_rectangle([9, 22, 31, 66], 7, fill=(*top, 255))
    draw.rounded_rectangle([4, 25, 10, 58], 3, fill=(*_shade(top, 0.85), 255))
    draw.rounded_rectangle([30, 25, 36, 58], 3, fill=(*_shade(top, 0.85), 255))
    draw.ellipse([13, 3, 27, 22], fill=(*skin, 255))
    draw.pieslice([12, 1, 28, 20], 180, 360, fill=(*hair, 255))
    if rng.random() < 0.4:
        bag = _ink(rng)
        draw.rounded_rectangle([24, 28, 37, 54], 4, fill=(*bag, 255))
    return pyramid(np.asarray(image))
