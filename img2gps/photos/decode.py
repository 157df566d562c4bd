"""From the bytes of a photo to a small upright square of pixels, or a named reason why not.

The order of work makes it fast. The JPEG decoder itself shrinks to at least twice the wanted
size, an antialiased bilinear resize does the rest, and only the small picture is turned upright.
Photos are squashed to a square, so turning before or after the resize gives the same picture.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from img2gps.photos.containers import count_scans, truncated_heif, zeroed_jpeg
from img2gps.photos.dng import is_dng, preview
from img2gps.photos.photofile import Unusable

DECODER_VERSION = "1"  # raise it when the same file gives other pixels than before

MAX_PIXELS = 300_000_000  # phones reach 200 megapixels
MAX_SCANS = 200  # an ordinary progressive JPEG has about 10; each scan costs a full pass
MAX_BYTES = 3 * 2**30  # of memory to decode one picture; 200 megapixels of HEIC take 1.6 GB
# A file's own magic decides which of these reads it; Pillow's other readers run whole interpreters.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF")  # JPEG includes MPO
_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")  # that the readers know
_HEIC_ALIASES = (b"heif", b"MiHE", b"MiHB")  # of Nokia's writer and of some phones

# Pillow raises above twice this and warns in between; `decode` itself checks the size.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")  # on odd tags; they name no file
pillow_heif.register_heif_opener()

ON_ITS_SIDE = (5, 6, 7, 8)
TURN = {  # EXIF orientation to what brings the picture upright (EXIF 2.32, tag 0x0112)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_COPY_AGAIN = "copy the original again"


class NeedsMemory(Exception):
    """Decoding a picture takes more memory than it was allowed."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(n_bytes)
        self.n_bytes = n_bytes


def open_image(data: bytes) -> Image.Image:
    """Open a picture without decoding it; raises `Unusable` with the reason."""
    if truncated_heif(data):  # before Pillow, which calls it no picture at all
        raise Unusable("truncated: parts of the picture are missing", _COPY_AGAIN)
    try:
        return Image.open(io.BytesIO(_with_known_brand(data)), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise Unusable("not a picture that can be read", "export it as JPEG") from error
    except Image.DecompressionBombError as error:
        raise Unusable(_too_large("the header claims a picture"), "export it smaller") from error
    except Exception as error:  # Pillow's plugins raise whatever a broken header led them to
        raise Unusable(f"damaged header ({error})", _COPY_AGAIN) from error


def _with_known_brand(data: bytes) -> bytes:
    """Return a HEIC or AVIF under a brand that pillow-heif knows; it looks only at the first."""
    major = data[8:12]
    if data[4:8] != b"ftyp" or major in _BRANDS:
        return data
    end = min(int.from_bytes(data[:4], "big"), 256)
    also = (data[at : at + 4] for at in range(16, end, 4))
    brand = next((brand for brand in also if brand in _BRANDS), None)
    if brand is None and major in _HEIC_ALIASES:
        brand = b"heic"
    return data if brand is None else data[:8] + brand + data[12:]


def decode(
    data: bytes, size: int, max_bytes: int = MAX_BYTES
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return upright pixels of shape (size, size, 3) and the upright picture's width and height.

    Raises `Unusable` if the picture cannot be decoded completely, and `NeedsMemory` if that would
    take more than `max_bytes`.
    """
    with open_image(data) as file:
        try:
            image = file
            if is_dng(file):
                data = preview(file, data)
                image = open_image(data)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Unusable(_too_large(f"{width} x {height}"), "export it smaller")
            small = _shrink(image, size, data, max_bytes)
            orientation = _orientation(file)  # afterwards: loading a TIFF turns it upright
            shape = (height, width) if orientation in ON_ITS_SIDE else (width, height)
            return np.asarray(_upright(small, orientation)), shape
        except (Unusable, NeedsMemory, MemoryError):
            raise
        except Exception as error:  # as above: OSError, SyntaxError, struct.error, ValueError ...
            why = re.sub(r" \(\d+ bytes.*?\)", "", str(error))  # so that equal reasons are equal
            raise Unusable(f"cannot be decoded ({why})", _COPY_AGAIN) from error


def _too_large(what: str) -> str:
    return f"{what} of more than {MAX_PIXELS // 1_000_000} megapixels"


def _shrink(image: Image.Image, size: int, data: bytes, max_bytes: int) -> Image.Image:
    """Decode to RGB of size x size. Transparency becomes white; 16-bit grey is scaled."""
    if image.mode == "F":
        raise Unusable("floating-point pixels", "export it as 8-bit JPEG")
    full = image.width * image.height
    if image.format in ("JPEG", "MPO"):
        _check_jpeg(image, data)
        if isinstance(image, ImageFile.ImageFile):
            image.decodermaxblock = len(data)  # Pillow's blocks of 64 KB stop libjpeg in each row
        # Only here: on HEIC, `draft` silently gives the embedded thumbnail.
        image.draft("RGB", (2 * size, 2 * size))
    needed = _decode_bytes(image, full)
    if needed > MAX_BYTES:
        raise Unusable(f"takes {needed / 2**30:.1f} GB of memory to decode", "export it smaller")
    if needed > max_bytes:
        raise NeedsMemory(needed)
    if image.mode.startswith("I"):  # "I;16", "I;16B" and, from some PNG and TIFF files, "I"
        grey = np.asarray(image).clip(0, 65535) >> 8  # Pillow itself would clip at 255
        image = Image.fromarray(grey.astype(np.uint8))
    clear = image.has_transparency_data
    mode = "RGBA" if clear else "RGB"
    if image.mode not in (mode, "LA" if clear else ""):
        image = image.convert(mode)
    small = image.resize((size, size), Image.Resampling.BILINEAR)
    if not clear:
        return small
    white = Image.new("RGBA", small.size, "white")
    return Image.alpha_composite(white, small.convert("RGBA")).convert("RGB")


def _decode_bytes(image: Image.Image, full: int) -> int:
    """Return about how much memory decoding takes; `full` is the picture's pixels before `draft`.

    Bytes per pixel were measured with Pillow 13 and pillow-heif 1.8.
    """
    pixels = image.width * image.height
    per_pixel = {"HEIF": 8, "AVIF": 10, "WEBP": 16}.get(image.format or "", 4)
    if image.has_transparency_data:
        per_pixel += 4 if image.mode in ("RGBA", "LA") else 8
    elif image.mode.startswith("I"):
        per_pixel = 10
    elif image.mode not in ("RGB", "L", "1"):
        per_pixel += 4
    progressive = 3 * full if image.info.get("progressive") else 0  # all coefficients at once
    return per_pixel * pixels + progressive


def _orientation(image: Image.Image) -> int:
    """Return the orientation that is left to apply; pillow-heif has already turned its pictures."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value)
    except Exception:  # `exif.read` reports broken EXIF
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = TURN.get(orientation)
    return image if turn is None else image.transpose(turn)


def _check_jpeg(image: Image.Image, data: bytes) -> None:
    """Refuse what the JPEG decoder accepts: endless progressive scans and blocks of zeros."""
    if image.info.get("progressive"):
        scans = count_scans(data)
        if scans > MAX_SCANS:
            raise Unusable(f"progressive JPEG of {scans} scans", "export it as an ordinary JPEG")
    if zeroed_jpeg(data):
        raise Unusable("damaged: a block of zeros inside the picture", _COPY_AGAIN)


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """Return the hex digest of one photo's pixels: the manifest's `content`."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()
