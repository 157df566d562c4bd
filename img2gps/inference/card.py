"""What is known of a deployed model, as it goes with every export."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, get_type_hints

from img2gps.analysis import stats
from img2gps.analysis.errors import places_of
from img2gps.config.schema import Family, ModelConfig
from img2gps.inference.held_out import HeldOut, rmse_m
from img2gps.inference.position import finite
from img2gps.inference.trust import TrustFacts
from img2gps.runs.records import RunResult

_PLAIN: dict[str, type] = {
    **dict.fromkeys(("title", "kind", "weights"), str),
    **dict.fromkeys(("runs", "notes"), list),
    **dict.fromkeys(("data", "baselines", "code"), dict),
}
LARGEST = 1e9  # of a figure; larger ones, infinity and NaN are a damaged card
LARGEST_PX = 4096  # side of a square picture; larger ones are a damaged card


@dataclass(frozen=True)
class Expected:
    """The error to expect, measured on photos that the model did not learn from.

    Attributes:
        what: which photos these are.
        rmse_m, low_m, high_m: RMSE with its 95 % interval; the ends are None below two spots.
        known_spots_rmse_m, new_spots_rmse_m: the same on photos near a training photo and on
            others; None where there are none.
        mean_predictor_rmse_m: what always answering the mean training position gets on them.
        ranked_cells: cells that were compared on these photos; above 1 the figures are flattered.
    """

    what: str
    rmse_m: float
    median_m: float
    low_m: float | None
    high_m: float | None
    n_photos: int
    n_spots: int
    known_spots_rmse_m: float | None = None
    new_spots_rmse_m: float | None = None
    mean_predictor_rmse_m: float | None = None
    ranked_cells: int = 1

    @property
    def flattered(self) -> bool:
        """Whether the model was chosen by its errors on these very photos."""
        return self.ranked_cells > 1

    @classmethod
    def measured(cls, held_out: HeldOut) -> Self:
        """Return the figures of a table of held-out errors."""
        photos = held_out.photos
        error, known = photos["error_m"], photos["known_spot"] == 1
        places = places_of(photos, at_random=held_out.at_random)
        interval = stats.cell_interval(error.to_numpy()[None], places)
        mean = photos["mean_error_m"].dropna()
        return cls(
            what=held_out.what,
            rmse_m=rmse_m(error),
            median_m=float(error.median()),
            low_m=finite(interval.low),
            high_m=finite(interval.high),
            n_photos=len(photos),
            n_spots=interval.n_spots,
            known_spots_rmse_m=rmse_m(error[known]) if known.any() else None,
            new_spots_rmse_m=rmse_m(error[~known]) if (~known).any() else None,
            mean_predictor_rmse_m=rmse_m(mean) if len(mean) else None,
            ranked_cells=held_out.ranked_cells,
        )


@dataclass(frozen=True)
class Card:
    """Describes a deployed model: its origin, its data and its known errors.

    Attributes:
        title: the study and the cell, or the run.
        kind: "run", "average" or "refit".
        runs: the ids of its runs.
        models: the architecture of each member.
        image_size: side of the square pictures, in pixels.
        data: name, fingerprint and counts of the training data.
        expected: the error to expect; None where no honest figure exists.
        trust: how the radius and the verdict "not from here" were calibrated, if they were.
        baselines: RMSE in metres of answers that need no training, on the validation photos.
        notes: what a user must know beside the figures.
    """

    title: str
    kind: str
    runs: list[str]
    models: list[ModelConfig]
    image_size: int
    data: dict[str, Any]
    weights: str = ""
    expected: Expected | None = None
    trust: TrustFacts | None = None
    baselines: dict[str, float] = field(default_factory=dict)
    code: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def synthetic(self) -> bool:
        """Whether the model was trained on the built-in quad, which no camera ever saw."""
        return bool(self.data.get("synthetic"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        plain = asdict(self)
        plain["models"] = [
            {"name": m.name, "family": str(m.family), "depth": m.depth, **_views(m)}
            for m in self.models
        ]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read plain values; keys of newer versions are left out.

        Raises:
            KeyError, TypeError, ValueError: it is not a card.
        """
        known = {item.name for item in fields(cls)}
        given = {key: value for key, value in plain.items() if key in known}
        given["models"] = [
            ModelConfig(
                str(m["name"]),
                Family(m["family"]),
                m.get("depth"),
                test_views=m.get("test_views", 1),
            )
            for m in plain["models"]
        ]
        for key, kind in (("expected", Expected), ("trust", TrustFacts)):
            if (part := given.get(key)) is not None:
                given[key] = kind(**_figures(part, kind))
        for key, kinds in _PLAIN.items():
            if not isinstance(given.get(key, kinds()), kinds):
                raise TypeError(f"{key} {given[key]!r}")
        for name, rmse in given.get("baselines", {}).items():
            _check_figure(name, rmse, float)
        if not isinstance(given["image_size"], int) or not 1 <= given["image_size"] <= LARGEST_PX:
            raise ValueError(f"image_size {given['image_size']}")
        return cls(**given)


def _views(model: ModelConfig) -> dict[str, int]:
    """Return the number of views where there are several, which older cards do not have."""
    return {"test_views": model.test_views} if model.test_views > 1 else {}


def _figures(plain: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return the keys that a class of figures has, each with a value that it may have."""
    kinds = get_type_hints(kind)
    found = {key: value for key, value in plain.items() if key in kinds}
    for key, value in found.items():
        _check_figure(key, value, kinds[key])
    return found


def _check_figure(name: str, value: object, kind: Any) -> None:
    """Refuse a value of another type, and a number that no figure can be."""
    whole = type(value) is int and isinstance(0.0, kind)  # JSON may say 3 for 3.0
    if not (whole or isinstance(value, kind)):
        raise TypeError(f"{name} {value!r}")
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ValueError(f"{name} {value!r}")


def baseline_figures(results: Sequence[RunResult]) -> dict[str, float]:
    """Return each baseline's RMSE, pooled over runs that were validated on different photos."""
    by_photos = {(r.split.kind, r.split.seed, r.split.fold): r for r in results}.values()
    names = {name for result in by_photos for name in result.baselines}
    found = {}
    for name in sorted(names):
        each = [(r.baselines.get(name, {}).get("val/rmse_m"), r.data.n_val) for r in by_photos]
        known = [(rmse, n) for rmse, n in each if rmse is not None]
        if len(known) == len(each):
            square = sum(n * rmse**2 for rmse, n in known) / max(sum(n for _, n in known), 1)
            found[name] = math.sqrt(square)
    return found
