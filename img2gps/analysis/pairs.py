"""Differences of two cells, paired by photo: within a study, and between two studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

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


def of_studies(ours: pd.DataFrame, theirs: pd.DataFrame) -> Apart | None:
    """Return the RMSE of one study's winner less that of another's; None without common photos.

    ours, theirs: the predictions of the two winners.
    """
    wide = [
        table.pivot_table(index="seed", columns="content", values="error_m")
        for table in (ours, theirs)
    ]
    common = wide[0].columns.intersection(wide[1].columns)
    if len(common) < 2:
        return None
    spot = theirs.drop_duplicates("content").set_index("content")["spot"].loc[common]
    first, second = (table[common].to_numpy(dtype=np.float64) for table in wide)
    return Apart(difference_interval(first, second, spot.to_numpy()), len(common))
