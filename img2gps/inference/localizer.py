"""Photos to positions in three lines of Python.

from img2gps import Localizer
localizer = Localizer.load("table1")
positions = localizer.predict(["photo.jpg", picture])
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_folder
from img2gps.inference import held_out
from img2gps.inference.calibrate import calibrated
from img2gps.inference.card import Card
from img2gps.inference.density import Density
from img2gps.inference.deployed import Deployed, from_runs
from img2gps.inference.exported import read_exported
from img2gps.inference.find import find, newest, run_folders
from img2gps.inference.gallery import Gallery, gallery_of
from img2gps.inference.inputs import Input, Photo, read_input, read_inputs, several
from img2gps.inference.network import Answer, average
from img2gps.inference.position import Answered, Neighbour, Position, position_of
from img2gps.inference.predict import BATCH
from img2gps.runs.fetching import fetch


class Localizer:
    """A trained model that answers where photos were taken."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self._gallery: Gallery | None = None
        self._asking = Lock()  # maps are noted while the network runs, which threads must not mix

    @classmethod
    def load(cls, name: str | Path = "", roots: Sequence[Path] | None = None) -> Localizer:
        """Load a model.

        Args:
            name: a study (its final model, else its winner), a run id, a run folder or an exported
                folder; by default the newest study that has a winner.
            roots: where studies are; by default the runs folder and `results`.

        Raises:
            BadInput: there is none, or it cannot be read; the message says what to do.
        """
        if not roots:
            roots = [runs_folder(), Path("results")]
            fetch(roots[0])
        return cls(load(str(name) or newest(list(roots)), list(roots)))

    @property
    def card(self) -> Card:
        """Return what is known of the model: data, expected error, radius."""
        return self.deployed.card

    @property
    def gallery(self) -> Gallery | None:
        """Return the training photos to compare with; None if they are not available."""
        if self._gallery is None:
            self._gallery = gallery_of(self.deployed)
        return self._gallery

    def predict(
        self, photos: Photo | Iterable[Photo], *, level: float | None = None, neighbours: int = 0
    ) -> list[Position]:
        """Return one answer per photo, in order.

        Args:
            photos: paths, file contents, PIL pictures, or uint8 arrays (height, width, 3); one of
                these alone, too.
            level: the probability with which the radius holds the true position; default 0.9.
            neighbours: how many of the most similar training photos to name.
        """
        return list(self.stream(photos, level=level, neighbours=neighbours))

    def stream(
        self, photos: Photo | Iterable[Photo], *, level: float | None = None, neighbours: int = 0
    ) -> Iterator[Position]:
        """Yield what `predict` returns, a batch of photos at a time."""
        radius_m = self._radius_m(level)
        gallery = self.gallery if neighbours else None
        inputs = read_inputs(several(photos), self.card.image_size)
        while batch := list(islice(inputs, BATCH)):
            yield from self._answers(batch, radius_m, gallery, neighbours)

    def locate(self, photo: Photo, name: str = "", *, neighbours: int = 0) -> Position:
        """Return the answer for one photo, under a name of its own."""
        read = read_input(photo, self.card.image_size, name)
        gallery = self.gallery if neighbours else None
        return next(self._answers([read], self._radius_m(None), gallery, neighbours))

    def answer(self, pixels: NDArray[np.uint8]) -> Answer:
        """Return the network's own answer for upright square photos (n, size, size, 3), uint8."""
        with self._asking, torch.inference_mode():
            answer: Answer = self.deployed.network(torch.from_numpy(np.array(pixels)))
        return answer

    def mean_position(self) -> tuple[float, float]:
        """Return the mean training position, which the mean predictor always answers."""
        with torch.inference_mode():
            scaled = torch.zeros(1, 2)
            members = [member.degrees(scaled) for member in self.deployed.network.parts()]
            lat, lon = average(members)[0].tolist()
        return lat, lon

    def has_radius(self, level: float) -> bool:
        """Return whether enough spots were held out for a radius of this level."""
        return math.isfinite(self._radius_m(level))

    def _radius_m(self, level: float | None) -> float:
        trust = self.deployed.network.trust
        if level is None:
            return float(trust.radius_m)
        if not 0 < level < 1:
            raise BadInput(f"level={level}: must lie between 0 and 1, such as 0.9")
        return trust.radius_at(level) if len(trust.errors_m) else math.nan

    def _answers(
        self, inputs: Sequence[Input], radius_m: float, gallery: Gallery | None, neighbours: int
    ) -> Iterator[Position]:
        pixels = [one.pixels for one in inputs if one.pixels is not None]
        found = iter(
            self._answered(np.stack(pixels), radius_m, gallery, neighbours) if pixels else ()
        )
        for one in inputs:
            yield position_of(one, None if one.pixels is None else next(found))

    def _answered(
        self, pixels: NDArray[np.uint8], radius_m: float, gallery: Gallery | None, neighbours: int
    ) -> Iterator[Answered]:
        answer = self.answer(pixels)
        radii_m = (radius_m * answer.scale).tolist()
        none: list[tuple[Neighbour, ...]] = [()] * len(pixels)
        alike = gallery.nearest(answer.features, neighbours) if gallery else none
        densities = map(Density.from_rows, answer.density.tolist())
        strangeness = answer.strangeness.tolist()
        rows = zip(answer.degrees.tolist(), radii_m, strangeness, alike, densities, strict=True)
        for (lat, lon), own_m, strange, photos, density in rows:
            yield Answered(lat, lon, own_m, strange, photos, density)


def load(name: str, roots: Sequence[Path]) -> Deployed:
    """Load the model that a path, a run id or a study names, with its radius.

    Raises:
        BadInput: there is none, or it cannot be read.
    """
    found = find(name, roots)
    if found.exported:
        deployed = read_exported(found.folder)
        return replace(deployed, folders=run_folders(deployed.card.runs, found.runs_below))
    folders = [found.folder, *found.others]
    errors = held_out.validation(folders, found.ranked_cells)
    return calibrated(from_runs(folders, errors, title=found.title), errors)
