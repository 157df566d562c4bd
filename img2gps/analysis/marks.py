"""Which cells of a ranking may win, are as good as the lowest, or beat the mean predictor."""

from __future__ import annotations

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
    """Joint comparisons of cells, by cell, and why some cells have no mark."""

    in_best_set: list[Mark]
    beats_mean: list[Mark]
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
    in_set: list[Mark] = [None] * len(errors.cells)
    beats: list[Mark] = [None] * len(errors.cells)
    seeded = np.flatnonzero(seeds >= 2)
    if len(seeded) and errors.n_spots >= 2:
        found = stats.beats_mean_predictor(
            errors.error_m[seeded], errors.spot, errors.mean_error_m, n=n
        )
        for i, mark in zip(seeded, found, strict=True):
            beats[i] = bool(mark)
        if len(may_win) > 1 and (seeds[may_win] >= 2).all():
            drawn = stats.resample(errors.error_m[may_win], errors.spot, n=n)
            for i, mark in zip(may_win, stats.confidence_set(drawn), strict=True):
                in_set[i] = bool(mark)
    return Marks(in_set, beats, _notes(seeds, may_win))


def _notes(seeds: NDArray[np.int64], may_win: Indices) -> list[str]:
    """Say why some cells have no mark."""
    notes = []
    if (seeds < 2).any():
        what = "The cells have" if (seeds < 2).all() else "Some cells have"
        notes.append(
            f"{what} one seed: their intervals leave out the seed's luck, and they get no mark."
        )
    if len(may_win) > 1 and 0 < (seeds[may_win] < 2).sum() < len(may_win):
        notes.append("Cells are not marked as close to the lowest, because some have one seed.")
    return notes
