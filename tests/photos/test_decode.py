"""Decoding: upright squares, close to the exact picture, and every awful file refused by name."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from img2gps.photos import exif
from img2gps.photos.containers import ZERO_RUN, truncated_heif, zeroed_jpeg
from img2gps.photos.decode import MAX_SCANS, NeedsMemory, decode
from img2gps.photos.photofile import Unusable, display_name, read_bytes
from tests.helpers.hostile import HOSTILE, png_of
from tests.helpers.photos import dng, gps_fields, make_photo, picture

Pixels = NDArray[np.uint8]


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exact(data: bytes, size: int) -> Pixels:
    """The picture by Pillow's own slow way."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR))


pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def noisy(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A gradient with texture, which compresses like a photo and not like a drawing."""
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, 20, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(picture(size, seed)) + grain).clip(0, 255).astype(np.uint8))


# --- right pixels ---------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "heic", "avif"])
def test_every_orientation_comes_out_upright_in_every_format(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = make_photo(
        tmp_path / f"a.{suffix}", 1, 1, size=(96, 64), orientation=orientation, seed=3
    )
    data = path.read_bytes()
    found, size = decode(data, 32)
    assert size == ((64, 96) if orientation >= 5 else (96, 64))
    assert difference(found, exact(data, 32)) < 2
    as_stored = np.asarray(picture((96, 64), 3).resize((32, 32), Image.Resampling.BILINEAR))
    turned = ImageOps.exif_transpose(with_orientation(Image.fromarray(as_stored), orientation))
    assert difference(found, np.asarray(turned)) < 4  # lossy formats


def with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[0x0112] = orientation
    return image


def test_draft_decoding_stays_close_to_the_full_picture() -> None:
    data = encode(noisy((1600, 1200)), "JPEG", quality=92)
    found, stored = decode(data, 224)
    assert stored == (1600, 1200)
    assert found.shape == (224, 224, 3)
    assert difference(found, exact(data, 224)) < 0.5


def test_real_photos_differ_by_less_than_half_a_grey_level(real_photos: Path) -> None:
    paths = sorted((real_photos / "penn-quad-full").glob("*.jpg"))[::4]
    for path in paths:
        data = path.read_bytes()
        assert difference(decode(data, 224)[0], exact(data, 224)) < 0.5, path.name


def test_heic_is_not_taken_from_its_thumbnail() -> None:
    image = noisy((640, 480))
    image.info["thumbnails"] = [128]
    data = encode(image, "HEIF", quality=90)
    opened = Image.open(io.BytesIO(data))
    opened.draft("RGB", (100, 80))
    assert opened.size == (128, 96)  # what draft would have given
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
    assert difference(decode(data, 64)[0], expected) < 1.5


@pytest.mark.parametrize(
    ("image", "kind", "grey"),
    [
        (Image.fromarray(np.full((8, 8), 32768, np.uint16)), "PNG", 128),
        (Image.fromarray(np.full((8, 8), 65535, np.uint16)), "PNG", 255),
        (Image.fromarray(np.full((8, 8), 32768, np.uint16)), "TIFF", 128),
        (Image.new("L", (8, 8), 77), "PNG", 77),
        (Image.new("L", (64, 64), 77), "JPEG", 77),
        (Image.new("1", (8, 8), 1), "PNG", 255),
        (Image.new("LA", (8, 8), (0, 0)), "PNG", 255),  # transparent shows white
        (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG", 255),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 255)), "WEBP", 0),
        (Image.new("CMYK", (64, 64), (0, 0, 0, 128)), "JPEG", 127),
    ],
    ids=lambda value: getattr(value, "mode", str(value)),
)
def test_odd_modes_become_eight_bit_rgb(image: Image.Image, kind: str, grey: int) -> None:
    found, _ = decode(encode(image, kind), 8)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - grey).max() <= 1


def test_palette_with_alpha_shows_white_where_it_is_transparent() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert decode(encode(image, "PNG", transparency=1), 8)[0].min() == 255
    assert decode(encode(image, "PNG", transparency=0), 8)[0][0, 0].tolist() == [200, 100, 50]


def test_an_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    data = encode(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert decode(data, 8)[0][0, 0].tolist() == [255, 0, 0]


def test_the_benchmark_compares_like_with_like(tmp_path: Path) -> None:
    for i in range(2):
        image = noisy((1200, 900), i)
        make_photo(tmp_path / f"{i}.jpg", 1, 1, image=image, orientation=6)
    script = Path(__file__).parents[2] / "benchmarks" / "ingest.py"
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "--rounds", "1"],
        capture_output=True,
        check=True,
        encoding="utf-8",
        cwd=script.parent.parent,
        env={**os.environ, "PYTHONPATH": str(script.parent.parent)},
    ).stdout
    found = json.loads(result)
    assert (found["photos"], found["threads"]) == (2, 1)
    assert set(found["speed_up"]) == {"transpose_first", "transpose_last"}
    assert set(found["most_speed_up"]) == set(found["speed_up"])
    assert found["guard_cost"] > 0
    assert found["mean_difference_grey_levels"]["unguarded"] == 0
    for differs in found["mean_difference_grey_levels"].values():
        assert differs < 1  # of noise, which is harder than a photo


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_dng_is_read_by_its_preview_with_its_own_exif(orientation: int) -> None:
    shown = picture((320, 240), 5)
    data = dng(
        encode(shown, "JPEG", quality=95), shown.size, gps_fields(39.95, -75.19), orientation
    )
    found, size = decode(data, 32)
    assert size == ((240, 320) if orientation >= 5 else (320, 240))
    turned = ImageOps.exif_transpose(with_orientation(shown.copy(), orientation))
    expected = np.asarray(turned.resize((32, 32), Image.Resampling.BILINEAR))
    assert difference(found, expected) < 2
    told = exif.read(data, "a.dng")
    assert (told.camera, told.orientation) == ("Maker Phone 1", orientation)
    assert told.lat_deg == pytest.approx(39.95)
    assert told.lon_deg == pytest.approx(-75.19)


def test_a_dng_without_a_preview_says_so() -> None:
    small = encode(picture((80, 60)), "JPEG")
    for jpeg, size in ((small, (80, 60)), (b"raw data", (320, 240))):
        with pytest.raises(Unusable, match="no JPEG preview in it"):
            decode(dng(jpeg, size, None), 32)


# --- awful files ----------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    data = bytearray(encode(Image.new("RGB", (1, 1)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: valid, and `count` times the work."""
    data = encode(picture((64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def zeroed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(ZERO_RUN) + data[middle + ZERO_RUN :]


PHOTO = encode(noisy((640, 480)), "JPEG", quality=90)
HEIC = encode(noisy((256, 192)), "HEIF", quality=80)
AVIF = encode(noisy((256, 192)), "AVIF", quality=80)
PNG = encode(noisy((256, 192)), "PNG")
WEBP = encode(noisy((256, 192)), "WEBP")
TIFF = encode(noisy((256, 192)), "TIFF")

AWFUL: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: b"this is no picture\n" * 100, "not a picture"),
    "zeros": (lambda: bytes(5000), "not a picture"),
    "half a JPEG": (lambda: PHOTO[: len(PHOTO) // 2], "cannot be decoded (image file is truncated"),
    "JPEG without its last bytes": (lambda: PHOTO[:-3000], "truncated"),
    "JPEG header only": (lambda: PHOTO[:600], "damaged header"),
    "zeroed JPEG": (lambda: zeroed(PHOTO), "a block of zeros"),
    "half a HEIC": (lambda: HEIC[: len(HEIC) // 2], "truncated"),
    "HEIC without its last byte": (lambda: HEIC[:-1], "truncated"),
    "half an AVIF": (lambda: AVIF[: len(AVIF) // 2], "truncated"),
    "half a PNG": (lambda: PNG[: len(PNG) // 2], "cannot be decoded"),
    "half a WebP": (lambda: WEBP[: len(WEBP) // 2], "damaged header"),
    "half a TIFF": (lambda: TIFF[: len(TIFF) // 2], "cannot be decoded"),
    "header bomb": (lambda: png_header(60_000, 60_000), "more than 300 megapixels"),
    "smaller header bomb": (lambda: png_header(20_000, 16_000), "more than 300 megapixels"),
    "endless scans": (lambda: many_scans(MAX_SCANS + 1), "progressive JPEG of"),
    "float TIFF": (lambda: encode(Image.new("F", (8, 8)), "TIFF"), "floating-point"),
}


@pytest.mark.parametrize("name", AWFUL)
def test_awful_files_are_refused_with_a_reason(name: str) -> None:
    make, reason = AWFUL[name]
    with pytest.raises(Unusable) as refusal:
        decode(make(), 32)
    assert reason in refusal.value.reason
    assert refusal.value.remedy


def test_a_photo_of_200_megapixels_is_a_photo() -> None:
    data = encode(Image.new("L", (16_384, 12_288), 90), "JPEG", quality=30)
    found, stored = decode(data, 16)
    assert stored == (16_384, 12_288)
    assert np.abs(found.astype(int) - 90).max() <= 1


def test_ordinary_progressive_jpeg_is_read() -> None:
    data = encode(noisy((320, 240)), "JPEG", progressive=True)
    assert difference(decode(data, 32)[0], exact(data, 32)) < 1


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_flat_pictures_are_not_taken_for_damaged(colour: str, optimize: bool) -> None:
    data = encode(Image.new("RGB", (4000, 3000), colour), "JPEG", optimize=optimize)
    assert not zeroed_jpeg(data)
    assert decode(data, 8)[0].shape == (8, 8, 3)


def test_padding_behind_the_picture_is_not_damage() -> None:
    assert not zeroed_jpeg(PHOTO + bytes(3 * ZERO_RUN))


@pytest.mark.parametrize("shift", [0, 1, 511, 1023])
def test_zeros_are_found_wherever_they_start(shift: int) -> None:
    start = len(PHOTO) // 3 + shift
    assert zeroed_jpeg(PHOTO[:start] + bytes(ZERO_RUN) + PHOTO[start + ZERO_RUN :])


@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heic", "avif"])
def test_a_whole_file_is_not_truncated_and_every_part_of_it_is(data: bytes) -> None:
    assert not truncated_heif(data)
    for length in range(300, len(data), 997):
        assert truncated_heif(data[:length]), length


def test_real_files_are_not_taken_for_damaged(real_photos: Path) -> None:
    for path in real_photos.rglob("*.[jh]*"):
        data = path.read_bytes()
        assert not zeroed_jpeg(data), path.name
        assert not truncated_heif(data), path.name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_within_seconds_and_600_megabytes(name: str) -> None:
    code = (
        "import sys; from tests.helpers.hostile import HOSTILE; from img2gps.photos import exif\n"
        "data = HOSTILE[sys.argv[1]]()\n"
        "print(exif.read(data).reason)"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_DATA, (600 * 2**20, 600 * 2**20))

    command = [sys.executable, "-c", code, name]
    found = subprocess.run(command, capture_output=True, encoding="utf-8", preexec_fn=limit)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()


def test_postscript_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)  # what Pillow would start Ghostscript with
    monkeypatch.setattr(subprocess, "check_call", None)
    with pytest.raises(Unusable, match="not a picture that can be read"):
        decode(HOSTILE["PostScript"](), 8)


def test_transparency_is_shrunk_before_it_becomes_white() -> None:
    data = encode(Image.new("RGBA", (640, 480), (200, 100, 50, 128)), "PNG")
    assert decode(data, 8)[0][0, 0].tolist() == pytest.approx([227, 177, 152], abs=1)


def test_a_decode_that_takes_more_memory_than_allowed_does_not_start() -> None:
    data = png_of(8000, 6000, 6)
    with pytest.raises(NeedsMemory) as refusal:
        decode(data, 8, max_bytes=100_000_000)
    assert refusal.value.n_bytes == 8 * 48_000_000  # RGBA, and once more with alpha multiplied in
    assert decode(png_of(800, 600, 6), 8, max_bytes=100_000_000)[1] == (800, 600)


def test_memory_of_a_large_transparent_picture_stays_within_its_estimate() -> None:
    code = (
        "import resource; from tests.helpers.hostile import png_of\n"
        "from img2gps.photos.decode import decode\n"
        "decode(png_of(100, 100, 6), 8); data = png_of(6000, 6000, 6)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decode(data, 8)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(found.stdout) * 1024 < 1.1 * 8 * 36_000_000


def test_a_video_behind_a_progressive_photo_is_not_counted_as_its_scans() -> None:
    photo = encode(picture((64, 64)), "JPEG", progressive=True)
    assert decode(photo + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 1000, 8)[1] == (64, 64)


@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heic", "avif"])
def test_a_text_behind_a_heic_is_no_damage(data: bytes) -> None:
    tail = data + b"SEFH and other things that a phone appends"
    assert not truncated_heif(tail)
    assert decode(tail, 8)[1] == (256, 192)


# --- the file itself ------------------------------------------------------------------------


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(Unusable, match="not a regular file"):
        read_bytes(tmp_path / "a.jpg")


def test_links_and_folders_and_empty_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in {
        "loop.jpg": "cannot be opened: Too many levels",
        "nowhere.jpg": "cannot be opened: No such file",
        "empty.jpg": "empty file",
        "folder.jpg": "not a regular file",
    }.items():
        with pytest.raises(Unusable, match=reason):
            read_bytes(tmp_path / name)


def test_a_name_that_is_not_utf_8_is_shown_with_backslashes() -> None:
    assert display_name(os.fsdecode(b"caf\xe9/a.jpg")) == r"caf\xe9/a.jpg"
    assert display_name("café.jpg") == "café.jpg"


def test_a_heic_whose_table_of_items_is_cut_short_is_damaged() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">L4s", 8 + len(content), kind) + content

    for length in range(6):
        table = box(b"iloc", bytes(length))
        data = box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(4) + table)
        assert truncated_heif(data)
