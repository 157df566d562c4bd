"""A model with its run at hand, as the app asks it: with neighbours and what decided."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2gps.inference.explain import occlusion, overlay
from img2gps.inference.inputs import Photo, read_input
from img2gps.inference.localizer import Localizer
from img2gps.inference.position import Position
from img2gps.photos.thumbnails import data_uri

NEIGHBOURS = 4


class LocalModel:
    """A `Localizer` behind the app's interface.

    Without `show_training` nothing of the training photos is shown: neither their pictures and
    names nor where they were taken.
    """

    def __init__(self, localizer: Localizer, *, show_training: bool) -> None:
        self.localizer = localizer
        self.neighbours = NEIGHBOURS if show_training else 0
        self.card: dict[str, Any] = localizer.card.to_dict()
        gallery = localizer.gallery if show_training else None
        self.ground: NDArray[np.float64] = (
            np.empty((0, 2)) if gallery is None else gallery.positions()
        )

    def locate(self, photo: Photo, name: str) -> Position:
        """Return the answer for a photo, with the training photos that look most alike."""
        return self.localizer.locate(photo, name, neighbours=self.neighbours)

    def decided(self, photo: Photo) -> str:
        """Return the photo with what decided in colour."""
        pixels = read_input(photo, self.localizer.card.image_size).pixels
        if pixels is None:
            return ""
        return data_uri(overlay(pixels, occlusion(self.localizer, pixels)))
