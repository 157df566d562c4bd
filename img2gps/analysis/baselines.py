"""The baselines of a ranking: answers that need no training of a network, pooled over folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.errors import BASELINES, Errors
from img2gps.analysis.stats import Interval
from img2gps.analysis.winner import pooled

NAMES = {
    "mean": "mean predictor",
    "knn": "nearest neighbours of frozen features",
    "ridge": "ridge regression on frozen features",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """One baseline of the cells that have the same training photos.

    Attributes:
        name: `mean`, `knn` or `ridge`.
        n_train: how many training photos it learned from; in the mean over folds.
        rmse_m: on the photos of the ranking.
        interval: of `rmse_m`; None where the errors photo by photo are not stored.
        error_m: by photo; empty where they are not stored.
        cells: indices of the cells that it is a baseline of.
    """

    name: str
    n_train: int
    rmse_m: float
    interval: Interval | None
    error_m: Floats
    cells: Sequence[int]


def baselines(rows: pd.DataFrame, errors: Errors) -> list[Baseline]:
    """Return every baseline, one for each number of training photos.

    Args:
        rows: the finished runs of the ranking.
        errors: of the same runs.
    """
    n_train = rows.groupby("rank_cell")["data/n_train"].mean().round().astype(int)
    found = []
    for photos, cells in n_train.groupby(n_train):
        numbers = sorted(errors.cells.index(cell) for cell in cells.index)
        own = rows[rows["rank_cell"].isin(cells.index)]
        for name in BASELINES:
            baseline = _baseline(name, int(str(photos)), numbers, own, errors)
            if not math.isnan(baseline.rmse_m):
                found.append(baseline)
    return found


def _baseline(
    name: str, n_train: int, cells: Sequence[int], rows: pd.DataFrame, errors: Errors
) -> Baseline:
    known = errors.baseline_error_m.get(name)
    error = np.empty(0) if known is None or np.isnan(known[cells[0]]).any() else known[cells[0]]
    if not len(error):
        return Baseline(name, n_train, _from_results(name, rows), None, error, cells)
    interval = stats.cell_interval(error[None], errors.places, luck=stats.NO_LUCK)
    return Baseline(name, n_train, interval.estimate, interval, error, cells)


def _from_results(name: str, rows: pd.DataFrame) -> float:
    """Return the baseline's RMSE from the runs' results, pooled over their folds."""
    column = f"baselines/{name}/val/rmse_m"
    if column not in rows:
        return math.nan
    folds = rows.dropna(subset=[column]).drop_duplicates("split/fold")
    if folds.empty:
        return math.nan
    n_val = folds["data/n_val"].astype(float).clip(lower=1)
    return pooled("rmse_m", folds[column].astype(float).tolist(), n_val.tolist())
