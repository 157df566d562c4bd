"""Fields and marks of the tables of a ranking, and the legend that explains them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from img2gps.analysis.ranking import Cell, Ranking
from img2gps.analysis.stats import Interval
from img2gps.analysis.wording import cell_name, knob_name, knob_value
from img2gps.core.counted import counted
from img2gps.report.table import Entry, Legend, Mark

SAME = Mark("*", "*", "not distinguishable from the lowest (model confidence set, 95 %)")
MEAN = Mark("†", r"$\dagger$", "not shown to beat the mean predictor (joint test, 95 %)")
FEWER = Mark("§", r"\S", "fewer seeds than planned")
EDGE = Mark("‡", r"$\ddagger$", "on the grid's edge")  # its legend says where to extend


def figure(value: float | None, *, bold: bool = False, digits: int = 1) -> Entry:
    """Return the field of a figure, a dash where there is none."""
    if value is None or np.isnan(value):
        return Entry("-")
    return Entry(f"{value:.{digits}f}", bold=bold, number=float(value))


def with_interval(interval: Interval, *, bold: bool = False) -> Entry:
    """Return the field of an estimate with the ends of its interval."""
    ends = None if np.isnan(interval.low) else (interval.low, interval.high)
    return replace(figure(interval.estimate, bold=bold), interval=ends)


def of_cell(cell: Cell, ranking: Ranking) -> Entry:
    """Return the field of a ranked cell: the winner in bold, marks behind."""
    entry = with_interval(cell.interval, bold=cell.cell == ranking.winner.cell)
    return replace(entry, marks=_marks(cell, ranking))


def line(name: str, interval: Interval, text: str, *, bold: bool = False) -> list[Entry]:
    """Return a row of name, figure and explanation."""
    return [Entry(name), with_interval(interval, bold=bold), Entry(text)]


def counts(interval: Interval) -> str:
    """Return the photos and spots behind an interval in words."""
    return f"{counted(interval.n_photos, 'photo')} of {counted(interval.n_spots, 'spot')}"


def has_seeds(ranking: Ranking) -> bool:
    """Return whether any cell has several seeds, which may differ."""
    return not ranking.errors.seedless and any(c.interval.n_seeds > 1 for c in ranking.cells)


def legend(ranking: Ranking, rows: Iterable[Iterable[Entry]]) -> Legend:
    """Explain bold type, brackets and the marks that occur in the rows."""
    entries = [entry for row in rows for entry in row]
    used = {mark for entry in entries for mark in entry.marks}
    lines: Legend = [_bold_said(ranking, any(entry.bold for entry in entries)), _brackets(ranking)]
    same = SAME.meaning.replace("the lowest", f"the lowest{ranking.among}")
    meanings = {SAME: same, MEAN: MEAN.meaning, FEWER: FEWER.meaning}
    lines += [(mark, meaning) for mark, meaning in meanings.items() if mark in used]
    if EDGE in used:
        lines.append((EDGE, edge_said(ranking)))
    return lines


def edge_said(ranking: Ranking) -> str:
    """Say on which ends of its axes the winner lies, and where to extend them."""
    ends = [
        f"{knob_name(edge.axis)} {knob_value(edge.value)} is the end of its axis: extend to "
        f"{knob_value(edge.suggestion)}"
        for edge in ranking.edges
    ]
    return f"winner on the grid's edge; {'; '.join(ends)}"


def _bold_said(ranking: Ranking, bold: bool) -> str:
    if not bold:
        lowest = f"The lowest{ranking.among or ' cell'}"
        return f"{lowest} is elsewhere: {cell_name(ranking.winner.params)}."
    if ranking.candidates == 1:
        return "bold: the only cell that can win"
    lowest = f"bold: the lowest{ranking.among or ' of this ranking'}"
    if ranking.expected is None:
        return f"{lowest}."
    expected = f"the corrected figure, {ranking.expected.estimate:.1f} m"
    return f"{lowest}; its expected error is {expected}."


def _brackets(ranking: Ranking) -> str:
    seeds = sorted({cell.interval.n_seeds for cell in ranking.cells})
    photos = counts(ranking.winner.interval)
    over = "spots and seeds"
    if ranking.errors.seedless:
        what, over = "no seed changes these answers", "spots"
    elif seeds == [1]:
        what = f"one seed, {ranking.errors.luck.text}"
    else:
        number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        what = f"mean over {number} seeds"
    if ranking.winner.interval.n_spots < 2:
        return f"{what}; no interval, because {photos} cannot be resampled by spot"
    return f"{what} [95 % interval over {over}; {photos}]"


def _marks(cell: Cell, ranking: Ranking) -> tuple[Mark, ...]:
    is_winner = cell.cell == ranking.winner.cell
    marks = {
        SAME: bool(cell.in_best_set) and not is_winner,
        MEAN: cell.beats_mean is False,
        EDGE: is_winner and bool(ranking.edges),
        FEWER: len(cell.run_rmse_m) < cell.planned,
    }
    return tuple(mark for mark, holds in marks.items() if holds)
