"""Which cells of a ranking may win, are as good as the lowest, or beat the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.errors import Errors

MANY_CELLS = 100  # from here on fewer resamples, so that the report stays fast

Indices = NDArray[np.intp]
Mark = bool | None  # None where no mark is given


@dataclass(frozen=True)
class Marks:
    """Joint comparisons of cells, by cell, and why some cells have no mark.

    A cell is shown to beat the baselines if it is shown to beat each of them, so that nothing has
    to be corrected for choosing the strongest.
    """

    in_best_set: list[Mark]
    beats_mean: list[Mark]
    beats_baselines: list[Mark]
    notes: list[str]


def resamples(cells: int) -> int:
    """Return how many resamples a ranking of so many cells is judged by."""
    return stats.N_RESAMPLES if cells < MANY_CELLS else stats.N_RESAMPLES // 4


def seeds_of(errors: Errors) -> NDArray[np.int64]:
    """Return how many seeds each cell has."""
    return np.asarray((~np.isnan(errors.error_m).any(axis=2)).sum(axis=1))


def candidates(errors: Errors, planned: pd.Series[int]) -> tuple[Indices, list[str]]:
    """Return the cells that may win, and a note if not all may.

    As in `img2gps select`, a cell needs all its planned seeds, so that no lucky seed wins. As long
    as no cell has them all, every cell may win.
    """
    complete = seeds_of(errors) == planned[errors.cells].to_numpy()
    if complete.all():
        return np.arange(len(complete)), []
    if not complete.any():
        note = "Provisional: no cell has all its seeds finished, so cells with some may win."
        return np.arange(len(complete)), [note]
    count = int((~complete).sum())
    lack = "cell lacks" if count == 1 else "cells lack"
    return np.flatnonzero(complete), [f"{count} {lack} a finished seed: shown, but cannot win."]


def marks(errors: Errors, may_win: Indices) -> Marks:
    """Compare all cells that have at least two seeds."""
    n, seeds = resamples(len(errors.cells)), seeds_of(errors)
    beats = {name: _beats(errors, name, n) for name in errors.baseline_error_m}
    in_set: list[Mark] = [None] * len(errors.cells)
    if len(may_win) > 1 and errors.n_spots >= 2 and (seeds[may_win] >= 2).all():
        drawn = stats.resample(errors.error_m[may_win], errors.spot, luck=errors.luck, n=n)
        for i, mark in zip(may_win, stats.confidence_set(drawn), strict=True):
            in_set[i] = bool(mark)
    every = list(map(_all, zip(*beats.values(), strict=True)))
    return Marks(in_set, beats["mean"], every, _notes(seeds, may_win, errors.luck))


def _beats(errors: Errors, name: str, n: int) -> list[Mark]:
    """Return which cells are shown to beat a baseline; None with one seed or without its errors."""
    rival = errors.baseline_error_m[name]
    known = np.flatnonzero((seeds_of(errors) >= 2) & ~np.isnan(rival).any(axis=1))
    marks: list[Mark] = [None] * len(errors.cells)
    if len(known) and errors.n_spots >= 2:
        found = stats.beats_baseline(
            errors.error_m[known], errors.spot, rival[known], luck=errors.luck, n=n
        )
        for i, mark in zip(known, found, strict=True):
            marks[i] = bool(mark)
    return marks


def _all(marks: Sequence[Mark]) -> Mark:
    """Return whether all marks are given; None as long as that is open."""
    return False if False in marks else None if None in marks else True


def _notes(seeds: NDArray[np.int64], may_win: Indices, luck: stats.Luck) -> list[str]:
    """Say why some cells have no mark."""
    notes = []
    if (seeds < 2).any():
        what = "The cells have" if (seeds < 2).all() else "Some cells have"
        notes.append(f"{what} one seed ({luck.text}) and get no mark.")
    if len(may_win) > 1 and 0 < (seeds[may_win] < 2).sum() < len(may_win):
        notes.append("Cells are not marked as close to the lowest, because some have one seed.")
    return notes
