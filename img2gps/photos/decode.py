"""From the bytes of a photo to a small upright square of pixels, or a named reason why not.

The order of work makes it fast. The JPEG decoder itself shrinks to at least twice the wanted
size, an antialiased bilinear resize does the rest, and only the small picture is turned upright.
Photos are squashed to a square, so turning before or after the resize gives the same picture.
"""

from __future__ import annotations

import io
import re
import threading
import warnings

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from img2gps.photos.containers import truncated_heif, zeroed_jpeg
from img2gps.photos.photofile import Unusable

DECODER_VERSION = "1"  # raise it when the same file gives other pixels than before

MAX_PIXELS = 300_000_000  # phones reach 200 megapixels
MAX_SCANS = 200  # an ordinary progressive JPEG has about 10; each scan costs a full pass
_BIG_PIXELS = 64_000_000  # one picture above this at a time, to bound the memory of many threads

# Pillow raises above twice this and warns in between; `decode` itself checks the size.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")  # on odd tags; they name no file
pillow_heif.register_heif_opener()

_one_big_picture = threading.Lock()

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


def open_image(data: bytes) -> Image.Image:
    """Open a picture without decoding it; raises `Unusable` with the reason."""
    if truncated_heif(data):  # before Pillow, which calls it no picture at all
        raise Unusable("truncated: parts of the picture are missing", _COPY_AGAIN)
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise Unusable("not a picture that can be read", "export it as JPEG") from error
    except Image.DecompressionBombError as error:
        raise Unusable(_too_large("the header claims a picture"), "export it smaller") from error
    except Exception as error:  # Pillow's plugins raise whatever a broken header led them to
        raise Unusable(f"damaged header ({error})", _COPY_AGAIN) from error


def decode(data: bytes, size: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return upright pixels of shape (size, size, 3) and the upright picture's width and height.

    Raises `Unusable` if the picture cannot be decoded completely.
    """
    with open_image(data) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Unusable(_too_large(f"{width} x {height}"), "export it smaller")
        try:
            if width * height > _BIG_PIXELS:
                with _one_big_picture:
                    small = _shrink(image, size, data)
            else:
                small = _shrink(image, size, data)
            orientation = _orientation(image)
            shape = (height, width) if orientation in ON_ITS_SIDE else (width, height)
            return np.asarray(_upright(small, orientation)), shape
        except Unusable:
            raise
        except Exception as error:  # as above: OSError, SyntaxError, struct.error, ValueError ...
            why = re.sub(r" \(\d+ bytes.*?\)", "", str(error))  # so that equal reasons are equal
            raise Unusable(f"cannot be decoded ({why})", _COPY_AGAIN) from error


def _too_large(what: str) -> str:
    return f"{what} of more than {MAX_PIXELS // 1_000_000} megapixels"


def _shrink(image: Image.Image, size: int, data: bytes) -> Image.Image:
    if image.format in ("JPEG", "MPO"):
        _check_jpeg(image, data)
        # Only here: on HEIC, `draft` silently gives the embedded thumbnail.
        image.draft("RGB", (2 * size, 2 * size))
    return _rgb(image).resize((size, size), Image.Resampling.BILINEAR)


def _rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB. Transparency becomes white; 16-bit grey is scaled, not clipped."""
    if image.mode.startswith("I"):  # "I;16", "I;16B" and, from some PNG and TIFF files, "I"
        grey = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unusable("floating-point pixels", "export it as 8-bit JPEG")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy


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
        scans = data.count(b"\xff\xda")  # 0xFF is escaped inside a scan, so these are markers
        if scans > MAX_SCANS:
            raise Unusable(f"progressive JPEG of {scans} scans", "export it as an ordinary JPEG")
    if zeroed_jpeg(data):
        raise Unusable("damaged: a block of zeros inside the picture", _COPY_AGAIN)
