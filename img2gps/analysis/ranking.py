"""Rankings: cells that may be compared, with intervals and marks, and what holds for the lowest.

Applies `stats` to what `collect` has read. Tables, figures and the page show this and compute
nothing of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from img2gps.analysis import caveats, checks, stats
from img2gps.analysis.baselines import Baseline, baselines
from img2gps.analysis.declared import Reference
from img2gps.analysis.edges import Edge, edges, in_line
from img2gps.analysis.errors import Errors
from img2gps.analysis.marks import Indices, Mark, candidates, marks, resamples
from img2gps.analysis.radius import Promise, promise
from img2gps.analysis.stats import Corrected, Detectable, Effect, FoldMean, Interval
from img2gps.analysis.study import Group, Study
from img2gps.analysis.winner import FOLD_AXIS, Rule
from img2gps.config.schema import DENSITY_METRICS


@dataclass(frozen=True)
class Cell:
    """One cell that is ranked.

    The marks are None where none is given: with a single seed, with one cell only, or where the
    errors of a baseline are not stored.
    """

    cell: str
    name: str  # the study's own name for it, or ""
    params: dict[str, Any]
    interval: Interval  # RMSE after the final epoch, mean over seeds
    run_rmse_m: tuple[float, ...]  # by seed
    planned: int  # seeds
    in_best_set: Mark
    beats: dict[str, Mark]  # by baseline: whether the cell is shown to beat it
    win_share: float  # of the resamples in which it would have been selected
    best_rmse_m: float  # at each run's best epoch: an optimistic choice; NaN where unknown
    averaged_rmse_m: float  # of the mean answer of its seeds; NaN with one seed

    @property
    def beats_mean(self) -> Mark:
        """Whether the cell is shown to beat the mean predictor."""
        return self.beats["mean"]

    @property
    def beats_baselines(self) -> Mark:
        """Whether the cell is shown to beat every baseline.

        As each has to be beaten, nothing has to be corrected for choosing the strongest.
        """
        marks = self.beats.values()
        return False if False in marks else None if None in marks else True


@dataclass(frozen=True)
class Ranking:
    """Cells that may be compared, and what holds for the lowest of them."""

    study: Study
    group: Group
    errors: Errors
    cells: list[Cell]  # in the study's order
    baselines: list[Baseline]  # one of each kind for each number of training photos
    may_win: Indices  # cells among which the winner was selected, as `candidates` finds them
    winner: Cell
    corrected: Corrected
    resolution: Detectable | None  # what these photos show, whether or not there are marks
    notes: list[str]

    @property
    def candidates(self) -> int:
        """The number of cells among which the winner was selected."""
        return len(self.may_win)

    @property
    def tried(self) -> int:
        """The number of cells that these photos have chosen among, one after another.

        Beside the candidates, these are the other cells of a search that is confirmed, and those
        that a race has dropped.
        """
        cells = self.errors.cells
        if self.confirmed:
            return len(cells)
        return sum(i in self.may_win or not self.study.may_win(c) for i, c in enumerate(cells))

    @property
    def expected(self) -> Interval | None:
        """The winner's RMSE, corrected for its selection.

        None with one candidate, because nothing was selected, and on one spot, where nothing is
        left out to score on.
        """
        return self.corrected.interval if self.candidates > 1 else None

    @property
    def detectable(self) -> Detectable | None:
        """By how much cells must differ to lose their mark; None where none is given."""
        marked = any(cell.in_best_set is not None for cell in self.cells)
        return self.resolution if marked else None

    @property
    def among(self) -> str:
        """Which cells the winner is the lowest of, such as " of the confirmed cells".

        It is "" unless the ranking shows a lower cell, one that may not win.
        """
        lowest = self.winner.interval.estimate
        lower = [c for i, c in enumerate(self.cells) if i not in self.may_win]
        lower = [cell for cell in lower if cell.interval.estimate < lowest]
        if not lower:
            return ""
        which = "confirmed cells" if self.confirmed else "cells"
        if self.study.record.race and any(not self.study.may_win(cell.cell) for cell in lower):
            which += " left in the race"
        lacking = (cell for cell in lower if self.study.may_win(cell.cell))
        if any(len(cell.run_rmse_m) < cell.planned for cell in lacking):
            which += " with all their seeds"
        return f" of the {which}"

    @property
    def axes(self) -> list[str]:
        """The knobs of the cells, in the study's order."""
        return list(dict.fromkeys(key for cell in self.cells for key in cell.params))

    @property
    def _lowest(self) -> int:
        return self.errors.cells.index(self.winner.cell)

    @cached_property
    def mean_predictor(self) -> Interval:
        """RMSE of the mean predictor on the same photos, with the winner's training photos."""
        return self.mean_predictor_of(self.winner)

    def mean_predictor_of(self, cell: Cell) -> Interval:
        """Return the RMSE of the mean predictor that knows the cell's training photos."""
        errors = self.errors
        own = errors.baseline_error_m["mean"][errors.cells.index(cell.cell)]
        return stats.cell_interval(own[None], errors.places, luck=stats.NO_LUCK)

    @cached_property
    def floor_m(self) -> float:
        """RMSE of a perfect answer, given the labels' stated accuracy; NaN where unknown."""
        table = self.study.predictions
        own = table[table["run"].isin(self.group.runs.index)].drop_duplicates("content")
        return stats.label_floor_m(own["gps_error_m"]) if "gps_error_m" in own else math.nan

    @property
    def rivals(self) -> list[Baseline]:
        """The winner's baselines, the strongest first."""
        own = [baseline for baseline in self.baselines if self._lowest in baseline.cells]
        return sorted(own, key=lambda baseline: baseline.rmse_m)

    @cached_property
    def over_strongest(self) -> Interval | None:
        """RMSE of the winner less that of its strongest baseline; None if it cannot be paired."""
        strongest = self.rivals[0].error_m
        if not len(strongest):
            return None
        errors = self.errors
        own = errors.error_m[self._lowest]
        luck = errors.luck_of(self._lowest)
        return stats.above_baseline(own, strongest, errors.places, luck=luck)

    @property
    def confirmed(self) -> bool:
        """Whether the winner is one of the cells that a search has found and run again."""
        return _confirmed(self.study, self.errors, self.may_win)

    @property
    def winner_is_solved(self) -> bool:
        """Whether no seed changes the winner's answers."""
        return bool(self.errors.solved[self._lowest])

    @cached_property
    def edges(self) -> list[Edge]:
        """The axes at whose end the winner lies."""
        if self.study.kind == "runs":
            return []
        # Where all cells are named, the knobs that a name sets are no axes of their own.
        named = self.study.record.named_cells.values() if all(c.name for c in self.cells) else ()
        follow = {knob for cell in named for knob in cell}
        own = {axis: values for axis, values in self.study.axes.items() if axis not in follow}
        if not self.study.searched:
            planned = [knobs(params, self.study.axes) for params in self.study.runs["params"]]
            own = in_line(self.winner.params, planned, own)
        return edges(self.winner.params, own)

    @cached_property
    def _importance(self) -> tuple[list[Effect], str]:
        return checks.importance(self.study, self.errors, [cell.params for cell in self.cells])

    @property
    def importance(self) -> list[Effect]:
        """The analysis of variance; empty where the ranking is no full grid."""
        return self._importance[0]

    @property
    def no_importance(self) -> str:
        """Why `importance` is empty."""
        return self._importance[1]

    @cached_property
    def known_spots(self) -> Interval | None:
        """The winner's RMSE on photos of spots that training photos show."""
        return self._by_spots(known=True)

    @cached_property
    def new_spots(self) -> Interval | None:
        """The winner's RMSE on photos of other spots."""
        return self._by_spots(known=False)

    def _by_spots(self, *, known: bool) -> Interval | None:
        luck = self.errors.luck_of(self._lowest)
        return checks.by_spots(self.errors, self._lowest, luck, known=known)

    @cached_property
    def _test(self) -> Errors | None:
        return checks.test_errors(self.study, self.group, self.winner.cell)

    @cached_property
    def test(self) -> Interval | None:
        """The deployed run's RMSE on the test part; no other seed is asked about."""
        test = self._test
        if test is None:
            return None
        return stats.cell_interval(test.error_m[0], test.places, luck=stats.NO_LUCK)

    @cached_property
    def test_by_spots(self) -> dict[str, Interval]:
        """The deployed run's RMSE on the test photos of known spots, and on those of new ones."""
        if self._test is None:
            return {}
        parts = {"known": True, "new": False}
        found = {
            name: checks.by_spots(self._test, 0, stats.NO_LUCK, known=known)
            for name, known in parts.items()
        }
        return {name: interval for name, interval in found.items() if interval is not None}

    @cached_property
    def radius(self) -> Promise:
        """The radius around an answer of the winner's first seed, and how it held."""
        errors = self.errors
        runs = zip(errors.seeds, errors.error_m[self._lowest], strict=True)
        own = {seed: error for seed, error in runs if not np.isnan(error).any()}
        first = own[next(seed for seed in [*self.study.record.seeds, *own] if seed in own)]
        test = self._test
        tested = None if test is None else (test.error_m[0, 0], test.spot, test.known_spot)
        mean = errors.baseline_error_m["mean"][self._lowest]
        return promise(first, mean, errors.spot, self.tried, tested)

    @cached_property
    def density_fit(self) -> dict[str, float]:
        """How well the density of the winner's runs fits the validation labels, by metric.

        It is empty where its head gives no density.
        """
        own = self.group.runs[self.group.runs["rank_cell"] == self.winner.cell]
        known = [name for name in DENSITY_METRICS if name in own and own[name].notna().all()]
        return {name: float(own[name].mean()) for name in known}

    @cached_property
    def truth(self) -> checks.Truth | None:
        """The winner's RMSE against positions without GPS noise."""
        return checks.truth(self.errors, self._lowest, self._test)

    @cached_property
    def folds(self) -> FoldMean | None:
        """The winner's mean over folds."""
        return checks.fold_mean(self.group, self.winner.cell)

    @cached_property
    def reference(self) -> Reference | None:
        """The published table that the study file gives, if it has figures of these cells."""
        found = Reference.from_dict(self.study.record.reference)
        run = self._run
        fits = found and any(found.rmse_m(c.params, run) is not None for c in self.cells)
        return found if fits else None

    @property
    def _run(self) -> dict[Any, Any]:
        return dict(self.group.runs.iloc[0].to_dict())

    def published_m(self, params: Mapping[str, Any]) -> float | None:
        """Return the reference's RMSE of a cell; None where it has none."""
        return self.reference.rmse_m(params, self._run) if self.reference else None

    @property
    def closest_pair_m(self) -> tuple[float, float] | None:
        """The two lowest figures of the reference."""
        published = (self.published_m(cell.params) for cell in self.cells)
        known = sorted(value for value in published if value is not None)
        return (known[0], known[1]) if len(known) > 1 else None

    @property
    def photos_for_pair(self) -> int | None:
        """How many validation photos would tell the reference's two lowest cells apart."""
        pair, found = self.closest_pair_m, self.resolution
        if found is None or pair is None or pair[0] == pair[1]:
            return None
        return stats.photos_needed(pair[1] - pair[0], found.se_photos_m, found.n_photos)

    def frame(self) -> pd.DataFrame:
        """Return the cells as a table, one row a cell, for figures and CSV.

        Columns: the axes, `cell, name, rmse_m, low_m, high_m, seeds, planned, in_best_set,
        beats_mean, beats_baselines, win_share, best_rmse_m, averaged_rmse_m, se_photos_m,
        se_seeds_m`.
        """
        return pd.DataFrame([_as_row(cell) for cell in self.cells])


def rank(study: Study, group: Group) -> Ranking:
    """Rank the cells of a group of runs."""
    errors = study.errors(group.runs)
    deciding = study.deciding(study.runs).drop_duplicates(["rank_cell", "seed"])
    planned = deciding["rank_cell"].value_counts()
    allowed = np.array([study.may_win(cell) for cell in errors.cells])
    may_win, incomplete = candidates(errors, planned, allowed)
    corrected = _corrected(errors, may_win)
    marked = marks(errors, may_win)
    rivals = baselines(group.runs, errors)
    unpaired = [rival for rival in rivals if not len(rival.error_m)]
    best_rmse = checks.best_epochs(study, group)
    rmse = np.sqrt(np.mean(np.square(errors.error_m), axis=2))
    rows = group.runs.drop_duplicates("rank_cell").set_index("rank_cell")
    cells = [
        Cell(
            cell=cell,
            name=rows["name"][cell],
            params=knobs(rows["params"][cell], study.axes),
            interval=_interval(errors, i),
            run_rmse_m=tuple(float(value) for value in rmse[i] if not np.isnan(value)),
            planned=int(planned[cell]),
            in_best_set=marked.in_best_set[i],
            beats={name: beats[i] for name, beats in marked.beats.items()}
            | {rival.name: None for rival in unpaired if i in rival.cells},
            win_share=float(corrected.wins[i]),
            best_rmse_m=best_rmse.get(cell, np.nan),
            averaged_rmse_m=_averaged_rmse(errors, i),
        )
        for i, cell in enumerate(errors.cells)
    ]
    is_corrected = corrected.interval is not None and len(may_win) > 1
    confirmed = _confirmed(study, errors, may_win)
    winner = Rule().ordered({cells[i].cell: cells[i].run_rmse_m for i in may_win})[0]
    return Ranking(
        study=study,
        group=group,
        errors=errors,
        cells=cells,
        baselines=rivals,
        may_win=may_win,
        winner=cells[errors.cells.index(winner)],
        corrected=corrected,
        resolution=_resolution(errors, may_win),
        notes=[
            *group.warnings,
            *incomplete,
            *(study.standing.lines() if study.standing else []),
            *marked.notes,
            *caveats.astray(errors, (corrected.wins > 0) & is_corrected),
            *caveats.alone(errors),
            *caveats.limits(study, errors, len(may_win), confirmed=confirmed),
        ],
    )


def _resolution(errors: Errors, may_win: Indices) -> Detectable | None:
    solved = errors.solved[may_win]
    return stats.detectable(
        errors.judged_m[may_win], errors.places, luck=errors.luck, solved=solved
    )


def _interval(errors: Errors, cell: int) -> Interval:
    own, luck, strays = errors.error_m[cell], errors.luck_of(cell), errors.strays.of([cell])
    return stats.cell_interval(own, errors.places, luck=luck, strays=strays)


def _averaged_rmse(errors: Errors, cell: int) -> float:
    seeds = (~np.isnan(errors.error_m[cell, :, 0])).sum() if errors.error_m.size else 0
    if errors.away_m is None or seeds < 2:
        return float("nan")
    return float(np.sqrt(np.mean(stats.average_error_m(errors.away_m[:, [cell]]) ** 2)))


def knobs(params: Mapping[str, Any], axes: Iterable[str]) -> dict[str, Any]:
    """Return the knobs of a cell, whose folds are one, in the order of the study's axes."""
    return {axis: params[axis] for axis in axes if axis in params and axis != FOLD_AXIS}


def _corrected(errors: Errors, may_win: Indices) -> Corrected:
    """Correct the selection among the cells that may win; the others win in no resample."""
    n = resamples(len(errors.cells))
    data = errors.judged_m[may_win], errors.places
    strays = errors.strays.of(may_win)
    found = stats.selection_corrected(*data, luck=errors.luck, strays=strays, n=n)
    wins = np.zeros(len(errors.cells))
    wins[may_win] = found.wins
    return replace(found, winner=int(may_win[found.winner]), wins=wins)


def _confirmed(study: Study, errors: Errors, may_win: Indices) -> bool:
    """Whether the cells that may win are those that a search has found and run again."""
    if study.standing is None:
        return False
    return {errors.cells[cell] for cell in may_win} <= study.standing.confirmed


def _as_row(cell: Cell) -> dict[str, Any]:
    return {
        "cell": cell.cell,
        "name": cell.name,
        **cell.params,
        "rmse_m": cell.interval.estimate,
        "low_m": cell.interval.low,
        "high_m": cell.interval.high,
        "se_photos_m": cell.interval.se_photos,
        "se_seeds_m": cell.interval.se_seeds,
        "seeds": len(cell.run_rmse_m),
        "planned": cell.planned,
        "in_best_set": cell.in_best_set,
        "beats_mean": cell.beats_mean,
        "beats_baselines": cell.beats_baselines,
        "win_share": cell.win_share,
        "best_rmse_m": cell.best_rmse_m,
        "averaged_rmse_m": cell.averaged_rmse_m,
    }
