"""Is one choice better than another, all else equal? Cells of a study in pairs, photo by photo.

A choice is a knob and its value, or `name` and a pattern over the cells' names. Each cell of one
side is paired with the cell of the other side that agrees with it in everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from img2gps.analysis import ranking as analysis
from img2gps.analysis import stats
from img2gps.analysis.choices import NAME, Choice, as_text, fits, plain
from img2gps.analysis.stats import Interval
from img2gps.analysis.study import PRETRAINED, Study
from img2gps.core.errors import BadInput


@dataclass(frozen=True)
class Contrast:
    """RMSE of `this` less RMSE of `that`, in the mean over the pairs; below 0, `this` is better."""

    this: Choice
    that: Choice
    interval: Interval
    this_m: float
    that_m: float
    pairs: int
    notes: tuple[str, ...]

    @property
    def difference(self) -> str:
        """In one line."""
        ends = f"95 % interval {self.interval.low:+.1f} to {self.interval.high:+.1f} m"
        if np.isnan(self.interval.low):
            ends = "no interval"
        return f"{self.interval.estimate:+.1f} m ({ends}, {self.counted})"

    @property
    def counted(self) -> str:
        """How many pairs."""
        return "one pair of cells" if self.pairs == 1 else f"{self.pairs} pairs of cells"

    @property
    def verdict(self) -> str:
        """In words."""
        if np.isnan(self.interval.low):
            return "cannot be told"
        if self.interval.high < 0:
            return "lower"
        return "higher" if self.interval.low > 0 else "not distinguishable"


def contrast(study: Study, this: Choice, that: Choice, where: Choice | None = None) -> Contrast:
    """Compare two choices over all pairs of cells that were validated on the same photos.

    Args:
        study: as read from disk.
        this: the choice in question.
        that: what it is compared with.
        where: what both sides must have besides.

    Raises:
        BadInput: a knob that the study does not vary, no pair of finished cells, or pairs that
            were validated on different photos; two cells of one side that differ in a knob
            which is asked for on one side only.
    """
    knobs = [axis for axis in study.axes if axis != analysis.FOLD_AXIS]
    asked = {**this, **that, **(where or {})}
    for knob in asked:
        if knob not in (*knobs, NAME):
            raise BadInput(f"{knob}: not varied by {study.name}; one of {', '.join(knobs)}, {NAME}")
    rest = _rest(study, knobs, asked)
    done = study.finished.assign(_validation=study.validation)
    found_pairs: list[tuple[pd.DataFrame, list[tuple[str, str]]]] = []
    for digest, rows in done.groupby("_validation"):
        sides = [_side(rows, {**(where or {}), **choice}, rest) for choice in (this, that)]
        pairs = [(sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]]
        if digest and pairs:
            found_pairs.append((rows, pairs))
    if len(found_pairs) > 1:
        raise BadInput(
            f"{study.name}: pairs on {len(found_pairs)} sets of validation photos, which are "
            "different questions; choose one with where, such as --where split=random"
        )
    if not found_pairs:
        raise BadInput(
            f"{study.name}: no finished cells with {as_text(this)} and with {as_text(that)} that "
            "agree in all else and were validated on the same photos"
        )
    ((rows, pairs),) = found_pairs
    used = rows[rows["rank_cell"].isin({cell for pair in pairs for cell in pair})]
    errors = study.errors(used)
    weights = np.zeros(len(errors.cells))
    for ours, theirs in pairs:
        weights[errors.cells.index(ours)] += 1 / len(pairs)
        weights[errors.cells.index(theirs)] -= 1 / len(pairs)
    rmse = stats.cell_rmse(errors.error_m)
    found = stats.contrast_interval(errors.error_m, weights, errors.spot)
    positive = np.maximum(weights, 0)
    return Contrast(
        this,
        that,
        found,
        float(positive @ rmse),
        float(positive @ rmse - weights @ rmse),
        len(pairs),
        tuple(_notes(used, found)),
    )


def _rest(study: Study, knobs: Sequence[str], asked: Choice) -> list[str]:
    """Knobs in which the cells of a pair must agree."""
    free = set(asked)
    if NAME in asked:  # a name stands for all that its cell sets
        free |= {key for cell in study.facts.get("named_cells", {}).values() for key in cell}
    return [knob for knob in knobs if knob not in free]


def _side(rows: pd.DataFrame, choice: Choice, rest: Sequence[str]) -> dict[Any, str]:
    """Cells that fit a choice, by what they have besides: other knobs, and what each * stands for.

    A cell of which not all is known (a knob that does not exist for it) has "" there.
    """
    found: dict[Any, str] = {}
    for row in rows.drop_duplicates("rank_cell").to_dict("records"):
        matches = [fits(row.get(knob), pattern) for knob, pattern in choice.items()]
        stars = [groups for groups in matches if groups is not None]
        if len(stars) < len(choice):
            continue
        key = (*map(plain, (row.get(knob) for knob in rest)), *chain.from_iterable(stars))
        cell = found.setdefault(key, row["rank_cell"])
        if cell != row["rank_cell"]:
            raise BadInput(
                f"{as_text(choice)}: fits {cell} and {row['rank_cell']}, which the other side "
                "cannot be paired with one by one; give each side the same knobs, or the rest with "
                "where, such as --where batch_size=16"
            )
    return found


def _notes(used: pd.DataFrame, found: Interval) -> list[str]:
    notes = list(found.notes)
    pretrained = used["weights/resolved"].isin(PRETRAINED)
    if pretrained.any() and not pretrained.all():
        notes.append("pretrained runs are compared with runs from scratch")
    return notes
