"""Draw the figures for which a study has enough data, in the order of the page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from img2gps.analysis import declared, pairs
from img2gps.analysis.declared import Lines
from img2gps.analysis.front import points as front_points
from img2gps.analysis.ground import ENOUGH
from img2gps.analysis.photos import MIN_GROUP_SPOTS, of_photos
from img2gps.analysis.profiles import profiles
from img2gps.analysis.scene import Scene, varied_within
from img2gps.analysis.tuning import FEWEST, tuning_curve
from img2gps.analysis.winner import RMSE
from img2gps.analysis.wording import knob_name, knob_value
from img2gps.report.figures import curves, errors, front, grid, maps, tuning
from img2gps.report.figures.base import Figure, in_order, listed

MOST_EPOCH_FIGURES = 3
_ROWS, _COLUMNS = ("lr", "optimizer.lr"), ("batch_size",)  # down and across, where both vary
_ENOUGH_SPOTS = f"({MIN_GROUP_SPOTS} spots in each of two groups)"
_NEEDS = {  # by how a figure's file name begins
    "grid": "the grid (two knobs, every combination)",
    "ranking": "the ranking (two cells)",
    "front": "the front (several aims)",
    "effects": "effects of hyperparameters (two that vary)",
    "coverage": f"coverage of the ground ({ENOUGH} validation photos on each of three tiles)",
    "error_by_nearest": f"error by distance to training photos {_ENOUGH_SPOTS}",
    "error_by_heading": f"error by camera heading {_ENOUGH_SPOTS}",
    "error_by_hour": f"error by time of day {_ENOUGH_SPOTS}",
    "learning_curve": "the learning curve (two numbers of training photos)",
    "tuning": f"the tuning curve (a grid or a search of {FEWEST} cells)",
    "cost": "cost (cells that differ in it by more than a third)",
}


def of_study(scene: Scene) -> list[Figure]:
    """Draw all figures that the study has data for."""
    if scene.winner is None:
        return _drawn([curves_of_cells(scene)])
    mean, floor, winning = scene.mean_rmse_m, scene.floor_m, scene.winners_predictions
    photos = of_photos(winning)
    first = winning[winning["seed"] == winning["seed"].min()]
    return _drawn(
        [
            _heat_map(scene),
            ranking_of_cells(scene),
            _front(scene),
            *_epochs(scene),
            maps.positions(
                first, all_m=winning["error_m"], spread_ratio=_spread_ratio(scene, first)
            ),
            errors.distribution(winning, winning["seed"].nunique()),
            errors.profiles(profiles(scene)),
            _effects(scene),
            maps.coverage(photos, scene.others),
            errors.by_nearest(photos, mean_rmse_m=mean, floor_m=floor),
            errors.by_heading(photos, mean_rmse_m=mean, floor_m=floor),
            errors.by_hour(photos, mean_rmse_m=mean, floor_m=floor),
            _learning_curve(scene),
            *_declared(scene),
            _tuning(scene),
            _cost(scene, "seconds"),
            _cost(scene, "epochs"),
        ]
    )


def _drawn(figures: Sequence[Figure | None]) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def left_out(figures: Sequence[Figure]) -> str:
    """Say which figures are left out and which data each would need; "" if none."""
    drawn = {figure.name for figure in figures}
    absent = [text for name, text in _NEEDS.items() if not {name, f"{name}_seconds"} & drawn]
    return f"Not drawn, with what each would need: {'; '.join(absent)}." if absent else ""


def curves_of_cells(scene: Scene) -> Figure | None:
    """Draw the curves of all cells, the best if there are many; None before the first epoch."""
    if scene.study.history.empty:
        return None
    table = scene.curves
    if table["rmse_m"].notna().sum() == 0:
        return None
    order = list(table.groupby("label")["rmse_m"].last().sort_values().index)
    return curves.epochs(
        table,
        name="epochs",
        legend="cell",
        mean_rmse_m=scene.mean_rmse_m,
        floor_m=scene.floor_m,
        order=order,
    )


def ranking_of_cells(scene: Scene) -> Figure | None:
    """Draw the cells with their intervals; None as long as there are not two with a figure."""
    if len(scene.finished) < 2:
        return None
    return grid.ranking(
        scene.finished,
        winner=scene.winner,
        mean_rmse_m=scene.mean_rmse_m,
        floor_m=scene.floor_m,
        expected=scene.expected,
        among=scene.among,
    )


def _heat_map(scene: Scene) -> Figure | None:
    varied = scene.everywhere
    if len(varied) < 2 or scene.study.kind not in ("grid", "runs"):
        return None
    rows = next((a for a in _ROWS if a in varied), varied[0])
    rest = [a for a in varied if a != rows]
    columns = next((a for a in _COLUMNS if a in rest), rest[0])
    rest.remove(columns)
    cells = _as_winner(scene, scene.cells, rest[1:])  # of more than three axes, one plane
    if cells[[rows, columns, *rest[:1]]].map(knob_value).duplicated().any():
        return None
    return grid.heat_map(
        cells,
        axes=grid.Axes(rows, columns, rest[0] if rest else None),
        winner=scene.winner,
        mean_rmse_m=scene.mean_rmse_m,
        floor_m=scene.floor_m,
        held=_held(scene, rest[1:]),
        among=scene.among,
    )


def _as_winner(scene: Scene, table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return the rows that agree with the winner on some axes."""
    for axis in axes:
        table = table[table[axis].map(knob_value) == knob_value(scene.winning[axis])]
    return table


def _held(scene: Scene, axes: Sequence[str]) -> str:
    """Say which values all share; the winner need not have a knob that exists conditionally."""
    values = {axis: scene.winning[axis] for axis in axes}
    has = {a: v for a, v in values.items() if not (isinstance(v, float) and math.isnan(v))}
    return listed([f"{knob_name(axis)} {knob_value(value)}" for axis, value in has.items()])


def _front(scene: Scene) -> Figure | None:
    """Draw the front of several aims; the ranking's intervals stand in for the seeds' of RMSE."""
    record, cells = scene.study.record, scene.finished.set_index("cell")
    found = [point for point in front_points(record) if point.cell in cells.index]
    if not record.aims or len(found) < 2:
        return None
    spans = {
        str(cell): {RMSE: (float(row["low_m"]), float(row["high_m"]))}
        for cell, row in cells.iterrows()
    }
    shown = [replace(p, spans={**p.spans, **spans[p.cell]}) for p in found]
    labels = {str(cell): str(label) for cell, label in cells["label"].items()}
    return front.front(shown, list(record.aims), labels, mean_rmse_m=scene.mean_rmse_m)


def _epochs(scene: Scene) -> list[Figure | None]:
    """Draw curves for the levels of each axis, everything else as in the winner.

    In a search no two cells differ in one axis only: then the curves of cells are drawn.
    """
    table, figures = scene.curves, []
    ranked = sorted(scene.varied, key=lambda axis: -scene.share.get(axis, 0.0))
    for axis in ranked[:MOST_EPOCH_FIGURES]:
        others = [a for a in scene.varied if a != axis]
        lines = _as_winner(scene, table, others)
        lines = lines.assign(label=lines[axis].map(knob_value))
        if len(set(lines["label"])) > 1:
            figures.append(
                curves.epochs(
                    lines,
                    name=f"epochs_by_{re.sub('[^A-Za-z0-9]', '_', axis)}",
                    legend=knob_name(axis),
                    mean_rmse_m=scene.mean_rmse_m,
                    floor_m=scene.floor_m,
                    held=_held(scene, others),
                )
            )
    return [*figures] or [curves_of_cells(scene)]


def _spread_ratio(scene: Scene, first: pd.DataFrame) -> float | None:
    ratio = scene.study.column("spread_ratio")
    own = ratio[scene.study.runs["run_id"] == first["run_id"].iloc[0]]
    value = pd.to_numeric(own, errors="coerce").dropna()
    return float(value.iloc[0]) if len(value) else None


def _effects(scene: Scene) -> Figure | None:
    cells = scene.finished
    axes = [a for a in scene.everywhere if len(set(cells[a].map(knob_value))) > 1]
    if len(axes) < 2:
        return None  # the ranking shows the same
    return grid.effects(
        cells,
        axes,
        mean_rmse_m=scene.mean_rmse_m,
        floor_m=scene.floor_m,
        share=scene.share,
        no_share=scene.no_share,
    )


def _learning_curve(scene: Scene) -> Figure | None:
    cells = scene.finished[scene.finished["n_train"].notna()]
    # A knob that follows from the number of photos (data.n, matched epochs) names no line.
    axes = varied_within(cells, scene.varied, cells["n_train"]) if len(cells) else []
    names = [scene.label(cell, axes) or "all cells" for cell in cells["cell"]]
    points = cells.assign(label=names)
    points = points[points.groupby("label")["n_train"].transform("nunique") > 1]
    if points.empty:
        return None
    best = list(points.groupby("label")["rmse_m"].min().sort_values().index[:6])
    points = points[points["label"].isin(in_order(best))]
    last = list(curves.lowest_line(points)["cell"].tail(2))
    step = pairs.of_cells(scene.errors, last) if scene.errors and len(last) == 2 else None
    return curves.learning_curve(
        points, mean_rmse_m=scene.mean_rmse_m, floor_m=scene.floor_m, last_step=step
    )


def _declared(scene: Scene) -> list[Figure | None]:
    """Draw the figures that the study file declares."""
    plain = scene.study.record.figures
    return [_lines(scene, lines) for lines in declared.figures(plain)]


def _lines(scene: Scene, lines: Lines) -> Figure | None:
    """Draw a line for each `{line}` among the cells' names; None where there are not two."""
    parts = scene.finished["name"].map(lines.parts).dropna()
    if parts.empty or lines.x not in scene.finished:
        return None
    named = scene.finished.loc[parts.index]
    said = pd.DataFrame([{"panel": "", **part} for part in parts], index=named.index)
    axes = varied_within(named, scene.varied, named["name"])
    rows = zip(named["cell"], said["panel"], strict=True)
    points = named.assign(
        line=said["line"],
        panel=[", ".join(filter(None, (scene.label(cell, axes), panel))) for cell, panel in rows],
        x=pd.to_numeric(named[lines.x]),
        start=said["line"] == lines.start,
    )
    own, start = points[~points["start"]], points[points["start"]]
    names = list(dict.fromkeys(own["line"]))
    points = pd.concat([own, *(start.assign(line=name) for name in names)])
    if len(names) < 2 or points["x"].nunique() < 2:
        return None
    return curves.lines(
        points.sort_values(["panel", "line", "x"]),
        name=lines.name,
        axis=knob_name(lines.x),
        mean_rmse_m=scene.mean_rmse_m,
        floor_m=scene.floor_m,
    )


def _tuning(scene: Scene) -> Figure | None:
    found = tuning_curve(scene)
    if found is None:
        return None
    name = {scene.study.name: found}
    return tuning.tuning(name, mean_rmse_m=scene.mean_rmse_m, floor_m=scene.floor_m)


def _cost(scene: Scene, column: str) -> Figure | None:
    cells = scene.finished
    known = cells[cells[column].notna()]
    if len(known) < 2 or curves.LESS * known[column].max() <= known[column].min():
        return None  # all cells cost about the same
    known = known.assign(group=known["model"].map(knob_value))
    return curves.cost(known, mean_rmse_m=scene.mean_rmse_m, floor_m=scene.floor_m, column=column)
