"""What may be handed over as a photo in Python, and what is said of the rest."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2gps.inference import inputs
from img2gps.inference.inputs import read_inputs, several


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (10, 200, 30)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_file_are_one_photo(kind: Any) -> None:
    (found,) = read_inputs(several(kind(png())), 16)
    assert found.pixels is not None
    assert found.pixels.shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("photo", "error"),
    [
        (None, "NoneType is no photo; give paths, file contents, PIL pictures or uint8 arrays"),
        (3, "int is no photo; give paths, file contents, PIL pictures or uint8 arrays"),
        (Image.new("F", (8, 8)), "floating-point pixels; give 8-bit RGB"),
        (np.zeros((8, 8), np.uint8), "array of shape (8, 8) and type uint8; give uint8 RGB"),
    ],
)
def test_what_is_no_photo_is_refused_and_the_others_are_read(photo: Any, error: str) -> None:
    wrong, right = read_inputs([photo, png()], 16)
    assert wrong.error.startswith(error)
    assert right.pixels is not None


def test_a_truncated_picture_that_pil_has_opened_is_named_and_the_others_are_read() -> None:
    file = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(file, "JPEG")
    opened = Image.open(io.BytesIO(file.getvalue()[:3000]))  # PIL reads the pixels later
    wrong, right = read_inputs([opened, png()], 16)
    assert wrong.error.startswith("cannot be decoded (image file is truncated")
    assert wrong.error.endswith("; copy the original again")
    assert right.pixels is not None


def test_what_holds_no_photos_is_an_error_that_names_what_does() -> None:
    photos: Any = 3
    with pytest.raises(TypeError, match=r"give paths, file contents, .*; not int"):
        several(photos)


def test_threads_that_ask_at_once_do_not_take_the_same_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class TakenMeanwhile(list[Any]):
        """Idle readers that another thread takes right after they have been seen."""

        def __bool__(self) -> bool:
            return True

    monkeypatch.setattr(inputs, "_idle", TakenMeanwhile())
    (found,) = read_inputs([np.zeros((8, 8, 3), np.uint8)], 16)
    assert (found.error, found.pixels is None) == ("", False)
