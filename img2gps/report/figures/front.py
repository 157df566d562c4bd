"""Draw the front of a study with several aims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import altair as alt
import pandas as pd

from img2gps.analysis.front import Point
from img2gps.analysis.winner import RMSE
from img2gps.report.figures.base import (
    COLOURS,
    INK,
    Figure,
    layered,
    listed,
    mean_predictor_rule,
    metres,
)

FAINT = 0.25  # opacity of the cells that another cell beats
_TITLES = {
    "val/rmse_m": "validation RMSE (m)",
    "cost/seconds": "seconds a run",
    "cost/train_seconds": "seconds of training a run",
    "cost/predict_ms": "milliseconds a photo",
    "cost/peak_memory_mb": "peak memory (MB)",
    "cost/peak_gpu_memory_mb": "peak GPU memory (MB)",
    "model/parameters": "trained parameters",
    "model/flops": "operations a photo",
}


def front(
    points: Sequence[Point],
    aims: Sequence[str],
    labels: Mapping[str, str],
    *,
    mean_rmse_m: float = math.nan,
) -> Figure:
    """Draw the first aim of each cell against every other aim, one panel for each.

    Args:
        points: the cells; `spans` are their intervals.
        aims: names of figures, at least two.
        labels: name of each cell.
        mean_rmse_m: RMSE of the mean predictor, drawn where the first aim is the RMSE.
    """
    first, *others = aims
    panels = [_panel(_table(points, aim, first, labels), aim, first, mean_rmse_m) for aim in others]
    best = [point for point in points if point.on_front]
    count = "1 cell is" if len(best) == 1 else f"{len(best)} of {len(points)} cells are"
    title = f"{count} not beaten by another cell in all of {listed(list(aims))}"
    caption = (
        "Each mark is a cell (mean over seeds). The front is named; for every faint cell there is "
        "one on the front that is no worse in any aim and better in at least one. Lines are the "
        "95 % interval of the RMSE, and the range over seeds of other figures."
    )
    each = listed([f"{labels[p.cell]} {', '.join(_said(p.figures))}" for p in best])
    return Figure("front", title, caption, f"The front: {each}.", alt.vconcat(*panels))


def _said(figures: Mapping[str, float]) -> list[str]:
    return [
        f"{aim} {metres(value)}" if aim.endswith("_m") else f"{aim} {value:.4g}"
        for aim, value in figures.items()
    ]


def _table(points: Sequence[Point], x: str, y: str, labels: Mapping[str, str]) -> pd.DataFrame:
    rows = []
    for point in points:
        (x_low, x_high), (y_low, y_high) = point.spans[x], point.spans[y]
        row = {"label": labels[point.cell], "on_front": point.on_front}
        row |= {"x": point.figures[x], "x_low": x_low, "x_high": x_high}
        rows.append({**row, "y": point.figures[y], "y_low": y_low, "y_high": y_high})
    return pd.DataFrame(rows)


def _panel(table: pd.DataFrame, x_aim: str, y_aim: str, mean_rmse_m: float) -> alt.LayerChart:
    x = alt.X("x:Q", title=_TITLES.get(x_aim, x_aim), scale=alt.Scale(zero=False, padding=25))
    y = alt.Y("y:Q", title=_TITLES.get(y_aim, y_aim), scale=alt.Scale(zero=False, padding=28))
    front, beaten = table[table["on_front"]], table[~table["on_front"]]
    shown = [_marks(rows, x, y, opacity) for rows, opacity in ((beaten, FAINT), (front, 1.0))]
    right = front["x"] > (table["x"].min() + table["x"].max()) / 2
    names = [_names(front[~right], x, y, "left"), _names(front[right], x, y, "right")]
    rule = [mean_predictor_rule(mean_rmse_m)] if y_aim == RMSE else []
    return layered(*names, *shown, *rule)


def _marks(table: pd.DataFrame, x: alt.X, y: alt.Y, opacity: float) -> alt.LayerChart:
    base = alt.Chart(table).encode(x=x, y=y)
    tips = ["label:N", alt.Tooltip("x:Q", format=".4g"), alt.Tooltip("y:Q", format=".4g")]
    return layered(
        base.mark_rule(opacity=opacity, strokeWidth=1, color=INK).encode(y="y_low:Q", y2="y_high"),
        base.mark_rule(opacity=opacity, strokeWidth=1, color=INK).encode(x="x_low:Q", x2="x_high"),
        base.mark_point(size=70, filled=True, opacity=opacity, color=COLOURS[0]).encode(
            tooltip=tips
        ),
    )


def _names(table: pd.DataFrame, x: alt.X, y: alt.Y, align: Literal["left", "right"]) -> alt.Chart:
    beside = 7 if align == "left" else -7
    names: alt.Chart = (
        alt.Chart(table, width=560, height=320)
        .mark_text(align=align, dx=beside, dy=-8, fontSize=11, color=INK)
        .encode(x=x, y=y, text="label:N")
    )
    return names
