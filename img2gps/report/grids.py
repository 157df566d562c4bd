"""Grids in the layout of the study's Table 1: learning rate down, batch size across."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from img2gps.analysis.declared import Reference
from img2gps.analysis.overview import Analysis
from img2gps.analysis.ranking import Cell, Ranking
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.analysis.wording import cell_name, knob_name
from img2gps.report import entries
from img2gps.report.table import Entry, Legend, Mark, Table

ROWS, COLUMNS = "lr", "batch_size"
MAX_GRIDS = 12  # more tables of one layout are a list, not a comparison
_OPTIMISTIC = (
    "The epoch was chosen on the validation photos themselves, run by run, which flatters every "
    "figure; the study's own figure is that of the final epoch."
)

Key = tuple[str, ...]  # a cell's place in the grid


def grids(study: Analysis, ranking: Ranking, *, best_epoch: bool = False) -> list[Table]:
    """Return one table for each combination of the axes other than learning rate and batch size.

    There is none where the study has not both. `best_epoch` gives the same grids for each run's
    best epoch, an optimistic choice.
    """
    axes = {axis: v for axis, v in study.study.axes.items() if axis != FOLD_AXIS}
    if not {ROWS, COLUMNS} <= set(axes):
        return []
    others = [axis for axis in axes if axis not in (ROWS, COLUMNS)]
    found = [
        _Grid(study, ranking, axes, dict(zip(others, values, strict=True)))
        for values in product(*(axes[axis] for axis in others))
    ]
    found = [grid for grid in found if any(grid.cells.values())]
    if len(found) > MAX_GRIDS:
        return []
    return [_best_epochs(grid) if best_epoch else _final(grid) for grid in found]


@dataclass(frozen=True)
class _Grid:
    """One table's cells: `point` is what they share."""

    study: Analysis
    ranking: Ranking
    axes: Mapping[str, list[Any]]
    point: dict[str, Any]
    reasons: dict[str, Mark] = field(default_factory=dict)  # of dashes; a letter each

    @property
    def rows(self) -> list[Any]:
        return sorted(self.axes[ROWS])

    @property
    def columns(self) -> list[Any]:
        return sorted(self.axes[COLUMNS])

    @property
    def cells(self) -> dict[tuple[Any, Any], Cell | None]:
        """The ranked cell at each learning rate and batch size, None where there is none."""
        ranked = {_key(cell.params, self.axes): cell for cell in self.ranking.cells}
        return {
            place: ranked.get(_key(self.params(*place), self.axes))
            for place in product(self.rows, self.columns)
        }

    @property
    def published(self) -> dict[tuple[Any, Any], float | None]:
        """The reference's figure at each learning rate and batch size."""
        return {
            place: self.ranking.published_m(self.params(*place))
            for place in product(self.rows, self.columns)
        }

    def params(self, row: Any, column: Any) -> dict[str, Any]:
        return {**self.point, ROWS: row, COLUMNS: column}

    def dash(self, row: Any, column: Any) -> Entry:
        """Return the field of a cell without a figure, with a letter for its reason."""
        key = _key(self.params(row, column), self.axes)
        absent = {_key(c.params, self.axes): c.reason for c in self.study.missing if not c.ranked}
        reason = absent.get(key, "not part of the study")
        mark = self.reasons.setdefault(reason, _letter(len(self.reasons), reason))
        return Entry("-", marks=(mark,))

    def table(self, kind: str, caption: str, rows: list[list[Entry]], legend: Legend) -> Table:
        start = "pretrained" if self.ranking.group.pretrained else "from scratch"
        where = ", ".join(filter(None, (cell_name(self.point), start)))
        header = [knob_name(ROWS), *(cell_name({COLUMNS: column}) for column in self.columns)]
        notes: Legend = [(mark, reason) for reason, mark in self.reasons.items()]
        names = (re.sub(r"[^A-Za-z0-9.-]+", "-", str(value)) for value in self.point.values())
        key, warnings = "_".join([kind, *names]), list(self.ranking.notes)
        return Table(key, f"{caption}, {where}", header, rows, legend + notes, warnings)


def _final(grid: _Grid) -> Table:
    ranking, cells = grid.ranking, grid.cells
    rows = [
        [
            Entry(str(lr)),
            *(
                entries.of_cell(cell, ranking)
                if (cell := cells[lr, batch])
                else grid.dash(lr, batch)
                for batch in grid.columns
            ),
        ]
        for lr in grid.rows
    ]
    rows.append(_last(grid, entries.with_interval(ranking.mean_predictor)))
    caption = "Validation RMSE in metres after the final epoch"
    table = grid.table("table1", caption, rows, entries.legend(ranking, rows))
    if ranking.reference is None or all(v is None for v in grid.published.values()):
        return table
    return _with_reference(table, grid, ranking.reference)


def _with_reference(table: Table, grid: _Grid, reference: Reference) -> Table:
    """Add the published columns."""
    published = grid.published
    own = [[entries.figure(published[lr, batch], digits=2) for batch in grid.columns]
           for lr in grid.rows]  # fmt: skip
    own.append(_last(grid, entries.figure(reference.mean_predictor))[1:])
    rows = [[*row, *more] for row, more in zip(table.rows, own, strict=True)]
    header = [*table.header, *(f"{reference.label}, {name}" for name in table.header[1:])]
    said = f"{reference.label[:1].upper()}{reference.label[1:]} columns: {reference.source}."
    return replace(table, header=header, rows=rows, legend=[*table.legend, said])


def _best_epochs(grid: _Grid) -> Table:
    known = [m for cell in grid.ranking.cells if not math.isnan(m := cell.best_rmse_m)]
    lowest = min(known, default=math.nan)
    cells, rows = grid.cells, []
    for lr in grid.rows:
        row = [Entry(str(lr))]
        for batch in grid.columns:
            cell = cells[lr, batch]
            best = None if cell is None else cell.best_rmse_m
            row.append(
                grid.dash(lr, batch) if best is None else entries.figure(best, bold=best == lowest)
            )
        rows.append(row)
    rows.append(_last(grid, entries.figure(grid.ranking.mean_predictor.estimate)))
    caption = "Optimistic: validation RMSE in metres at each run's best epoch"
    return grid.table("best_epoch", caption, rows, [_OPTIMISTIC])


def _last(grid: _Grid, mean: Entry) -> list[Entry]:
    """Return the row of the mean predictor, which is the same at every batch size."""
    return [Entry("mean predictor"), mean, *(Entry() for _ in grid.columns[1:])]


def _key(params: Mapping[str, Any], axes: Mapping[str, Any]) -> Key:
    """Return a cell's place in the grid, whatever the type of its values."""
    return tuple(
        str(float(value)) if isinstance(value := params.get(axis), int | float) else str(value)
        for axis in axes
    )


def _letter(number: int, reason: str) -> Mark:
    """Return a, b, ..., z, aa, ... as a mark."""
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return Mark(letters, letters, reason)
