"""What is known of a winner besides its validation RMSE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from img2gps.analysis import stats
from img2gps.analysis.choices import ABSENT, plain
from img2gps.analysis.errors import Errors
from img2gps.analysis.stats import Effect, FoldMean, Interval, Luck
from img2gps.analysis.study import Group, Study
from img2gps.analysis.winner import FOLD_AXIS, RMSE
from img2gps.runs.winner import read_winner


@dataclass(frozen=True)
class Truth:
    """RMSE in metres against positions without GPS noise, which only synthetic data know."""

    validation_m: float  # on the photos that chose the winner
    test_m: float  # NaN without a test part


def by_spots(errors: Errors, cell: int, luck: Luck, *, known: bool) -> Interval | None:
    """Return the cell's RMSE on photos of known (or of new) spots; None where there are none."""
    photos = errors.known_spot == (1 if known else 0)
    if not photos.any():
        return None
    return stats.cell_interval(errors.error_m[cell][:, photos], errors.places[photos], luck=luck)


def test_errors(study: Study, group: Group, cell: str) -> Errors | None:
    """Return the errors of the cell's run that `select` has scored on the test part."""
    rows = group.runs[group.runs["rank_cell"] == cell]
    frozen = read_winner(study.folder)
    if frozen is not None and frozen.run_id in set(rows["run_id"]):
        rows = rows[rows["run_id"] == frozen.run_id]
    rows = rows[rows["run_id"].isin(study.predictions_test["run_id"])]
    return None if rows.empty else study.errors(rows.iloc[:1], "test")


def truth(errors: Errors, cell: int, test: Errors | None) -> Truth | None:
    """Return a cell's RMSE against the true positions; None where these are not known."""
    if errors.true_error_m is None:
        return None
    tested = None if test is None else test.true_error_m
    return Truth(
        float(stats.cell_rmse(errors.true_error_m[cell][None])[0]),
        np.nan if tested is None else float(stats.cell_rmse(tested)[0]),
    )


def fold_mean(group: Group, cell: str) -> FoldMean | None:
    """Return the mean over the cell's folds; the figure of a fold is the mean over its seeds."""
    if group.folds < 2:
        return None
    rows = group.runs[group.runs["rank_cell"] == cell]
    means = rows.groupby("split/fold")[RMSE].mean().astype(float)
    n_train, n_val = (
        float(rows[f"data/{part}"].astype(float).mean()) for part in ("n_train", "n_val")
    )
    return stats.fold_mean(means, n_train, n_val)


def importance(
    study: Study, errors: Errors, cells: Sequence[dict[str, Any]]
) -> tuple[list[Effect], str]:
    """Return the analysis of variance, or why there is none: it needs one full grid.

    Args:
        study: the study.
        errors: of the cells of one ranking.
        cells: the knobs of these cells.
    """
    axes = {name: values for name, values in study.axes.items() if name != FOLD_AXIS}
    if study.kind != "grid":
        return [], f"not a grid ({study.kind}): cells were chosen, not enumerated"
    if all(len(values) < 2 for values in axes.values()):
        return [], "no axis with two values"
    where = {tuple(plain(cell.get(a, ABSENT)) for a in axes): i for i, cell in enumerate(cells)}
    points = [tuple(map(plain, values)) for values in product(*axes.values())]
    order = [where[point] for point in points if point in where]
    if not order:
        return [], "the cells are a list, not a grid"
    if absent := len(points) - len(order):
        return [], f"{absent} of {len(points)} cells of the full grid are not in this ranking"
    if len(points) != len(cells):
        return [], "the cells are not the product of the axes"
    shape = {name: len(values) for name, values in axes.items()}
    return stats.importance(errors.error_m[order], errors.places, shape), ""


def best_epochs(study: Study, group: Group) -> dict[str, float]:
    """Return each cell's RMSE at its runs' best epochs, an optimistic choice, in metres.

    A cell whose runs have no readable history has none, or NaN.
    """
    if FOLD_AXIS not in study.axes:
        if RMSE not in study.history:
            return {}
        lowest = study.history.groupby("run_id")[RMSE].min()
        runs = group.runs.assign(lowest=group.runs["run_id"].map(lowest))
        means = runs.groupby("rank_cell")["lowest"].mean()
        return {str(cell): float(rmse) for cell, rmse in means.items()}
    if study.predictions_best.empty:  # published studies have none
        return {}
    best = study.errors(group.runs, "best")
    return dict(zip(best.cells, map(float, stats.cell_rmse(best.error_m)), strict=True))
