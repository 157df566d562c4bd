"""Two runs side by side: the keys that differ, and the error photo by photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from img2gps.analysis import stats
from img2gps.analysis.errors import align_runs
from img2gps.analysis.stats import Interval
from img2gps.analysis.wording import named_span, tenths
from img2gps.core.counted import counted
from img2gps.core.nested import flat
from img2gps.runs.folder import PREDICTIONS, read_config_plain
from img2gps.runs.records import read_result

ABSENT = "(absent)"
_RECORDED = ("data", "weights", "code", "versions", "hardware", "split")  # of result.json


@dataclass(frozen=True)
class Photo:
    """One validation photo's error in both runs."""

    photo: str
    a_m: float
    b_m: float

    @property
    def difference_m(self) -> float:
        """Positive where b is worse."""
        return self.b_m - self.a_m


@dataclass(frozen=True)
class Comparison:
    """Two runs. `difference` is RMSE(b) - RMSE(a), paired; None without common photos."""

    a: Path
    b: Path
    keys: list[tuple[str, str, str]]  # key, value in a, value in b
    photos: list[Photo]  # the largest difference first
    difference: Interval | None
    rmse_m: tuple[float, float]
    mean_predictor_m: float
    only: tuple[int, int]  # photos that one run alone has validated
    seedless: bool  # whether no seed changes either run
    lacking: Sequence[Path] = ()  # those without readable answers

    def summary(self) -> list[str]:
        """Return the comparison in a few lines."""
        if self.difference is None:
            why = "No validation photo in common"
            if self.lacking:
                why = (
                    f"No readable {PREDICTIONS} in {' and '.join(run.name for run in self.lacking)}"
                )
            return [f"{why}: the errors cannot be compared."]
        change, (a, b) = self.difference, self.rmse_m
        worse = sum(photo.difference_m > 0 for photo in self.photos)
        lines = [
            f"RMSE {a:.1f} m and {b:.1f} m on {counted(change.n_photos, 'common validation photo')}"
            f" of {counted(change.n_spots, 'spot')}; the mean predictor gets "
            f"{self.mean_predictor_m:.1f} m.",
            f"Difference {tenths(change.estimate, '+')} m, "
            f"{named_span(change, 'paired 95 % interval', '+')}: {_verdict(change)}.",
            f"The second run is worse on {worse} photos and better or equal on "
            f"{len(self.photos) - worse}.",
        ]
        if not self.seedless:
            lines.append("One run each: the interval includes the luck of the seed.")
        if any(self.only):
            lines.append(f"Left out: {self.only[0]} and {self.only[1]} photos that one run has.")
        return lines


def compare(a: Path, b: Path) -> Comparison:
    """Compare two run folders; runs that have not finished have keys but no photos."""
    keys = differing(described(a), described(b))
    errors, lacking = align_runs([a, b])
    if errors is None or not errors.photos:
        none = (np.nan, np.nan)
        return Comparison(a, b, keys, [], None, none, np.nan, (0, 0), False, lacking)
    first, second = errors.error_m[:, 0]
    photos = [
        Photo(name, float(x), float(y))
        for name, x, y in zip(errors.photos, first, second, strict=True)
    ]
    photos.sort(key=lambda photo: (-abs(photo.difference_m), photo.photo))
    rmse, judged = stats.cell_rmse(errors.error_m), errors.judged_m
    return Comparison(
        a,
        b,
        keys,
        photos,
        stats.difference_interval(judged[1], judged[0], errors.places, luck=errors.luck),
        (float(rmse[0]), float(rmse[1])),
        float(np.sqrt(np.mean(errors.baseline_error_m["mean"][0] ** 2))),
        (errors.left_out[0], errors.left_out[1]),
        errors.seedless,
    )


def described(folder: Path) -> dict[str, Any]:
    """Return what made the run: its configuration, and what result.json records beside it."""
    result = read_result(folder)
    recorded = result.to_dict() if result else {}
    return flat(read_config_plain(folder)) | flat(
        {f"result.{key}": recorded[key] for key in _RECORDED if key in recorded}
    )


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the keys that differ, with both values as text, in the order of a, then of b.

    >>> differing({"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0, "new": 1})
    [('lr', '0.1', '0.2'), ('new', '(absent)', '1')]
    """
    return [
        (key, _text(a, key), _text(b, key))
        for key in dict.fromkeys([*a, *b])
        if _text(a, key) != _text(b, key)
    ]


def _text(values: Mapping[str, Any], key: str) -> str:
    return str(values[key]) if key in values else ABSENT


def _verdict(change: Interval) -> str:
    if np.isnan(change.low):
        return "too few spots to tell" if change.n_spots < 2 else "the same for every photo"
    if change.low > 0:
        return "the first run is better on photos like these"
    if change.high < 0:
        return "the second run is better on photos like these"
    return "not distinguishable on photos like these"
