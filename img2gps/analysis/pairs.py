"""Differences of two cells, paired by photo: within a study, and between two studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from img2gps.analysis.errors import Errors, align, common_photos
from img2gps.analysis.ranking import Cell, Ranking
from img2gps.analysis.stats import Interval, difference_interval


@dataclass(frozen=True)
class Apart:
    """RMSE of one winner less that of another on the photos that both were validated on."""

    interval: Interval
    photos: int


def from_winner(ranking: Ranking, cell: Cell) -> Interval:
    """Return the RMSE of a cell less that of the winner."""
    return of_cells(ranking.errors, [cell.cell, ranking.winner.cell])


def of_cells(errors: Errors, cells: Sequence[str]) -> Interval:
    """Return the RMSE of the first of two cells less that of the second."""
    pair = [errors.cells.index(cell) for cell in cells]
    first, second = errors.judged_m[pair]
    strays = errors.strays.of(pair)
    return difference_interval(first, second, errors.places, luck=errors.luck, strays=strays)


def of_studies(ours: Ranking, theirs: Ranking) -> Apart | None:
    """Return the RMSE of one study's winner less that of another's; None without common photos.

    The luck of a seed is what one of the two studies shows or assumes: the one that makes the
    interval wider.
    """
    (rows, table), (their_rows, their_table) = (_winner(ranking) for ranking in (ours, theirs))
    apart = int(rows.index.max()) + 1  # so that no run of theirs has the index of one of ours
    their_rows = their_rows.set_axis(their_rows.index + apart)
    content, their_content = common_photos(table, their_table)
    errors = align(
        pd.concat(
            [
                table.assign(content=content),
                their_table.assign(content=their_content, run=their_table["run"] + apart),
            ],
            ignore_index=True,
        ),
        pd.concat([rows.assign(rank_cell="ours"), their_rows.assign(rank_cell="theirs")]),
    )
    if len(errors.photos) < 2:
        return None
    first, second = errors.judged_m
    intervals = [
        difference_interval(first, second, errors.places, luck=side.errors.luck)
        for side in (ours, theirs)
    ]
    return Apart(max(intervals, key=lambda one: one.high - one.low), len(errors.photos))


def _winner(ranking: Ranking) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the runs of the winner, its folds among them, and their predictions."""
    rows, table = ranking.group.runs, ranking.study.predictions
    own = rows[rows["rank_cell"] == ranking.winner.cell]
    return own, table[table["run"].isin(own.index)]
