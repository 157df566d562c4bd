"""Which cells of a ranking may win, are as good as the lowest, or beat the baselines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.baselines import NAMES
from img2gps.analysis.errors import Errors

RESAMPLES = ((20, 10_000), (100, 2000), (math.inf, 500))  # below so many cells, so many resamples

Indices = NDArray[np.intp]
Mark = bool | None  # None where no mark is given


@dataclass(frozen=True)
class Marks:
    """Joint comparisons of cells, by cell, and why some cells have no mark.

    `beats` has one joint test for each baseline, by its name.
    """

    in_best_set: list[Mark]
    beats: dict[str, list[Mark]]
    notes: list[str]


def resamples(cells: int) -> int:
    """Return by how many resamples so many cells are judged: seconds, below a thousand cells."""
    return next(n for most, n in RESAMPLES if cells < most)


def seeds_of(errors: Errors) -> NDArray[np.int64]:
    """Return how many seeds each cell has."""
    return np.asarray((~np.isnan(errors.error_m).any(axis=2)).sum(axis=1))


def candidates(
    errors: Errors, planned: pd.Series[int], allowed: NDArray[np.bool_]
) -> tuple[Indices, list[str]]:
    """Return the cells that may win, and a note if cells lack a seed.

    As in `img2gps select`, a cell needs all its planned seeds, so that no lucky seed wins. As long
    as no cell has them all, those with some may win. `allowed` says which cells a race has not
    dropped, or which a search has confirmed; where none of them is here, any cell may win.
    """
    allowed = allowed if allowed.any() else np.ones_like(allowed)
    complete = seeds_of(errors) == planned[errors.cells].to_numpy()
    if not complete[allowed].any():
        which = "cell" if allowed.all() else "cell that may win"
        note = f"Provisional: no {which} has all its seeds finished, so those with some may win."
        return np.flatnonzero(allowed), [note]
    count = int((~complete).sum())
    lack = "cell lacks" if count == 1 else "cells lack"
    notes = [f"{count} {lack} a finished seed: shown, but cannot win."] if count else []
    return np.flatnonzero(complete & allowed), notes


def marks(errors: Errors, may_win: Indices) -> Marks:
    """Compare all cells that have at least two seeds, or that no seed changes."""
    n, seeds = resamples(len(errors.cells)), seeds_of(errors)
    enough = (seeds >= 2) | errors.solved
    in_set, beats = _Joint(errors), {name: _Joint(errors) for name in errors.baseline_error_m}
    if errors.n_spots >= 2:
        for name, joint in beats.items():
            rival = errors.baseline_error_m[name]
            known = np.flatnonzero(enough & ~np.isnan(rival).any(axis=1))
            if len(known):
                data = errors.judged_m[known], errors.places, rival[known]
                joint.take(known, stats.beats_baseline(*data, luck=errors.luck, n=n))
        if len(may_win) > 1 and enough[may_win].all():
            drawn = stats.resample(errors.judged_m[may_win], errors.places, luck=errors.luck, n=n)
            in_set.take(may_win, stats.confidence_set(drawn))
    notes = _notes(~enough, may_win, errors.luck)
    tests = {"as good as the lowest cell": in_set}
    tests |= {f"better than the {NAMES[name]}": joint for name, joint in beats.items()}
    for what, joint in tests.items():
        if joint.borderline:
            notes.append(f"Borderline whether {what}: {', '.join(joint.borderline)}.")
    return Marks(in_set.marks, {name: joint.marks for name, joint in beats.items()}, notes)


class _Joint:
    """The marks of one joint test, by cell, and the cells that it decides by chance."""

    def __init__(self, errors: Errors) -> None:
        self.cells = errors.cells
        self.marks: list[Mark] = [None] * len(errors.cells)
        self.borderline: list[str] = []

    def take(self, tested: Indices, found: stats.Verdicts) -> None:
        """Take in the verdicts about some cells."""
        for cell, mark, close in zip(tested, found.marked, found.borderline, strict=True):
            self.marks[cell] = bool(mark)
            if close:
                self.borderline.append(self.cells[cell])


def _notes(single: NDArray[np.bool_], may_win: Indices, luck: stats.Luck) -> list[str]:
    """Say why some cells have no mark: they have a single seed, which matters to them."""
    notes = []
    if single.any():
        what = "The cells have" if single.all() else "Some cells have"
        notes.append(f"{what} one seed ({luck.text}) and get no mark.")
    if len(may_win) > 1 and 0 < single[may_win].sum() < len(may_win):
        notes.append("Cells are not marked as close to the lowest, because some have one seed.")
    return notes
