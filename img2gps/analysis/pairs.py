"""Differences of two cells, paired by photo: within a study, and between two studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from img2gps.analysis.errors import Floats, common_photos, places_of
from img2gps.analysis.ranking import Cell, Ranking
from img2gps.analysis.stats import Interval, difference_interval
from img2gps.analysis.study import Study


@dataclass(frozen=True)
class Apart:
    """RMSE of one winner less that of another on the photos that both were validated on."""

    interval: Interval
    photos: int


def from_winner(ranking: Ranking, cell: Cell) -> Interval:
    """Return the RMSE of a cell less that of the winner."""
    errors = ranking.errors
    ours, theirs = (errors.cells.index(name) for name in (cell.cell, ranking.winner.cell))
    data = errors.judged_m[ours], errors.judged_m[theirs], errors.places
    return difference_interval(*data, luck=errors.luck)


def of_cells(study: Study, cells: Sequence[str]) -> Interval:
    """Return the RMSE of the first of two cells less that of the second."""
    done = study.finished
    errors = study.errors(done[done["rank_cell"].isin(cells)])
    first, second = (errors.judged_m[errors.cells.index(cell)] for cell in cells)
    return difference_interval(first, second, errors.places, luck=errors.luck)


@dataclass(frozen=True)
class Side:
    """The winner of a study, as one side of a comparison of two studies."""

    ranking: Ranking
    predictions: pd.DataFrame  # of all runs of the winner


def of_studies(ours: Side, theirs: Side) -> Apart | None:
    """Return the RMSE of one study's winner less that of another's; None without common photos.

    The luck of a seed is the larger one that the two studies show. A winner that no seed changes
    has none.
    """
    tables = ours.predictions, theirs.predictions
    keys = common_photos(*tables)
    wide = [
        table.assign(key=key).pivot_table(index="seed", columns="key", values="error_m")
        for table, key in zip(tables, keys, strict=True)
    ]
    common = wide[0].columns.intersection(wide[1].columns)
    if len(common) < 2:
        return None
    photos = theirs.predictions.assign(key=keys[1]).drop_duplicates("key").set_index("key")
    random = all(side.ranking.errors.places.position_m is None for side in (ours, theirs))
    first, second = (
        _twice_if_solved(table[common].to_numpy(dtype=np.float64), side.ranking)
        for table, side in zip(wide, (ours, theirs), strict=True)
    )
    places = places_of(photos.loc[common], at_random=random)
    lucks = (side.ranking.errors.luck for side in (ours, theirs))
    luck = max(lucks, key=lambda one: one.relative)
    return Apart(difference_interval(first, second, places, luck=luck), len(common))


def _twice_if_solved(error: Floats, ranking: Ranking) -> Floats:
    """Return the errors (s, p) of a winner; a run that no seed changes stands there twice."""
    return np.tile(error, (2, 1)) if ranking.winner_is_solved and len(error) == 1 else error
