"""How good a model is on other photos that say where they were taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.radius import Coverage, coverage
from img2gps.analysis.stats import Interval
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.files import write_csv
from img2gps.inference.card import Expected
from img2gps.inference.density import Density
from img2gps.inference.held_out import HeldOut
from img2gps.inference.localizer import Localizer
from img2gps.inference.predict import BATCH
from img2gps.photos.dataset import Dataset
from img2gps.photos.spots import spot_radius_m, spots
from img2gps.runs.predictions import COLUMNS, COPIED
from img2gps.training.metrics import summarise

ALL, KNOWN, NEW = "all", "known spots", "new spots"


@dataclass(frozen=True)
class Score:
    """A model's errors on a data set.

    Attributes:
        photos: one row a photo: the columns of predictions.csv, `radius_m`, `from_here` and `nll`.
        expected: RMSE with interval, median, known and new spots, the mean predictor.
        summary: the metrics of training.
        coverage: the share of photos inside the radius, for all, known and new spots; empty where
            there is no radius.
        nll: the mean negative log likelihood of the labels in nats, of the model's density per
            square metre, for all, known and new spots; empty where the model gives no density.
        called_strange: the share of photos that do not look like the training ground; None where
            that is unknown.
        trained_on: photos of the source that the model was trained on, or copies of such, which
            were left out.
    """

    photos: pd.DataFrame
    expected: Expected
    summary: dict[str, float]
    coverage: dict[str, Coverage]
    nll: dict[str, float]
    called_strange: float | None
    trained_on: int


def score(localizer: Localizer, dataset: Dataset) -> Score:
    """Let a model answer every photo of a data set that it was not trained on.

    Raises:
        BadInput: it was trained on all of them.
    """
    gallery = localizer.gallery
    trained = np.zeros(len(dataset), np.bool_) if gallery is None else gallery.has(dataset)
    rows = np.flatnonzero(~trained)
    if not len(rows):
        raise BadInput(f"{dataset.name}: the model was trained on every photo of it; give others")
    photos = _photos(localizer, dataset, rows)
    error, spot = photos["error_m"].to_numpy(), photos["spot"].to_numpy()
    inside, nll = {}, {}
    for name, chosen in _groups(photos).items():
        if photos["radius_m"].notna().all():
            inside[name] = coverage(error[chosen], photos["radius_m"][chosen], spot[chosen])
        if photos["nll"].notna().all():
            nll[name] = float(photos["nll"][chosen].mean())
    known = photos["from_here"].dropna()
    return Score(
        photos=photos,
        expected=Expected.measured(HeldOut(photos, f"photos of {dataset.name}")),
        summary=summarise(error),
        coverage=inside,
        nll=nll,
        called_strange=float((known == 0).mean()) if len(known) else None,
        trained_on=len(dataset) - len(rows),
    )


def difference(one: Score, other: Score) -> Interval:
    """Return how much larger the RMSE of the second is, photo by photo, with its interval.

    Photos are paired by name, as models of different picture sizes have different pixels of them.

    Raises:
        BadInput: no photo was new to both models.
    """
    both = one.photos.merge(other.photos, on="photo", suffixes=("", "_other"))
    if both.empty:
        raise BadInput("--run: no photo is new to both models, so they cannot be compared")
    return stats.difference_interval(
        both["error_m_other"].to_numpy(), both["error_m"].to_numpy(), both["spot"]
    )


def write_predictions(path: Path, photos: pd.DataFrame) -> None:
    """Write the rows as training writes its predictions, with what is known of trust behind."""
    columns = (*COLUMNS, "radius_m", "from_here", "nll")
    plain = photos[list(columns)].astype(object)
    rows = plain.where(plain.notna(), None).to_numpy().tolist()
    write_csv(path, columns, [dict(zip(columns, row, strict=True)) for row in rows])


def _groups(photos: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    found = {ALL: np.ones(len(photos), np.bool_)}
    if photos["known_spot"].notna().all():
        known = (photos["known_spot"] == 1).to_numpy()
        found |= {KNOWN: known, NEW: ~known}
    return {name: chosen for name, chosen in found.items() if chosen.any()}


def _photos(localizer: Localizer, dataset: Dataset, rows: NDArray[np.int64]) -> pd.DataFrame:
    table = dataset.manifest.iloc[rows][["photo", "content", "lat_deg", "lon_deg", *COPIED]]
    table = table.reset_index(drop=True)
    lat, lon = table["lat_deg"].to_numpy(), table["lon_deg"].to_numpy()
    degrees, radius_m, strangeness, density = _answers(localizer, dataset, rows)
    table["pred_lat_deg"], table["pred_lon_deg"] = degrees[:, 0], degrees[:, 1]
    table["error_m"] = geo.distance_m(lat, lon, degrees[:, 0], degrees[:, 1])
    away = [geo.to_east_north_m(*pair) for pair in zip(*degrees.T, lat, lon, strict=True)]
    table["east_m"], table["north_m"] = np.array(away, dtype=np.float64).T
    table["mean_error_m"] = geo.distance_m(lat, lon, *localizer.mean_position())
    table["spot"] = spots(lat, lon, table["gps_error_m"])
    nearest = _nearest_training_m(localizer, lat, lon)
    table["nearest_train_m"] = nearest
    within = nearest <= spot_radius_m(table["gps_error_m"])
    table["known_spot"] = np.where(np.isnan(nearest), np.nan, within)
    table["radius_m"] = np.where(np.isfinite(radius_m), radius_m, np.nan)
    table["from_here"] = np.where(np.isfinite(strangeness), strangeness <= 1, np.nan)
    table["nll"] = [_nll(*one) for one in zip(density, lat, lon, strict=True)]
    return table


def _nll(rows: NDArray[np.float64], lat: float, lon: float) -> float:
    """Return the negative log likelihood of a label; NaN without a density."""
    density = Density.from_rows(rows.tolist())
    return math.nan if density is None else -float(density.log_density(lat, lon))


def _answers(
    localizer: Localizer, dataset: Dataset, rows: NDArray[np.int64]
) -> Sequence[NDArray[np.float64]]:
    pixels = dataset.pixels()
    found = [
        localizer.answer(np.array(pixels[rows[start : start + BATCH]]))
        for start in range(0, len(rows), BATCH)
    ]
    return [
        np.concatenate([part.numpy() for part in column])
        for column in zip(
            *((a.degrees, a.radius_m, a.strangeness, a.density) for a in found), strict=True
        )
    ]


def _nearest_training_m(
    localizer: Localizer, lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return metres to the nearest training photo; NaN if these are not available."""
    if localizer.gallery is None:
        return np.full(len(lat), np.nan)
    trained = localizer.gallery.positions()
    return np.array(
        [
            geo.distance_m(one_lat, one_lon, trained[:, 0], trained[:, 1]).min()
            for one_lat, one_lon in zip(lat, lon, strict=True)
        ]
    )
