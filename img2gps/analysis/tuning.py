"""The tuning curve of a study: how low its best error is after so many runs, epochs and minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from img2gps.analysis import stats
from img2gps.analysis.scene import Scene
from img2gps.analysis.stats import Tuning
from img2gps.analysis.study import DONE, Study
from img2gps.runs.states import RunState

FEWEST = 4  # trials; fewer show no curve
AT_MOST = 2  # times the mean predictor: worse runs, and those without a figure, count as this
GRID, RANDOM, GUIDED = "grid", "random search", "guided search"


@dataclass(frozen=True)
class TuningCurve:
    """The lowest validation RMSE of a study against what was spent on it.

    Attributes:
        kind: `GRID`, whose cells could have been run in any order; `RANDOM`, whose trials are
            independent draws; `GUIDED`, whose trials depend on the earlier ones.
        table: one row a trial with `runs`, `epochs` and `minutes` spent by then, the `expected_m`
            error, and `low_m` and `high_m` (NaN of a guided search).
    """

    kind: str
    table: pd.DataFrame

    @property
    def lowest_m(self) -> float:
        """The error after the last trial."""
        return float(self.table["expected_m"].iloc[-1])


def tuning_curve(scene: Scene) -> TuningCurve | None:
    """Return the tuning curve of a study; None of a race, of single runs, and of too few trials."""
    kind = _kind(scene.study)
    trials = _trials(scene)
    if kind == RANDOM:
        trials = _by_cell(trials)
    if kind is None or trials["cell"].nunique() < FEWEST or not np.isfinite(scene.mean_rmse_m):
        return None
    most = AT_MOST * scene.mean_rmse_m
    error = trials["rmse_m"].fillna(most).clip(upper=most)
    if kind == GRID:
        found = stats.in_any_order([own.to_numpy() for _, own in error.groupby(trials["cell"])])
    elif kind == RANDOM:
        found = stats.of_random_search(error, most)
    else:
        found = stats.as_it_went(error)
    return TuningCurve(kind, _table(found, trials, in_turn=kind == GUIDED))


def _kind(study: Study) -> str | None:
    if study.kind in ("runs", "race"):
        return None
    if study.kind != "random":
        return GUIDED if study.record.searched else GRID
    return RANDOM if study.record.pruner == "none" else GUIDED


def _trials(scene: Scene) -> pd.DataFrame:
    """Return one row a trial with `cell`, `rmse_m` (NaN without a figure), and its costs.

    A trial is a cell with one seed, all folds together. Runs that have not ended are left out, and
    so are those that only confirm what a search has found.
    """
    study = scene.study
    runs = scene.runs[scene.runs["rank_cell"].isin(scene.cells["cell"])]
    confirmed = study.record.confirmation
    if confirmed is not None:
        pairs = zip(runs["cell"], runs["seed"], strict=True)
        runs = runs[[not confirmed.has(cell, seed) for cell, seed in pairs]]
    square = pd.to_numeric(study.column("val/rmse_m"), errors="coerce").pow(2)
    photos = pd.to_numeric(study.column("data/n_val"), errors="coerce").fillna(1.0)
    table = runs.assign(
        square=(square * photos).where(study.runs["state"] == DONE).reindex(runs.index),
        photos=photos.reindex(runs.index),
        ended=runs["state"].map(lambda state: RunState(state).has_ended),
        spent_epochs=pd.to_numeric(runs["epochs"], errors="coerce"),
        spent_minutes=pd.to_numeric(runs["seconds"], errors="coerce") / 60,
    )
    trials = table.groupby(["rank_cell", "seed"], sort=False).agg(
        square=("square", lambda own: own.sum(skipna=False)),
        photos=("photos", "sum"),
        ended=("ended", "all"),
        runs=("square", "size"),
        epochs=("spent_epochs", "sum"),
        minutes=("spent_minutes", "sum"),
    )
    trials["rmse_m"] = np.sqrt(trials["square"] / trials["photos"])  # over the photos of all folds
    return trials[trials["ended"]].reset_index().rename(columns={"rank_cell": "cell"})


def _by_cell(trials: pd.DataFrame) -> pd.DataFrame:
    """Return one row a cell, with the mean of its seeds and what all of them have cost.

    Cells are independent draws from a space; their seeds are not.
    """
    sums = {"runs": "sum", "epochs": "sum", "minutes": "sum"}
    return trials.groupby("cell", sort=False).agg({"rmse_m": "mean", **sums}).reset_index()


def _table(found: Tuning, trials: pd.DataFrame, *, in_turn: bool) -> pd.DataFrame:
    """Return the curve with what has been spent: as it went, or a trial's mean each time."""
    costs = trials[["runs", "epochs", "minutes"]]
    number = np.arange(1, len(found.expected) + 1)[:, None]
    spent = costs.cumsum() if in_turn else costs.mean().to_numpy() * number
    table = pd.DataFrame(np.asarray(spent), columns=costs.columns)
    return table.assign(expected_m=found.expected, low_m=found.low, high_m=found.high)
