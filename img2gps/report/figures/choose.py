"""Which figures a study can carry, drawn in the order of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from img2gps.analysis import declared, stats
from img2gps.analysis import ranking as measured
from img2gps.analysis.declared import Lines
from img2gps.analysis.ranking import FOLD_AXIS, Analysis, Ranking
from img2gps.analysis.study import DONE, Study
from img2gps.report.figures import curves, errors, grid, maps
from img2gps.report.figures.base import Figure, in_order, listed, number, said

MOST_EPOCH_FIGURES = 3
_SHORT = {"lr": "lr", "batch_size": "batch", "split.n_train": "photos", "data.n": "photos"}
_ROWS, _COLUMNS = ("lr", "optimizer.lr"), ("batch_size",)  # the layout of the study's table


@dataclass(frozen=True)
class Scene:
    """What the figures of one ranking need.

    Attributes:
        study: as collected.
        cells: one row a cell, planned ones without a figure included: `cell, label, model, rmse_m,
            low_m, high_m, in_best_set, beats_mean, reason, seconds, epochs, n_train`, the axes.
        varied: axes with more than one value among these cells, `name` for those that it sets.
        winner: the cell with the lowest RMSE of those that can win; None where none has finished.
        mean_rmse_m: of the mean predictor on the ranked photos; NaN where unknown.
        share: of each axis in the variance; empty where the cells are no full grid.
        no_share: why it is empty.
        expected: rows `label, rmse_m, low_m, high_m` that may be called the winner's error.
        others: labels of the data set's photos that were not validated on; None if not at hand.
    """

    study: Study
    cells: pd.DataFrame
    varied: list[str]
    winner: str | None
    mean_rmse_m: float
    share: Mapping[str, float]
    no_share: str
    expected: Sequence[Mapping[str, Any]]
    others: pd.DataFrame | None

    @property
    def winning(self) -> dict[str, Any]:
        """The winner's row of `cells`."""
        row = self.cells[self.cells["cell"] == self.winner].iloc[0]
        return {str(key): value for key, value in row.items()}


def scene(analysis: Analysis, ranking: Ranking | None, others: pd.DataFrame | None = None) -> Scene:
    """Put together what the figures of a ranking need; None for a study without finished runs."""
    study = analysis.study
    elsewhere = {c.cell for r in analysis.rankings if r is not ranking for c in r.cells}
    cells = _planned(study, elsewhere)
    if ranking is None:
        known = pd.to_numeric(study.column("mean_predictor/rmse_m"), errors="coerce").dropna()
        mean = float(known.median()) if len(known) else math.nan
        cells = cells.assign(rmse_m=math.nan)
        return Scene(study, cells, _knobs(study, cells), None, mean, {}, "", (), others)
    ranked = measured.frame(ranking)
    figures = ["cell", "rmse_m", "low_m", "high_m", "in_best_set", "beats_mean"]
    cells = cells.merge(ranked[figures], on="cell", how="left")
    main = {e.axes[0]: e.share for e in ranking.importance if len(e.axes) == 1}
    return Scene(
        study,
        cells,
        _knobs(study, cells),
        ranking.winner.cell,
        ranking.mean_predictor.estimate,
        main,
        ranking.no_importance,
        _expected(ranking),
        others,
    )


def _varied(study: Study, cells: pd.DataFrame) -> list[str]:
    axes = [a for a in study.axes if a in cells and a != FOLD_AXIS]
    return [a for a in axes if len(set(cells[a].map(number))) > 1]


def _knobs(study: Study, cells: pd.DataFrame) -> list[str]:
    """Axes that vary; where every cell has a name, the name stands for all that it sets."""
    varied, names = _varied(study, cells), cells["name"].fillna("").astype(str)
    if not all(names) or names.nunique() < 2:
        return varied
    return ["name", *_within(cells, varied, names)]


def _planned(study: Study, elsewhere: set[str]) -> pd.DataFrame:
    """One row a planned cell: axes, label, costs, and why it has no figure if it has none."""
    runs = study.runs[~study.runs["rank_cell"].isin(elsewhere)]
    axes = [a for a in study.axes if a in runs and a != FOLD_AXIS]
    first = runs.drop_duplicates("rank_cell").set_index("rank_cell")
    cells = first[[*axes, "name"]].copy()
    cells["model"] = first.get("model", "cell")
    done = study.finished
    for name, column in (("seconds",) * 2, ("epochs",) * 2, ("n_train", "data/n_train")):
        values = pd.to_numeric(done[column], errors="coerce") if column in done else None
        cells[name] = math.nan if values is None else values.groupby(done["rank_cell"]).mean()
    left = runs[runs["state"] != "finished"].drop_duplicates("rank_cell").set_index("rank_cell")
    cells["reason"] = (left["state"] + ": " + left["reason"].fillna("")).reindex(cells.index)
    cells["reason"] = cells["reason"].fillna("").str.removesuffix(": ")
    cells["label"] = _labels(cells, _varied(study, cells) or axes)
    return cells.rename_axis("cell").reset_index()


def _expected(ranking: Ranking) -> list[dict[str, Any]]:
    """The only figures that may be called the winner's expected error."""
    found = []
    if len(ranking.cells) > 1 and ranking.corrected.interval is not None:
        found.append(("winner, corrected for its selection", ranking.corrected.interval))
    if ranking.test is not None:
        found.append(("winner on the test part", ranking.test))
    return [
        {"label": text, "rmse_m": i.estimate, "low_m": i.low, "high_m": i.high} for text, i in found
    ]


def label(params: Mapping[Any, Any], axes: Sequence[str], digits: int = 6) -> str:
    """Name a cell by what varies: words by themselves, numbers with their knob.

    Knobs that the cell does not have (weight decay without AdamW) are left out.

    >>> label({"model": "resnet18", "lr": 0.001, "batch_size": 8}, ["model", "lr", "batch_size"])
    'resnet18, lr 0.001, batch 8'
    """
    parts = []
    for axis in axes:
        value = params.get(axis)
        if isinstance(value, str):
            parts.append(value)
        elif value is not None and value == value:  # not NaN
            parts.append(f"{_SHORT.get(axis, said(axis))} {number(value, digits)}")
    return ", ".join(parts)


def _labels(cells: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """A label each, with as few digits (of a searched learning rate) as keep them apart.

    Where the study names all cells, the names say what their many knobs mean, and only what varies
    among cells of one name is added; a single named cell (the baseline) has its name behind.
    """
    names = cells["name"].fillna("").astype(str)
    inner = _within(cells, axes, names) if all(names) else axes
    for digits in (3, 6, 17):
        found = []
        for (cell, row), name in zip(cells.to_dict("index").items(), names, strict=True):
            knobs = label(row, inner, digits)
            if all(names):
                found.append(", ".join(part for part in (knobs, name) if part))
            else:
                found.append((knobs or str(cell)) + (f" ({name})" if name else ""))
        if len(set(found)) == len(found):
            return found
    return [str(cell) for cell in cells.index]


def _within(cells: pd.DataFrame, axes: Sequence[str], groups: pd.Series[Any]) -> list[str]:
    """Axes that vary among the cells of one group."""
    return [a for a in axes if cells[a].map(number).groupby(groups).nunique().max() > 1]


def of_study(scene: Scene) -> list[Figure]:
    """All figures that the study has data for."""
    if scene.winner is None:
        found = curves_of_cells(scene)
        return [] if found is None else [found]
    mean = scene.mean_rmse_m
    finished = scene.cells[scene.cells["rmse_m"].notna()]
    winning = winners_predictions(scene)
    photos = errors.of_photos(winning)
    first = winning[winning["seed"] == winning["seed"].min()]
    drawn: list[Figure | None] = [
        _heat_map(scene),
        grid.ranking(finished, winner=scene.winner, mean_rmse_m=mean, expected=scene.expected)
        if len(finished) > 1
        else None,
        *_epochs(scene),
        maps.positions(first, spread_ratio=_spread_ratio(scene, first)),
        errors.distribution(photos),
        _effects(scene, finished),
        maps.coverage(photos, scene.others),
        errors.by_nearest(photos, mean_rmse_m=mean),
        errors.by_heading(photos, mean_rmse_m=mean),
        errors.by_hour(photos, mean_rmse_m=mean),
        _learning_curve(scene, finished),
        *_declared(scene, finished),
        _cost(finished, mean, "seconds"),
        _cost(finished, mean, "epochs"),
    ]
    return [figure for figure in drawn if figure is not None]


_ALWAYS = {  # by how a file name begins
    "grid": "the grid (two knobs, every combination)",
    "ranking": "the ranking (two cells)",
    "effects": "effects of hyperparameters (two that vary)",
    "coverage": f"coverage of the ground ({maps.ENOUGH} validation photos on each of three tiles)",
    "error_by_nearest": f"error by distance to training photos ({errors.FEW} spots in two bins)",
    "error_by_heading": f"error by camera heading ({errors.FEW} spots in two bins)",
    "error_by_hour": f"error by time of day ({errors.FEW} spots in two bins)",
    "learning_curve": "the learning curve (two numbers of training photos)",
    "cost": "cost (cells that differ in it)",
}


def left_out(figures: Sequence[Figure]) -> str:
    """Say which figures the data could not carry and what each would need; "" if none."""
    drawn = {figure.name for figure in figures}
    absent = [text for name, text in _ALWAYS.items() if not {name, f"{name}_seconds"} & drawn]
    return f"Not drawn, with what each would need: {'; '.join(absent)}." if absent else ""


def winners_predictions(scene: Scene) -> pd.DataFrame:
    """Predictions of all runs of the winner: its seeds, and its folds where there are any."""
    runs = scene.study.finished
    ids = runs[runs["rank_cell"] == scene.winner]["run_id"]
    table = scene.study.predictions
    return table[table["run_id"].isin(ids)]


def winners_curves(scene: Scene) -> pd.DataFrame:
    """History of the winner's runs as `curves.epochs` takes it."""
    table = _curves(scene)
    return table[table["rank_cell"] == scene.winner]


def _heat_map(scene: Scene) -> Figure | None:
    varied = scene.varied
    if len(varied) < 2 or scene.study.kind not in ("grid", "runs"):
        return None
    rows = next((a for a in _ROWS if a in varied), varied[0])
    rest = [a for a in varied if a != rows]
    columns = next((a for a in _COLUMNS if a in rest), rest[0])
    rest.remove(columns)
    cells = scene.cells
    held = listed([f"{said(a)} {number(scene.winning[a])}" for a in rest[1:]])
    for axis in rest[1:]:  # more than three axes: the plane through the winner
        cells = cells[cells[axis].map(number) == number(scene.winning[axis])]
    keys = cells[[rows, columns, *rest[:1]]].map(number)
    if keys.duplicated().any():
        return None
    facet = rest[0] if rest else None
    return grid.heat_map(
        cells,
        rows=rows,
        columns=columns,
        facet=facet,
        winner=scene.winner,
        mean_rmse_m=scene.mean_rmse_m,
        held=held,
    )


def _curves(scene: Scene) -> pd.DataFrame:
    history = scene.study.history.rename(columns={"train/mse": "train_mse", "val/rmse_m": "rmse_m"})
    runs = scene.study.runs
    own = runs.loc[history["run"]].reset_index(drop=True)
    history = history.reset_index(drop=True).assign(
        rank_cell=own["rank_cell"],
        finished=own["state"] == DONE,
        fold=own.get(FOLD_AXIS, 0),
    )
    axes = scene.cells.set_index("cell")[[*scene.varied, "label"]]
    columns = ["rank_cell", "seed", "fold", "finished", "epoch", "train_mse", "rmse_m"]
    return history[columns].join(axes, on="rank_cell", how="inner")


def _epochs(scene: Scene) -> list[Figure]:
    """For each axis its levels, all else as in the winner: the study's figures 1 and 2."""
    varied = scene.varied
    if not varied:
        found = curves_of_cells(scene)
        return [] if found is None else [found]
    table, figures = _curves(scene), []
    ranked = sorted(varied, key=lambda axis: -scene.share.get(axis, 0.0))
    for axis in ranked[:MOST_EPOCH_FIGURES]:
        others = [a for a in varied if a != axis]
        lines = table
        for other in others:
            lines = lines[lines[other].map(number) == number(scene.winning[other])]
        lines = lines.assign(label=lines[axis].map(number))
        if lines["label"].nunique() < 2:
            continue
        figures.append(
            curves.epochs(
                lines,
                name=f"epochs_by_{''.join(c if c.isalnum() else '_' for c in axis)}",
                legend=said(axis),
                mean_rmse_m=scene.mean_rmse_m,
                held=listed([f"{said(a)} {number(scene.winning[a])}" for a in others]),
            )
        )
    if figures:
        return figures
    found = curves_of_cells(scene)  # a search: no two cells differ in one axis only
    return [] if found is None else [found]


def curves_of_cells(scene: Scene) -> Figure | None:
    """Draw the curves of all cells (the best, if many); None where no epoch has ended."""
    if scene.study.history.empty:
        return None
    table = _curves(scene)
    if table["rmse_m"].notna().sum() == 0:
        return None
    ends = table.groupby("label")["rmse_m"].last().sort_values()
    return curves.epochs(
        table, name="epochs", legend="cell", mean_rmse_m=scene.mean_rmse_m, order=list(ends.index)
    )


def _spread_ratio(scene: Scene, first: pd.DataFrame) -> float | None:
    run = scene.study.runs[scene.study.runs["run_id"] == first["run_id"].iloc[0]]
    value = pd.to_numeric(run.get("spread_ratio", pd.Series(dtype=float)), errors="coerce")
    return None if value.empty or bool(value.isna().all()) else float(value.iloc[0])


def _effects(scene: Scene, finished: pd.DataFrame) -> Figure | None:
    axes = [a for a in scene.varied if finished[a].map(number).nunique() > 1]  # noqa: PD101
    if len(axes) < 2:
        return None  # the ranking says it all
    return grid.effects(
        finished,
        axes,
        mean_rmse_m=scene.mean_rmse_m,
        share=scene.share,
        no_share=scene.no_share,
    )


def _learning_curve(scene: Scene, finished: pd.DataFrame) -> Figure | None:
    finished = finished[finished["n_train"].notna()]
    if len(set(finished["n_train"])) < 2:
        return None
    counts = finished["n_train"]
    # what the number of photos decides (data.n, epochs matched by steps) does not name a line
    axes = _within(finished, scene.varied, counts)
    names = [label(row, axes) or "all cells" for row in finished.to_dict("records")]
    points = finished.assign(label=names)
    points = points[points.groupby("label")["n_train"].transform("nunique") > 1]
    if points.empty:
        return None
    best = list(points.groupby("label")["rmse_m"].min().sort_values().index[:6])
    points = points[points["label"].isin(in_order(best))]
    step = _last_step(scene.study, list(curves.lowest_line(points)["cell"].tail(2)))
    return curves.learning_curve(points, mean_rmse_m=scene.mean_rmse_m, last_step=step)


def _last_step(study: Study, cells: Sequence[str]) -> stats.Interval | None:
    """RMSE of the first of two cells less that of the second, paired by photo."""
    if len(cells) < 2:
        return None
    done = study.finished
    found = study.errors(done[done["rank_cell"].isin(cells)])
    few, many = (found.error_m[found.cells.index(cell)] for cell in cells)
    return stats.difference_interval(few, many, found.spot)


def _declared(scene: Scene, finished: pd.DataFrame) -> list[Figure | None]:
    """Draw the figures that the study file declares."""
    plain = scene.study.facts.get("figures") or []
    return [_lines(scene, finished, lines) for lines in declared.figures(plain)]


def _lines(scene: Scene, finished: pd.DataFrame, lines: Lines) -> Figure | None:
    """Draw a line for each `{line}` among the cells' names; None where there are not two."""
    parts = finished["name"].astype(str).map(lines.parts)
    named = finished[parts.notna()]
    if named.empty or lines.x not in named:
        return None
    said_by = pd.DataFrame(list(parts[parts.notna()]), index=named.index)
    axes = _within(named, scene.varied, named["name"])
    own = said_by["panel"] if "panel" in said_by else [""] * len(said_by)
    rows = zip(named.to_dict("records"), own, strict=True)
    panels = [", ".join(filter(None, (label(row, axes), panel))) for row, panel in rows]
    points = named.assign(
        line=said_by["line"],
        panel=panels,
        x=pd.to_numeric(named[lines.x]),
        start=said_by["line"] == lines.start,
    )
    names = list(dict.fromkeys(points.loc[~points["start"], "line"]))
    starts = [points[points["start"]].assign(line=name) for name in names]
    points = pd.concat([points[~points["start"]], *starts])
    if len(names) < 2 or points["x"].nunique() < 2:
        return None
    points = points.sort_values(["panel", "line", "x"])
    return curves.lines(points, name=lines.name, axis=said(lines.x), mean_rmse_m=scene.mean_rmse_m)


def _cost(finished: pd.DataFrame, mean_rmse_m: float, column: str) -> Figure | None:
    known = finished[finished[column].notna()]
    if len(known) < 2 or known[column].max() < 1.05 * known[column].min():
        return None  # nothing to choose by
    known = known.assign(group=known["model"].map(number))
    return curves.cost(known, mean_rmse_m=mean_rmse_m, column=column)
