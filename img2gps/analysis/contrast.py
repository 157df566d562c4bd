"""Is one choice better than another, all else equal? Cells of a study in pairs, photo by photo.

A choice is a knob and its value, or `name` and a pattern over the cells' names. Each cell of one
side is paired with the cell of the other side that agrees with it in everything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from img2gps.analysis import stats
from img2gps.analysis.choices import ABSENT, NAME, Choice, as_text, fits, plain
from img2gps.analysis.errors import Errors
from img2gps.analysis.stats import Chance, Equivalence, Interval
from img2gps.analysis.study import Study
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.analysis.wording import span, tenths
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.runs.records import PRETRAINED

Pairs = list[tuple[str, str]]  # a cell of one side with its partner of the other


@dataclass(frozen=True)
class Contrast:
    """The mean over pairs of the RMSE of `this` less that of `that`; below 0, `this` is better."""

    interval: Interval
    this_m: float
    that_m: float
    pairs: int
    notes: tuple[str, ...]
    chance: Chance | None = None  # that a run of `this` beats one of `that`; of one pair only
    equivalence: Equivalence | None = None  # where a margin is given

    @property
    def difference(self) -> str:
        """The difference with its interval in one line."""
        ends = f"95 % interval {span(self.interval, '+')}"
        if np.isnan(self.interval.low):
            ends = "no interval"
        return f"{tenths(self.interval.estimate, '+')} m ({ends}, {self.counted})"

    @property
    def counted(self) -> str:
        """How many pairs were compared."""
        return "one pair of cells" if self.pairs == 1 else f"{self.pairs} pairs of cells"

    @property
    def verdict(self) -> str:
        """Whether the RMSE of `this` is higher or lower."""
        if np.isnan(self.interval.low):
            return "unknown"
        if self.interval.high < 0:
            return "lower"
        return "higher" if self.interval.low > 0 else "not distinguishable"


def contrast(
    study: Study,
    this: Choice,
    that: Choice,
    where: Choice | None = None,
    margin_m: float | None = None,
) -> Contrast:
    """Compare two choices over all pairs of cells that were validated on the same photos.

    Args:
        study: as read from disk.
        this: the choice in question.
        that: what it is compared with.
        where: what both sides must have besides.
        margin_m: up to which difference the choices count as equivalent; None to test nothing.

    Raises:
        BadInput: the study does not vary a knob; there is no pair of finished cells; pairs were
            validated on different photos; or two cells of one side fit the same cell of the other.
    """
    rows, pairs = _pairs(study, {**(where or {}), **this}, {**(where or {}), **that})
    used = rows[rows["rank_cell"].isin({cell for pair in pairs for cell in pair})]
    errors = study.errors(used)
    weights = np.zeros(len(errors.cells))
    for ours, theirs in pairs:
        weights[errors.cells.index(ours)] += 1 / len(pairs)
        weights[errors.cells.index(theirs)] -= 1 / len(pairs)
    rmse = stats.cell_rmse(errors.error_m)
    everything = study.errors(rows)  # all cells on these photos tell the luck, and which go astray
    luck = everything.luck
    strays = everything.strays.of([everything.cells.index(cell) for cell in errors.cells])
    interval = stats.contrast_interval(
        errors.judged_m, weights, errors.places, luck=luck, strays=strays
    )
    this_m = float(np.maximum(weights, 0) @ rmse)
    notes = [*interval.notes, *_lacking(study, used)]
    if len(set(used["weights/resolved"].isin(PRETRAINED))) > 1:
        notes.append("pretrained runs are compared with runs from scratch")
    that_m, data = float(this_m - weights @ rmse), (errors.judged_m, weights, errors.places)
    return Contrast(
        interval,
        this_m,
        that_m,
        len(pairs),
        tuple(notes),
        stats.chance_of_lower(*data, luck=luck, difference=interval) if len(pairs) == 1 else None,
        None if margin_m is None else stats.equivalence(*data, margin_m, luck=luck),
    )


def pair_of(study: Study, this: Choice, that: Choice, where: Choice) -> tuple[Errors, list[int]]:
    """Return the errors of a pair of cells and all others, and where in them the two are.

    Raises:
        BadInput: the choices make no pair, or several.
    """
    rows, pairs = _pairs(study, {**where, **this}, {**where, **that})
    if len(pairs) > 1:
        raise BadInput(
            f"{as_text(this)} and {as_text(that)}: {len(pairs)} pairs of cells; choose one with "
            "--where, such as --where batch_size=16"
        )
    errors = study.errors(rows)
    return errors, [errors.cells.index(cell) for cell in pairs[0]]


def _pairs(study: Study, this: Choice, that: Choice) -> tuple[pd.DataFrame, Pairs]:
    """Return the finished runs that were validated on the same photos, and the pairs of cells."""
    rest = _rest(study, {**this, **that})
    if len(study.finished) and (study.validation == "").all():
        raise BadInput(study.unranked)
    done = study.deciding(study.finished.assign(_validation=study.validation))
    whole = done[_folds(done) == _folds(study.runs)[done.index]]
    # Cells that lack a fold are compared where no pair has all its folds, whatever others have.
    found = _on_same_photos(whole, this, that, rest) or _on_same_photos(done, this, that, rest)
    if not found:
        raise BadInput(
            f"{study.name}: no finished cells with {as_text(this)} and with {as_text(that)} that "
            "agree in all else and were validated on the same photos"
        )
    if len(found) > 1:
        raise BadInput(
            f"{study.name}: pairs on {len(found)} sets of validation photos, which are "
            "different questions; choose one with where, such as --where split=random"
        )
    return found[0]


def _on_same_photos(
    runs: pd.DataFrame, this: Choice, that: Choice, rest: Sequence[str]
) -> list[tuple[pd.DataFrame, Pairs]]:
    """Return the runs on each set of validation photos that has pairs of cells, with these."""
    found = []
    for digest, rows in runs.groupby("_validation"):
        ours, theirs = _side(rows, this, rest), _side(rows, that, rest)
        pairs = [(ours[key], theirs[key]) for key in ours if key in theirs]
        if digest and pairs:
            found.append((rows, pairs))
    return found


def _folds(rows: pd.DataFrame) -> pd.Series[int]:
    """Return how many folds there are of each run's cell and seed; 1 without folds."""
    return rows.groupby(["rank_cell", "seed"])["cell"].transform("size")


def _lacking(study: Study, used: pd.DataFrame) -> list[str]:
    """Say which of the compared cells lack a finished seed, as those of a ranking that cannot win.

    The seeds that are there may be the lucky ones.
    """
    planned, done = (
        Counter(rows.drop_duplicates(["rank_cell", "seed"])["rank_cell"])
        for rows in (study.deciding(study.runs), used)
    )
    lack = [
        f"{cell} lacks {planned[cell] - count} of {counted(planned[cell], 'seed')}"
        for cell, count in done.items()
        if count < planned[cell]
    ]
    folds, all_folds = _folds(used), _folds(study.runs)[used.index]
    part = [f"{folds.min()} of {all_folds.max()} folds"] if (folds < all_folds).any() else []
    return [
        *part,
        *lack[:2],
        *([f"{len(lack) - 2} more cells lack seeds"] if len(lack) > 2 else []),
    ]


def _rest(study: Study, asked: Choice) -> list[str]:
    """Return the knobs in which the cells of a pair must agree.

    Raises:
        BadInput: a knob is asked for that the study does not vary.
    """
    knobs = [axis for axis in study.axes if axis != FOLD_AXIS]
    for knob in asked:
        if knob not in (*knobs, NAME):
            raise BadInput(f"{knob}: not varied by {study.name}; one of {', '.join(knobs)}, {NAME}")
    free = set(asked)
    if NAME in asked:  # a name stands for all that its cell sets
        free |= {key for cell in study.record.named_cells.values() for key in cell}
    return [knob for knob in knobs if knob not in free]


def _side(rows: pd.DataFrame, wanted: Choice, rest: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Return the cells that fit a choice, by the rest of their knobs and what each * stands for."""
    found: dict[tuple[str, ...], str] = {}
    for row in rows.drop_duplicates("rank_cell").to_dict("records"):
        known = {**row["params"], NAME: row["name"]}
        matches = [fits(known.get(knob, ABSENT), pattern) for knob, pattern in wanted.items()]
        stars = [groups for groups in matches if groups is not None]
        if len(stars) < len(wanted):
            continue
        others = (plain(known.get(knob, ABSENT)) for knob in rest)
        cell = found.setdefault((*others, *chain.from_iterable(stars)), row["rank_cell"])
        if cell != row["rank_cell"]:
            raise BadInput(
                f"{as_text(wanted)}: fits {cell} and {row['rank_cell']}, which the other side "
                "cannot be paired with one by one; give each side the same knobs, or the rest with "
                "where, such as --where batch_size=16"
            )
    return found
