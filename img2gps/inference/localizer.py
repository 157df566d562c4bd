"""Photos to positions in three lines of Python.

from img2gps import Localizer
localizer = Localizer.load("table1")
positions = localizer.predict(["photo.jpg", picture])
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.hardware import cores
from img2gps.core.paths import runs_folder
from img2gps.inference import held_out
from img2gps.inference.calibrate import calibrated
from img2gps.inference.card import Card
from img2gps.inference.deployed import Deployed, from_runs
from img2gps.inference.exported import read_exported
from img2gps.inference.find import find, newest, run_folders
from img2gps.inference.gallery import Gallery, Neighbour, gallery_of
from img2gps.inference.inputs import Input, Photo, read_inputs
from img2gps.inference.network import Answer, average
from img2gps.inference.predict import BATCH
from img2gps.photos.guard import Readers


@dataclass(frozen=True)
class Position:
    """The answer for one photo, or the reason why there is none.

    Attributes:
        photo: its name.
        lat_deg, lon_deg: the answer in degrees (WGS 84).
        radius_m: the true position lies within it with the probability asked for; None where that
            is unknown.
        from_here: whether the photo looks like the training ground; None where that is unknown.
        strangeness: above 1 where it does not.
        true_lat_deg, true_lon_deg: the position that the photo itself says, if it does.
        error_m: distance between the two.
        neighbours: the training photos that look most alike, most similar first.
        error: why there is no answer, and what to do.
    """

    photo: str
    lat_deg: float | None = None
    lon_deg: float | None = None
    radius_m: float | None = None
    from_here: bool | None = None
    strangeness: float | None = None
    true_lat_deg: float | None = None
    true_lon_deg: float | None = None
    error_m: float | None = None
    neighbours: tuple[Neighbour, ...] = ()
    error: str = ""


class Localizer:
    """A trained model that answers where photos were taken."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self._gallery: Gallery | None = None
        self._idle: list[Readers] = []  # kept, as starting them takes longer than one answer

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
        roots = list(roots) if roots else [runs_folder(), Path("results")]
        return cls(load(str(name) or newest(roots), roots))

    @property
    def card(self) -> Card:
        """Return what is known of the model: data, expected error, radius."""
        return self.deployed.card

    @property
    def gallery(self) -> Gallery | None:
        """Return the training photos to compare with; None where they are not at hand."""
        if self._gallery is None:
            self._gallery = gallery_of(self.deployed)
        return self._gallery

    def predict(
        self, photos: Iterable[Photo], *, level: float | None = None, neighbours: int = 0
    ) -> list[Position]:
        """Return one answer per photo, in order.

        Args:
            photos: paths, file contents, PIL pictures, or uint8 arrays (height, width, 3).
            level: the probability with which the radius holds the true position; default 0.9.
            neighbours: how many of the most similar training photos to name.
        """
        return list(self.stream(photos, level=level, neighbours=neighbours))

    def stream(
        self, photos: Iterable[Photo], *, level: float | None = None, neighbours: int = 0
    ) -> Iterator[Position]:
        """Yield what `predict` returns, a batch of photos at a time."""
        radius_m = self._radius_m(level)
        gallery = self.gallery if neighbours else None
        inputs = self.read(photos)
        while batch := list(islice(inputs, BATCH)):
            yield from self._answers(batch, radius_m, gallery, neighbours)

    def read(self, photos: Iterable[Photo]) -> Iterator[Input]:
        """Yield photos as the network sees them; a file that cannot be used has its reason."""
        readers = self._idle.pop() if self._idle else Readers(cores())
        yield from read_inputs(photos, self.card.image_size, readers)
        self._idle.append(readers)

    def answer(self, pixels: NDArray[np.uint8]) -> Answer:
        """Return the network's own answer for upright square photos (n, size, size, 3), uint8."""
        with torch.inference_mode():
            answer: Answer = self.deployed.network(torch.from_numpy(np.array(pixels)))
        return answer

    def mean_position(self) -> tuple[float, float]:
        """Return the mean training position, which the mean predictor always answers."""
        with torch.inference_mode():
            scaled = torch.zeros(1, 2)
            members = [member.degrees(scaled) for member in self.deployed.network.parts()]
            lat, lon = average(members)[0].tolist()
        return lat, lon

    def _radius_m(self, level: float | None) -> float | None:
        trust = self.deployed.network.trust
        if level is None:
            return _finite(float(trust.radius_m))
        if not 0 < level < 1:
            raise BadInput(f"level={level}: must lie between 0 and 1, such as 0.9")
        return _finite(trust.radius_at(level)) if len(trust.errors_m) else None

    def _answers(
        self,
        inputs: Sequence[Input],
        radius_m: float | None,
        gallery: Gallery | None,
        neighbours: int,
    ) -> Iterator[Position]:
        pixels = [one.pixels for one in inputs if one.pixels is not None]
        if not pixels:
            yield from (Position(one.name, error=one.error) for one in inputs)
            return
        answer = self.answer(np.stack(pixels))
        alike = gallery.nearest(answer.features, neighbours) if gallery else [()] * len(pixels)
        rows = iter(range(len(pixels)))
        for one in inputs:
            if one.pixels is None:
                yield Position(one.name, error=one.error)
                continue
            row = next(rows)
            lat, lon = answer.degrees[row].tolist()
            strangeness = _finite(float(answer.strangeness[row]))
            true_lat, true_lon = one.label or (None, None)
            yield Position(
                photo=one.name,
                lat_deg=lat,
                lon_deg=lon,
                radius_m=radius_m,
                from_here=None if strangeness is None else strangeness <= 1,
                strangeness=strangeness,
                true_lat_deg=true_lat,
                true_lon_deg=true_lon,
                error_m=float(geo.distance_m(*one.label, lat, lon)) if one.label else None,
                neighbours=tuple(alike[row]),
            )


def load(name: str, roots: Sequence[Path]) -> Deployed:
    """Load the model that a path, a run id or a study names, with its radius.

    Raises:
        BadInput: there is none, or it cannot be read.
    """
    found = find(name, roots)
    if found.exported:
        deployed = read_exported(found.folder)
        return replace(deployed, folders=run_folders(deployed.card.runs, found.runs_below))
    errors = held_out.validation([found.folder], found.ranked_cells)
    return calibrated(from_runs([found.folder], errors, title=found.title), errors)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
