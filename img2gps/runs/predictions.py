"""predictions.csv: one row per photo, with all that a report needs to judge the prediction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.core import geo
from img2gps.core.files import write_csv
from img2gps.photos.split import Split, known_spot, nearest_train_m
from img2gps.photos.spots import spots
from img2gps.runs.baselines import mean_predictor

if TYPE_CHECKING:
    from img2gps.photos.dataset import Dataset

COPIED = ("heading_deg", "taken_at", "gps_error_m", "true_lat_deg", "true_lon_deg")
COLUMNS = (
    *("photo", "content", "lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg", "error_m"),
    *("east_m", "north_m", "mean_error_m", "spot", "known_spot", "nearest_train_m", *COPIED),
)

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class PredictionTable:
    """Turns predictions of one part (`val` or `test`) of a split into rows of a table."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        part: str = "val",
        known: NDArray[np.bool_] | None = None,
    ) -> None:
        """`known` says which photos of the part are of known spots; by default distance decides."""
        manifest = dataset.manifest
        self.manifest = manifest
        self.rows: Rows = getattr(split, part)
        self.lat, self.lon = dataset.lat_lon()
        self.spot = spots(self.lat, self.lon, manifest["gps_error_m"].to_numpy(float))
        known = known_spot(manifest, split, part) if known is None else known
        self.known = dict(zip(self.rows.tolist(), known.tolist(), strict=True))
        nearest = nearest_train_m(manifest, split, part)
        self.nearest = dict(zip(self.rows.tolist(), nearest.tolist(), strict=True))
        self.mean = mean_predictor(self.lat[split.train], self.lon[split.train])

    def mean_predictor_rmse_m(self, rows: Rows | None = None) -> float:
        """Return the RMSE of the mean predictor on these photos, by default on all of the part.

        NaN where the part has no photos.
        """
        rows = self.rows if rows is None else rows
        if not len(rows):
            return math.nan
        return geo.rmse_m(self.lat[rows], self.lon[rows], *self.mean)

    def errors_m(self, rows: Rows, pred_lat: Floats, pred_lon: Floats) -> Floats:
        """Return the great-circle distance of each prediction from its label."""
        return geo.distance_m(self.lat[rows], self.lon[rows], pred_lat, pred_lon)

    def write(self, path: Path, rows: Rows, pred_lat: Floats, pred_lon: Floats) -> None:
        """Write the predictions of these manifest rows, atomically."""
        lat, lon = self.lat[rows], self.lon[rows]
        error = self.errors_m(rows, pred_lat, pred_lon)
        mean_error = geo.distance_m(lat, lon, *self.mean)
        copied = self.manifest[["photo", "content", *COPIED]].astype(object).to_numpy()[rows]
        out: list[dict[str, Any]] = []
        for i, row in enumerate(rows.tolist()):
            east, north = geo.to_east_north_m(pred_lat[i], pred_lon[i], lat[i], lon[i])
            photo, content, *others = (None if pd.isna(value) else value for value in copied[i])
            positions = lat[i], lon[i], pred_lat[i], pred_lon[i]
            errors = error[i], float(east), float(north), mean_error[i]
            spot = int(self.spot[row]), int(self.known[row]), self.nearest[row]
            values = (photo, content, *positions, *errors, *spot, *others)
            out.append(dict(zip(COLUMNS, values, strict=True)))
        write_csv(path, COLUMNS, out)
