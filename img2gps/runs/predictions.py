"""predictions.csv: one row a photo, with all that a report needs to judge it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from img2gps.core import geo
from img2gps.core.files import write_csv
from img2gps.photos.split import Split, known_spot, nearest_train_m
from img2gps.photos.spots import spots
from img2gps.runs.baselines import mean_predictor

if TYPE_CHECKING:
    from img2gps.photos.dataset import Dataset

COLUMNS = (
    "photo", "content", "lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg", "error_m", "east_m",
    "north_m", "mean_error_m", "spot", "known_spot", "nearest_train_m", "heading_deg", "taken_at",
    "gps_error_m", "true_lat_deg", "true_lon_deg",
)  # fmt: skip
COPIED = (
    "photo", "content", "heading_deg", "taken_at", "gps_error_m", "true_lat_deg", "true_lon_deg",
)  # fmt: skip


class PredictionTable:
    """Turns predictions of one part (`val` or `test`) of a split into rows."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        part: str = "val",
        known: NDArray[np.bool_] | None = None,
    ) -> None:
        """`known` says which photos of the part are of known spots; default: by distance."""
        manifest = dataset.manifest
        self.manifest = manifest
        self.rows: NDArray[np.int64] = getattr(split, part)
        self.lat = manifest["lat_deg"].to_numpy(float)
        self.lon = manifest["lon_deg"].to_numpy(float)
        gps_error = manifest["gps_error_m"].to_numpy(float)
        self.spot = spots(self.lat, self.lon, gps_error)
        known = known_spot(manifest, split, part) if known is None else known
        self.known = dict(zip(self.rows.tolist(), known.tolist(), strict=True))
        nearest = nearest_train_m(manifest, split, part)
        self.nearest = dict(zip(self.rows.tolist(), nearest.tolist(), strict=True))
        self.mean = mean_predictor(self.lat[split.train], self.lon[split.train])

    def mean_predictor_rmse_m(self, rows: NDArray[np.int64] | None = None) -> float:
        """RMSE of always answering the mean training coordinate, on these (default: all) photos."""
        rows = self.rows if rows is None else rows
        return geo.rmse_m(self.lat[rows], self.lon[rows], *self.mean)

    def errors_m(
        self,
        rows: NDArray[np.int64],
        pred_lat: NDArray[np.float64],
        pred_lon: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Great-circle error of each prediction against the label."""
        return geo.distance_m(self.lat[rows], self.lon[rows], pred_lat, pred_lon)

    def write(
        self,
        path: Path,
        rows: NDArray[np.int64],
        pred_lat: NDArray[np.float64],
        pred_lon: NDArray[np.float64],
    ) -> None:
        """Write the predictions of these manifest rows, atomically."""
        lat, lon = self.lat[rows], self.lon[rows]
        error = self.errors_m(rows, pred_lat, pred_lon)
        mean_error = geo.distance_m(lat, lon, *self.mean)
        copied = {name: self.manifest[name].to_numpy(object)[rows] for name in COPIED}
        out: list[dict[str, Any]] = []
        for i, row in enumerate(rows.tolist()):
            east, north = geo.to_east_north_m(pred_lat[i], pred_lon[i], lat[i], lon[i])
            out.append(
                {
                    **{name: _cell(values[i]) for name, values in copied.items()},
                    "lat_deg": lat[i],
                    "lon_deg": lon[i],
                    "pred_lat_deg": pred_lat[i],
                    "pred_lon_deg": pred_lon[i],
                    "error_m": error[i],
                    "east_m": float(east),
                    "north_m": float(north),
                    "mean_error_m": mean_error[i],
                    "spot": int(self.spot[row]),
                    "known_spot": int(self.known[row]),
                    "nearest_train_m": self.nearest[row],
                }
            )
        write_csv(path, COLUMNS, out)


def _cell(value: Any) -> Any:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return None if missing else value
