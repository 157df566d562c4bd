"""What a study says: its rankings with intervals, marks, the winner and what it can be trusted for.

Applies `stats` to what `collect` has read. Tables, figures and the page show this and compute
nothing of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.declared import Reference
from img2gps.analysis.edges import Edge, edges
from img2gps.analysis.errors import Errors
from img2gps.analysis.stats import Interval
from img2gps.analysis.study import DONE, Group, Study
from img2gps.analysis.winner import FOLD_AXIS as FOLD_AXIS
from img2gps.analysis.winner import Rule
from img2gps.analysis.wording import cell_name, knob_name
from img2gps.analysis.wording import span as span
from img2gps.core.files import read_json
from img2gps.runs.folder import WINNER

described, spoken = cell_name, knob_name  # TODO(report): wording has both

Indices = NDArray[np.intp]

MANY_CELLS = 100  # from here on fewer resamples: the report stays instant


@dataclass(frozen=True)
class Cell:
    """One cell that is ranked.

    `in_best_set` and `beats_mean` are None where no mark is given: a single seed, or one cell.
    """

    cell: str
    name: str  # the study's own name for it, or ""
    params: dict[str, Any]
    interval: Interval  # RMSE after the final epoch, mean over seeds
    run_rmse_m: tuple[float, ...]  # by seed
    planned: int  # seeds
    in_best_set: bool | None
    beats_mean: bool | None
    win_share: float  # of the resamples in which it would have been chosen
    best_rmse_m: float  # each run's best epoch: an optimistic choice; NaN where unknown


@dataclass(frozen=True)
class Truth:
    """RMSE in metres against positions without GPS noise, which only synthetic data know."""

    validation_m: float  # same photos that chose the winner
    test_m: float  # NaN without a test part


@dataclass(frozen=True)
class Ranking:
    """Cells that may be compared, and what holds for the lowest of them."""

    group: Group
    errors: Errors
    cells: list[Cell]  # in the study's order
    candidates: int  # cells with all their seeds, among which the winner was chosen
    winner: Cell
    corrected: stats.Corrected
    mean_predictor: Interval
    baselines: dict[str, float]  # knn, ridge: RMSE in metres, mean over the runs that have them
    detectable: stats.Detectable | None
    reference: Reference | None  # the study's own, where it has figures of these cells
    closest_pair_m: tuple[float, float] | None  # the reference's two lowest cells
    photos_for_pair: int | None  # validation photos that would tell these two apart
    edges: list[Edge]
    importance: list[stats.Effect]
    no_importance: str  # why `importance` is empty
    known_spots: Interval | None  # the winner on photos of spots that were trained on
    new_spots: Interval | None
    test: Interval | None  # the deployed run on the test part
    truth: Truth | None
    folds: stats.FoldMean | None
    notes: list[str]

    @property
    def axes(self) -> list[str]:
        """Names of the parameters, in the study's order."""
        return list(dict.fromkeys(key for cell in self.cells for key in cell.params))

    def published_m(self, params: Mapping[str, Any]) -> float | None:
        """Return the reference's RMSE of a cell; None where it has none."""
        if self.reference is None:
            return None
        return self.reference.rmse_m(params, self.group.runs.iloc[0].to_dict())


@dataclass(frozen=True)
class Missing:
    """A planned cell without a figure, or with fewer seeds than planned."""

    cell: str
    params: dict[str, Any]
    reason: str
    ranked: bool  # some of its seeds are in a ranking


@dataclass(frozen=True)
class Analysis:
    """A study, analysed. `rankings` is empty as long as nothing has finished."""

    study: Study
    rankings: list[Ranking]  # the largest first
    missing: list[Missing]
    notes: list[str]


def analyse(study: Study) -> Analysis:
    """Everything that the report says about a study."""
    rankings = [_ranking(study, group) for group in study.groups()]
    notes = list(study.notes)
    counts = study.counts()
    if set(counts) - {DONE}:
        parts = [f"{count} {state}" for state, count in counts.items()]
        notes.append(f"Of {len(study.runs)} planned runs: {', '.join(parts)}.")
    if len(rankings) > 1:
        notes.append(
            f"{len(rankings)} rankings, because runs on different validation photos, or with and "
            "without pretraining, are not comparable."
        )
    notes += _chosen_otherwise(study, rankings)
    return Analysis(study, rankings, _missing(study, rankings), notes)


def _params(row: Mapping[Any, Any], axes: Iterable[str]) -> dict[str, Any]:
    """Return a cell's knobs, in the order of the study's axes."""
    return {k: row["params"][k] for k in axes if k in row["params"] and k != FOLD_AXIS}


def resamples(cells: int) -> int:
    """How many resamples a ranking of so many cells is judged by."""
    return stats.N_RESAMPLES if cells < MANY_CELLS else stats.N_RESAMPLES // 4


def _best_epochs(study: Study, group: Group) -> dict[str, float]:
    """RMSE of cells at each run's best epoch; that of folds needs their predictions."""
    if FOLD_AXIS not in study.axes:
        lowest = study.history.groupby("run_id")["val/rmse_m"].min()
        runs = group.runs.assign(lowest=group.runs["run_id"].map(lowest))
        means = runs.groupby("rank_cell")["lowest"].mean()
        return {str(cell): float(rmse) for cell, rmse in means.items()}
    if study.predictions_best.empty:  # published
        return {}
    best = study.errors(group.runs, "best")
    return dict(zip(best.cells, _cell_rmse(best), strict=True))


def _ranking(study: Study, group: Group) -> Ranking:
    errors = study.errors(group.runs)
    n = resamples(len(errors.cells))
    rows = group.runs.drop_duplicates("rank_cell").to_dict("records")
    by_name = {row["rank_cell"]: row for row in rows}
    planned = study.runs.drop_duplicates(["rank_cell", "seed"])["rank_cell"].value_counts()
    candidates, notes = _candidates(errors, planned)
    corrected = _corrected(errors, candidates, n)
    in_set, beats, unmarked = _marks(errors, candidates, n)
    rmse = np.sqrt(np.mean(np.square(errors.error_m), axis=2))
    best_rmse = _best_epochs(study, group)
    axes = list(study.axes)
    cells = []
    for i, name in enumerate(errors.cells):
        row = by_name[name]
        cells.append(
            Cell(
                name,
                str(row.get("name") or ""),
                _params(row, axes),
                stats.cell_interval(errors.error_m[i], errors.spot),
                tuple(float(value) for value in rmse[i] if not np.isnan(value)),
                int(planned[name]),
                in_set[i],
                beats[i],
                float(corrected.wins[i]),
                float(best_rmse.get(name, np.nan)),
            )
        )
    winner = _winner([cells[i] for i in candidates])
    found = stats.detectable(errors.error_m[candidates], errors.spot)
    reference, pair = _reference(study, group, cells)
    importance, why_not = _importance(study, errors, cells)
    test, test_truth = _test(study, winner)
    lowest = errors.cells.index(winner.cell)
    own = errors.error_m[lowest]
    return Ranking(
        group,
        errors,
        cells,
        len(candidates),
        winner,
        corrected,
        stats.cell_interval(errors.mean_error_m[None], errors.spot),
        _baselines(group.runs),
        found,
        reference,
        pair,
        None
        if found is None or pair is None or pair[0] == pair[1]
        else stats.photos_needed(pair[1] - pair[0], found.se_photos_m, found.n_photos),
        edges(winner.params, _own_axes(study, cells)) if study.kind != "runs" else [],
        importance,
        why_not,
        _some(own, errors, errors.known_spot == 1),
        _some(own, errors, errors.known_spot == 0),
        test,
        _truth(errors, lowest, test_truth),
        _folds(group, winner),
        [
            *group.warnings,
            *notes,
            *unmarked,
            *_about_selection(study, len(candidates), errors),
            *_about_looks(study),
        ],
    )


def _reference(
    study: Study, group: Group, cells: Sequence[Cell]
) -> tuple[Reference | None, tuple[float, float] | None]:
    """Return the study's reference, if it has figures of these cells, and its two lowest."""
    reference = Reference.from_dict(study.facts.get("reference") or {})
    if reference is None:
        return None, None
    run = group.runs.iloc[0].to_dict()
    published = (reference.rmse_m(cell.params, run) for cell in cells)
    known = sorted(value for value in published if value is not None)
    pair = (known[0], known[1]) if len(known) > 1 else None
    return (reference if known else None), pair


def _own_axes(study: Study, cells: Sequence[Cell]) -> dict[str, list[Any]]:
    """Axes, without the knobs that only follow from the cells' names where all have one."""
    named = study.facts.get("named_cells", {}).values() if all(c.name for c in cells) else ()
    follow = {knob for cell in named for knob in cell}
    return {axis: values for axis, values in study.axes.items() if axis not in follow}


def _cell_rmse(errors: Errors) -> list[float]:
    return [float(value) for value in stats.cell_rmse(errors.error_m)]


def _candidates(errors: Errors, planned: pd.Series[int]) -> tuple[Indices, list[str]]:
    """Cells that may win, as `img2gps select` has it: a cell with one lucky seed must not."""
    seeds = (~np.isnan(errors.error_m).any(axis=2)).sum(axis=1)
    whole = seeds == planned[errors.cells].to_numpy()
    if whole.all():
        return np.arange(len(whole)), []
    if not whole.any():
        note = "Provisional: no cell has all its seeds finished, so cells with some may win."
        return np.arange(len(whole)), [note]
    count = int((~whole).sum())
    have = "cell has" if count == 1 else "cells have"
    return np.flatnonzero(whole), [
        f"{count} {have} not all seeds finished: shown, but not among those that can win."
    ]


def _corrected(errors: Errors, candidates: Indices, n: int) -> stats.Corrected:
    """The selection among the candidates, counted over all cells."""
    found = stats.selection_corrected(errors.error_m[candidates], errors.spot, n=n)
    wins = np.zeros(len(errors.cells))
    wins[candidates] = found.wins
    return replace(found, winner=int(candidates[found.winner]), wins=wins)


def _winner(candidates: Sequence[Cell]) -> Cell:
    by_name = {cell.cell: cell for cell in candidates}
    return by_name[Rule().best({name: cell.run_rmse_m for name, cell in by_name.items()})]


def _marks(
    errors: Errors, candidates: Indices, n: int
) -> tuple[list[bool | None], list[bool | None], list[str]]:
    """Joint comparisons of the cells with at least two seeds, and why others have no mark."""
    in_set: list[bool | None] = [None] * len(errors.cells)
    beats: list[bool | None] = [None] * len(errors.cells)
    seeds = (~np.isnan(errors.error_m).any(axis=2)).sum(axis=1)
    seeded = np.flatnonzero(seeds >= 2)
    notes = []
    if len(seeded) < len(errors.cells):
        what = "The cells have" if len(seeded) == 0 else "Some cells have"
        notes.append(
            f"{what} one seed: their intervals leave out the seed's luck, and they get no mark."
        )
    if len(candidates) > 1 and 0 < (seeds[candidates] < 2).sum() < len(candidates):
        notes.append("Cells are not marked as close to the lowest, because some have one seed.")
    if len(seeded) and errors.n_spots >= 2:
        shown = stats.beats_mean_predictor(
            errors.error_m[seeded], errors.spot, errors.mean_error_m, n=n
        )
        for i, mark in zip(seeded, shown, strict=True):
            beats[i] = bool(mark)
        if len(candidates) > 1 and (seeds[candidates] >= 2).all():
            drawn = stats.resample(errors.error_m[candidates], errors.spot, n=n)
            for i, mark in zip(candidates, stats.confidence_set(drawn), strict=True):
                in_set[i] = bool(mark)
    return in_set, beats, notes


def _some(own: NDArray[np.float64], errors: Errors, photos: NDArray[np.bool_]) -> Interval | None:
    """The winner's RMSE on some of the photos."""
    if not photos.any():
        return None
    return stats.cell_interval(own[:, photos], errors.spot[photos])


def _baselines(rows: pd.DataFrame) -> dict[str, float]:
    found = {}
    for name in ("knn", "ridge"):
        column = f"baselines/{name}/val/rmse_m"
        if column in rows and bool(rows[column].notna().any()):
            found[name] = float(rows[column].astype(float).mean())
    return found


def _importance(
    study: Study, errors: Errors, cells: Sequence[Cell]
) -> tuple[list[stats.Effect], str]:
    """Analysis of variance where the ranking is one full grid, or why not."""
    axes = {name: values for name, values in study.axes.items() if name != FOLD_AXIS}
    if study.kind != "grid":
        return [], f"not a grid ({study.kind}): cells were chosen, not enumerated"
    if sum(len(values) > 1 for values in axes.values()) == 0:
        return [], "no axis with two values"
    where = {tuple(str(cell.params.get(name)) for name in axes): i for i, cell in enumerate(cells)}
    order = [tuple(map(str, values)) for values in product(*axes.values())]
    absent = sum(key not in where for key in order)
    if absent:
        return [], f"{absent} of {len(order)} cells of the full grid are not in this ranking"
    if len(order) != len(cells):
        return [], "the cells are not the product of the axes"
    error = errors.error_m[[where[key] for key in order]]
    return stats.importance(error, errors.spot, {k: len(v) for k, v in axes.items()}), ""


def _test(study: Study, winner: Cell) -> tuple[Interval | None, float]:
    """The winner's run that `select` has scored on the test part, and its truth."""
    table = study.predictions_test
    if table.empty:
        return None, np.nan
    rows = study.finished[study.finished["rank_cell"] == winner.cell]
    rows = rows[rows["run_id"].isin(table["run_id"])]
    if rows.empty:
        return None, np.nan
    errors = study.errors(rows.iloc[:1], "test")
    truth = np.nan
    if errors.true_error_m is not None:
        truth = float(stats.cell_rmse(errors.true_error_m)[0])
    return stats.cell_interval(errors.error_m[0], errors.spot), truth


def _truth(errors: Errors, winner: int, test_m: float) -> Truth | None:
    if errors.true_error_m is None:
        return None
    return Truth(float(stats.cell_rmse(errors.true_error_m[winner][None])[0]), test_m)


def _folds(group: Group, winner: Cell) -> stats.FoldMean | None:
    """The winner's mean over folds; a fold's figure is the mean over seeds."""
    if group.folds < 2:
        return None
    rows = group.runs[group.runs["rank_cell"] == winner.cell]
    by_fold = rows.groupby("split/fold" if "split/fold" in rows else FOLD_AXIS)
    return stats.fold_mean(
        by_fold["val/rmse_m"].mean().astype(float),
        float(rows["data/n_train"].astype(float).mean()),
        float(rows["data/n_val"].astype(float).mean()),
    )


def _about_selection(study: Study, candidates: int, errors: Errors) -> list[str]:
    notes = []
    pruner = study.facts.get("pruner") or "none"
    searched = study.kind not in ("grid", "runs")
    if searched or pruner != "none":
        how = f"searched by {study.kind}" if searched else f"pruned by {pruner}"
        notes.append(
            f"The study was {how}: the selection-corrected figure holds for the "
            f"{candidates} cells tried, not for the search as a whole."
        )
    if errors.n_spots < stats.MIN_SPOTS:
        notes.append(
            f"Intervals are unreliable: {errors.n_spots} validation spots, fewer than "
            f"{stats.MIN_SPOTS}."
        )
    return notes


def _about_looks(study: Study) -> list[str]:
    """How often the test part has been looked at, where that is more than once."""
    looks = (read_json(study.folder / WINNER) or {}).get("test_looks") or 0
    if looks < 2:
        return []
    return [f"The test part has been looked at {looks} times: it is untouched no more."]


def _chosen_otherwise(study: Study, rankings: Sequence[Ranking]) -> list[str]:
    """A frozen winner, or a rule, that is not the lowest seed-averaged RMSE."""
    notes = []
    rule = {"by": "val/rmse_m", "aggregate": "mean"} | (study.facts.get("select") or {})
    if (rule["by"], rule["aggregate"]) != ("val/rmse_m", "mean"):
        notes.append(
            f"The study selects by the {rule['aggregate']} of {rule['by']}; this report ranks by "
            "the mean of val/rmse_m."
        )
    frozen = read_json(study.folder / WINNER)
    chosen = str((frozen or {}).get("cell") or "")
    if chosen and rankings and chosen != rankings[0].winner.cell:
        notes.append(
            f"img2gps select has frozen {chosen}; the lowest RMSE here is that of "
            f"{rankings[0].winner.cell}."
        )
    return notes


def _missing(study: Study, rankings: Sequence[Ranking]) -> list[Missing]:
    """Cells that are not, or not with all their seeds, in any ranking."""
    ranked = {cell.cell for ranking in rankings for cell in ranking.cells}
    found = []
    axes = list(study.axes)
    by_cell: dict[str, list[Mapping[Any, Any]]] = {}
    for run in study.runs.to_dict("records"):
        by_cell.setdefault(run["rank_cell"], []).append(run)
    for name, rows in by_cell.items():
        left = [row for row in rows if row["state"] != DONE]
        if not left and name in ranked:
            continue
        reasons: dict[str, int] = {}
        for row in left:
            text = f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]
            reasons[text] = reasons.get(text, 0) + 1
        if not left:
            reasons["finished without predictions.csv"] = len(rows)
        several = len(rows) > 1
        text = "; ".join(f"{count} {why}" if several else why for why, count in reasons.items())
        found.append(Missing(name, _params(rows[0], axes), text, name in ranked))
    return found


def answer(ranking: Ranking) -> list[str]:
    """The ranking in three sentences: the winner, how sure, what the mean predictor gets."""
    winner, corrected, interval = ranking.winner, ranking.corrected, ranking.winner.interval
    seeds = f"mean of {interval.n_seeds} seeds" if interval.n_seeds > 1 else "one seed"
    first = (
        f"Lowest validation RMSE: {cell_name(winner.params) or winner.cell}, "
        f"{interval.estimate:.1f} m ({seeds}, 95 % interval {span(interval)})"
    )
    if ranking.candidates > 1 and corrected.interval is not None:
        first += (
            f"; corrected for having been selected among {ranking.candidates} cells, expect "
            f"{corrected.corrected:.1f} m ({span(corrected.interval)}) on other photos like these"
        )
    sure = []
    marks = [cell.in_best_set for cell in ranking.cells if cell.in_best_set is not None]
    if len(ranking.cells) == 1:
        sure.append("there is only one cell, so nothing was compared")
    elif marks:
        same, others = sum(marks) - 1, len(marks) - 1
        which = "the other cell" if others == 1 else f"{same} of the {others} other cells"
        sure.append(
            f"{which} cannot be told apart from it"
            if same
            else "all other cells are distinguishable from it"
        )
        sure.append(f"resampled photos choose it {winner.win_share:.0%} of the time")
    else:
        sure.append("with one seed a cell, differences cannot be told from the seed's luck")
    spots = f"{interval.n_photos} photos of {interval.n_spots} spots"
    if ranking.detectable is not None:
        sure.append(
            f"{spots} show differences of about {ranking.detectable.median_m:.0f} m or more"
        )
    else:
        sure.append(f"the validation part is {spots}")
    mean = ranking.mean_predictor
    third = (
        f"The mean predictor, which looks at no photo, gets {mean.estimate:.1f} m ({span(mean)})"
    )
    shown = [cell.beats_mean for cell in ranking.cells if cell.beats_mean is not None]
    if len(shown) == 1:
        third += f"; the cell is {'' if shown[0] else 'not '}shown to do better"
    elif shown:
        not_shown = len(shown) - sum(shown)
        third += (
            f"; {not_shown} of {len(shown)} cells are not shown to do better"
            if not_shown
            else f"; all {len(shown)} cells are shown to do better"
        )
    return [f"{first}.", f"How sure: {'; '.join(sure)}.", f"{third}."]


def frame(ranking: Ranking) -> pd.DataFrame:
    """The ranking's cells as a table, one row a cell, for figures and CSV.

    Columns: the axes, `cell, name, rmse_m, low_m, high_m, seeds, planned, in_best_set, beats_mean,
    win_share, best_rmse_m, se_photos_m, se_seeds_m`.
    """
    rows = []
    for cell in ranking.cells:
        interval = cell.interval
        rows.append(
            {
                "cell": cell.cell,
                "name": cell.name,
                **cell.params,
                "rmse_m": interval.estimate,
                "low_m": interval.low,
                "high_m": interval.high,
                "se_photos_m": interval.se_photos,
                "se_seeds_m": interval.se_seeds,
                "seeds": len(cell.run_rmse_m),
                "planned": cell.planned,
                "in_best_set": cell.in_best_set,
                "beats_mean": cell.beats_mean,
                "win_share": cell.win_share,
                "best_rmse_m": cell.best_rmse_m,
            }
        )
    return pd.DataFrame(rows)
