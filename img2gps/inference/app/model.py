"""What the app asks: a model that answers photos, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, sha256_of
from img2gps.inference.density import Density
from img2gps.inference.inputs import Photo, read_input
from img2gps.inference.position import Answered, Position, position_of

GRAPH, CARD = "model.onnx", "card.json"


class Model(Protocol):
    """A model that answers one photo at a time."""

    card: dict[str, Any]  # what is known of it
    ground: NDArray[np.float64]  # latitude and longitude of training photos, for the map; or none

    def locate(self, photo: Photo, name: str) -> Position:
        """Return the answer for a photo."""
        ...

    def decided(self, photo: Photo) -> str:
        """Return what decided as a picture (a data URI); empty where that cannot be told."""
        ...


class OnnxModel:
    """An exported model, run by onnxruntime."""

    def __init__(self, folder: Path) -> None:
        """Read the folder that `img2gps export --format app` writes.

        Raises:
            BadInput: it is not one.
        """
        import onnxruntime

        card = read_json(folder / CARD)
        if card is None or not _is_card(card):
            raise BadInput(f"{folder}: no readable {CARD}; export it with --format app")
        try:
            if card.get("sha256", digest := sha256_of(folder / GRAPH)) != digest:
                raise ValueError("it has changed since it was exported")
            self._session: Any = onnxruntime.InferenceSession(
                folder / GRAPH, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has an exception for each kind of damage
            reason = " ".join(str(error).split())[:200]
            raise BadInput(
                f"{folder / GRAPH}: cannot be read ({reason}); export it again"
            ) from error
        self.card: dict[str, Any] = card
        self.ground = np.empty((0, 2))

    def locate(self, photo: Photo, name: str) -> Position:
        """Return the answer for a photo."""
        read = read_input(photo, self.card["image_size"], name)
        if read.pixels is None:
            return position_of(read, None)
        outputs: Sequence[NDArray[np.float64]] = self._session.run(
            None, {"pixels": read.pixels[None]}
        )
        (lat, lon), radius_m, strangeness, *density = (column[0].tolist() for column in outputs)
        known = Density.from_rows(density[0]) if density else None
        return position_of(read, Answered(lat, lon, radius_m, strangeness, density=known))

    def decided(self, photo: Photo) -> str:
        """Return nothing: asking a hundred times a photo is not for a small container."""
        return ""


def _is_card(card: dict[str, Any]) -> bool:
    """Return whether a card has what the page shows of it."""
    expected = card.get("expected") or {"rmse_m": 0.0}
    if not (isinstance(card.get("data"), dict) and isinstance(expected, dict)):
        return False
    figures = (expected.get("rmse_m"), expected.get("mean_predictor_rmse_m") or 0.0)
    numbers = all(isinstance(figure, int | float) for figure in figures)
    return numbers and "title" in card and isinstance(card.get("image_size"), int)
