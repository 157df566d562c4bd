"""Cells: the grid as a heat map, the ranking with intervals, the effect of each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from img2gps.analysis.wording import knob_name, knob_value
from img2gps.core.counted import among_others
from img2gps.report.figures.base import (
    COLOURS,
    LINE,
    MUTED,
    ONE_DECIMAL,
    SEQUENTIAL,
    Figure,
    Picture,
    ceiling_m,
    cut_said,
    floor_mark,
    floor_said,
    in_order,
    label_axis,
    layered,
    letters_on,
    listed,
    mean_predictor_rule,
    metres,
    rmse_axis,
    yes,
)

SAME, WORSE = "not distinguishable from the lowest", "worse than the lowest"
UNKNOWN = "not compared"  # too few seeds, or one cell
EXPECTED = "the winner's expected error"
MOST_LEVELS = 8  # of a numeric knob; more were drawn from an interval
_KINDS = {  # colour and shape
    SAME: (COLOURS[0], "circle"),
    WORSE: (COLOURS[4], "square"),
    UNKNOWN: (MUTED, "triangle-up"),
    EXPECTED: (COLOURS[1], "diamond"),
}


_LEVEL, _SLANTED = alt.Axis(labelAngle=0), alt.Axis(labelAngle=-40)


class Axes(NamedTuple):
    """The knobs of a grid: down, across, and one panel for each level of the third."""

    rows: str
    columns: str
    panels: str | None = None


def heat_map(
    cells: pd.DataFrame,
    *,
    axes: Axes,
    winner: str | None,
    mean_rmse_m: float,
    floor_m: float = math.nan,
    held: str = "",
    among: str = "",
) -> Figure:
    """Draw the grid as tiles with their RMSE.

    cells: one row a cell with `cell`, the axes, `rmse_m` (missing where nothing finished),
    `reason` (why missing), `beats_mean` and `in_best_set` (bool or missing). winner: its `cell`,
    which need not be the lowest: a cell that lacks seeds cannot win. floor_m: RMSE of a perfect
    answer; NaN where it is not known. held: what all cells share. among: which cells the winner is
    the lowest of, where a lower one that may not win is drawn.
    """
    data = _grid_data(cells, axes, winner)
    chart: Picture = _tiles(data, axes, ceiling_m(mean_rmse_m))
    if axes.panels:
        levels = in_order(list(data["panel"]))
        columns = 2 if data["column"].nunique() <= 4 else 1
        facet = alt.Facet("panel:N", title=None, sort=levels)
        chart = _tiles(data, axes, ceiling_m(mean_rmse_m)).facet(facet=facet, columns=columns)
    parts = [
        f"Validation RMSE in metres after the final epoch; the mean predictor gets "
        f"{metres(mean_rmse_m)}{floor_said(floor_m)}. Framed: the winner.",
        f"All with {held}." if held else "",
        "†: not shown to beat the mean predictor." if (~data["beats_mean"]).any() else "",
        "-: no figure." if data["rmse_m"].isna().any() else "",
    ]
    each = [f"{_tile_name(row, axes)}: {row['text']}" for row in data.to_dict("records")]
    text = f"Heat map of validation RMSE in metres. {'; '.join(each)}."
    caption = " ".join(filter(None, parts))
    return Figure(
        "grid", _grid_title(data, cells["in_best_set"], axes, among), caption, text, chart
    )


def _grid_data(cells: pd.DataFrame, axes: Axes, winner: str | None) -> pd.DataFrame:
    data = pd.DataFrame(
        {
            "row": cells[axes.rows].map(knob_value),
            "column": cells[axes.columns].map(knob_value),
            "panel": cells[axes.panels].map(knob_value) if axes.panels else "",
            "rmse_m": cells["rmse_m"].astype(float),
            "why": cells["reason"].fillna(""),
            "beats_mean": cells["beats_mean"].fillna(value=True).astype(bool),
            "weight": np.where(cells["cell"] == winner, "bold", "normal"),
        }
    ).reset_index(drop=True)
    figures = zip(data["rmse_m"], data["beats_mean"], strict=True)
    return data.assign(
        text=["-" if np.isnan(v) else f"{v:,.1f}{'' if b else ' †'}" for v, b in figures]
    )


def _tile_name(row: Mapping[Any, Any], axes: Axes) -> str:
    place = f"{knob_name(axes.rows)} {row['row']}, {knob_name(axes.columns)} {row['column']}"
    return f"{row['panel']} {place}".strip()


def _grid_title(data: pd.DataFrame, in_best_set: pd.Series[Any], axes: Axes, among: str) -> str:
    chosen = data[data["weight"] == "bold"].to_dict("records")
    if not chosen:
        return "No cell has finished"
    where = [f"{knob_name(axes.rows)} {chosen[0]['row']}"]
    where += [f"{knob_name(axes.columns)} {chosen[0]['column']}"]
    where += [str(chosen[0]["panel"])] if axes.panels else []
    title = f"Lowest{among} at {listed(where)}: {metres(chosen[0]['rmse_m'])}"
    same = int(yes(in_best_set).sum()) - 1
    if same > 0:
        compared = in_best_set.notna().to_numpy() & data["rmse_m"].notna()
        others = int(compared.sum()) - 1
        some = f"{among_others(same, others, 'cell')} cannot"
        title += f"; {'no other cell can' if same == others else some} be told apart from it"
    return title


def _tiles(data: pd.DataFrame, axes: Axes, ceiling: float) -> alt.LayerChart:
    known = data["rmse_m"].dropna().clip(upper=ceiling)
    domain = [float(known.min()), float(known.max())] if len(known) else [0.0, 1.0]
    letters = letters_on(data["rmse_m"].clip(upper=ceiling))
    data = data.assign(letter=np.where(data["rmse_m"].isna(), MUTED, letters))
    order = in_order(list(data["column"]))
    base = alt.Chart(data).encode(
        x=alt.X("column:O", title=knob_name(axes.columns), sort=order, axis=_LEVEL),
        y=alt.Y("row:O", title=knob_name(axes.rows), sort=in_order(list(data["row"]))),
    )
    colour = alt.Color(
        "rmse_m:Q",
        title="validation RMSE (m)",
        scale=alt.Scale(scheme=SEQUENTIAL, reverse=True, domain=domain, clamp=True),
        legend=alt.Legend(orient="bottom", gradientLength=220, format=".0f"),
    )
    tooltip = ["panel:N", "row:O", "column:O", alt.Tooltip("rmse_m:Q", format=".2f"), "why:N"]
    return layered(
        base.mark_rect(stroke=LINE, strokeWidth=1).encode(color=colour, tooltip=tooltip),
        base.transform_filter(alt.datum.weight == "bold").mark_rect(
            filled=False, stroke=COLOURS[1], strokeWidth=3
        ),
        *(
            base.transform_filter((alt.datum.letter == letter) & (alt.datum.weight == weight))
            .mark_text(fontSize=13, fontWeight=weight, color=letter)
            .encode(text="text:N")
            for letter in sorted(set(data["letter"]))
            for weight in ("normal", "bold")
        ),
    ).properties(
        width=max(64, min(110, 660 // len(order))) * len(order), height=46 * data["row"].nunique()
    )


def ranking(
    cells: pd.DataFrame,
    *,
    winner: str | None,
    mean_rmse_m: float,
    floor_m: float = math.nan,
    expected: Sequence[Mapping[str, Any]] = (),
    among: str = "",
    most: int = 30,
) -> Figure:
    """Draw cells by RMSE with their intervals beside the mean predictor.

    cells: one row a cell with `cell`, `label`, `rmse_m`, `low_m`, `high_m` (missing where there is
    no interval), `in_best_set` (bool or missing). winner: its `cell`. expected: rows that may be
    called the winner's expected error (corrected for the selection, test part). among: which cells
    the winner is the lowest of, where a lower one that may not win is drawn. floor_m: RMSE of a
    perfect answer; NaN where it is not known.
    """
    ranked = cells[cells["rmse_m"].notna()].sort_values("rmse_m")
    compared = len(ranked) > 1 and bool(ranked["in_best_set"].notna().any())
    same, worse = (kind.replace("the lowest", f"the lowest{among}") for kind in (SAME, WORSE))
    kind = np.where(yes(ranked["in_best_set"]), same, worse)
    kind = np.where(ranked["in_best_set"].isna(), UNKNOWN, kind)
    shown = pd.DataFrame(
        [
            *({**row, "kind": EXPECTED} for row in expected),
            *ranked.assign(kind=kind).head(most).to_dict("records"),
        ],
        columns=["label", "rmse_m", "low_m", "high_m", "kind"],
    )
    looks = {same: _KINDS[SAME], worse: _KINDS[WORSE], **_KINDS}
    if not compared:
        looks[UNKNOWN] = _KINDS[SAME]
    marks = intervals(shown, looks, ceiling_m(mean_rmse_m), legend=compared)
    floor = floor_mark(floor_m, float(shown["rmse_m"].min()), "x")
    chart = layered(*marks, mean_predictor_rule(mean_rmse_m, "x"), *floor)
    caption = (
        "Intervals resample spots, and seeds where there are several. Overlapping bars do not "
        "decide: cells are compared photo by photo."
    )
    if len(ranked) > most:
        caption += f" The {most} lowest of {len(ranked)} cells."
    each = "; ".join(f"{r['label']} {metres(r['rmse_m'])}" for r in shown.to_dict("records"))
    text = f"Cells by validation RMSE. {each}; mean predictor {metres(mean_rmse_m)}."
    return Figure("ranking", _ranking_title(ranked, winner, among), caption, text, chart)


def intervals(
    shown: pd.DataFrame, looks: Mapping[str, tuple[str, str]], ceiling: float, *, legend: bool
) -> list[alt.Chart]:
    """Draw rows as points with intervals; values above the ceiling end there, with their number.

    Args:
        shown: `label`, `kind`, `rmse_m`, `low_m` and `high_m`.
        looks: colour and shape of each kind.
        ceiling: end of the axis in metres.
        legend: whether to explain the kinds.
    """
    kinds = [k for k in looks if (shown["kind"] == k).any()]
    ends = shown["rmse_m"].where(shown["rmse_m"] > ceiling, shown["high_m"])
    beyond = shown.loc[ends > ceiling, ["label"]]
    beyond = beyond.assign(end=ceiling, text=[f"\u2192 {metres(v)}" for v in ends[ends > ceiling]])
    figures = ["rmse_m", "low_m", "high_m"]
    drawn = shown.assign(**{f"{c}_drawn": shown[c].clip(upper=ceiling) for c in figures})
    labels = list(shown["label"])
    y = alt.Y("label:N", sort=labels, title=None, axis=label_axis(labels))
    scale = alt.Scale(zero=False, nice=not len(beyond))
    ticks = alt.Axis(labelSeparation=10, labelOverlap="greedy")
    x = alt.X("low_m_drawn:Q", title="RMSE (m), 95 % interval", scale=scale, axis=ticks)
    key = alt.Legend(orient="bottom", columns=1, symbolSize=60) if legend else None
    colours, shapes = (alt.Scale(domain=kinds, range=[looks[k][i] for k in kinds]) for i in (0, 1))
    base = alt.Chart(drawn, width=460, height=alt.Step(22)).encode(
        y=y, color=alt.Color("kind:N", scale=colours, title=None, legend=key)
    )
    words = alt.Chart(beyond).mark_text(align="left", dx=8)
    return [
        base.mark_rule(strokeWidth=2).encode(x=x, x2="high_m_drawn:Q"),
        base.mark_point(size=75, filled=True, opacity=1).encode(
            x="rmse_m_drawn:Q",
            shape=alt.Shape("kind:N", scale=shapes, title=None, legend=key),
            tooltip=["label:N", *(alt.Tooltip(f"{c}:Q", format=".1f") for c in figures)],
        ),
        *([words.encode(x="end:Q", y=y, text="text:N")] if len(beyond) else []),
    ]


def _ranking_title(ranked: pd.DataFrame, winner: str | None, among: str) -> str:
    first = ranked[ranked["cell"] == winner].to_dict("records")
    if not first:
        return "No cell has finished"
    figure = first[0]["rmse_m"]
    lowest = f"Lowest{among}: {first[0]['label']}, at {metres(figure)}"
    compared = int(ranked["in_best_set"].notna().sum())
    same = int(yes(ranked["in_best_set"]).sum())
    if compared < 2:
        return f"{lowest}; which others could be as good is not known"
    if same == compared:
        which = "cells" if same == len(ranked) else "cells that may win"
        return f"The {same} {which} cannot be told apart"
    if same > 1:
        which = f"{compared} cells that may win" if among else f"{compared} cells"
        return f"{same} of {which}, the lowest{among} included, cannot be told apart"
    return f"{lowest}, told apart from all others"


def effects(
    cells: pd.DataFrame,
    axes: Sequence[str],
    *,
    mean_rmse_m: float,
    floor_m: float = math.nan,
    share: Mapping[str, float],
    no_share: str = "",
) -> Figure:
    """Draw the effect of each knob: every cell, and the mean of each level.

    cells: one row a cell with `label`, the axes and `rmse_m`. share: of each axis in the variance
    (0 to 1), which only full grids have; no_share: why it is empty. floor_m: RMSE of a perfect
    answer; NaN where it is not known.
    """
    cells = cells[cells["rmse_m"].notna()]
    drawn = cells.assign(rmse_m=cells["rmse_m"].clip(upper=ceiling_m(mean_rmse_m)))
    panels = [_effect(drawn, axis, mean_rmse_m, share.get(axis)) for axis in axes]
    chart = alt.concat(*panels, columns=min(3, len(panels))).resolve_scale(y="shared")
    parts = {axis: share[axis] for axis in axes if axis in share} or _spreads(cells, axes)
    top = max(parts, key=lambda axis: parts[axis])
    if share:
        most = "Most" if parts[top] > 0.5 else "The largest part"
        title = f"{most} of the variance between runs comes with {knob_name(top)}: "
        title += f"{100 * parts[top]:.0f} %"
        caption = "Percentages: shares of that variance (ANOVA of the full grid)."
    else:
        thirds = "lowest, middle and highest thirds'" if _continuous(cells[top]) else "levels'"
        title = f"RMSE varies most with {knob_name(top)}: "
        title += f"{metres(parts[top])} between its {thirds} means"
        caption = f"No shares of variance: {no_share}. Other knobs may differ between levels too."
    caption += (
        " Circles: cells; diamonds: mean of the level; dotted: the mean predictor, "
        f"{metres(mean_rmse_m)}{floor_said(floor_m)}."
    )
    cut = cells.loc[cells["rmse_m"] > ceiling_m(mean_rmse_m), "rmse_m"]
    caption += f" {cut_said(cut, ceiling_m(mean_rmse_m))}"
    each = [
        f"{knob_name(a)} {f'{100 * v:.0f} %' if share else metres(v)}" for a, v in parts.items()
    ]
    text = f"Effect of each hyperparameter on RMSE. {listed(each)}."
    return Figure("effects", title, caption.rstrip(), text, chart)


def _spreads(cells: pd.DataFrame, axes: Sequence[str]) -> dict[str, float]:
    """Return how far the means of each axis's levels lie apart, in metres."""
    means = {a: cells.groupby(_groups(cells[a]))["rmse_m"].mean() for a in axes}
    return {axis: float(mean.max() - mean.min()) for axis, mean in means.items()}


def _continuous(values: pd.Series[Any]) -> bool:
    """Tell whether a search drew the values from an interval, so that hardly two are equal."""
    known = pd.to_numeric(values, errors="coerce").dropna()
    return len(set(known)) > MOST_LEVELS and len(known) == values.notna().sum()


def _groups(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return each cell's level, or its third where values are continuous."""
    if _continuous(values):
        return pd.qcut(pd.to_numeric(values), 3, labels=False, duplicates="drop")
    return values.map(knob_value).where(values.notna())


def _effect(
    cells: pd.DataFrame, axis: str, mean_rmse_m: float, share: float | None
) -> alt.LayerChart:
    cells = cells[cells[axis].notna()]
    heading = knob_name(axis) if share is None else f"{knob_name(axis)}: {100 * share:.0f} %"
    draw = _points if _continuous(cells[axis]) else _levels
    rule = mean_predictor_rule(mean_rmse_m, label=False)
    title = alt.Title(heading, fontSize=12, anchor="start")
    return layered(*draw(cells, axis), rule).properties(title=title)


def _points(cells: pd.DataFrame, axis: str) -> list[alt.Chart]:
    """Draw cells over a knob whose values a search has drawn."""
    data = cells[["rmse_m", "label"]].assign(value=pd.to_numeric(cells[axis]))
    wide = data["value"].min() > 0 and data["value"].max() > 20 * data["value"].min()
    x = alt.X(
        "value:Q",
        title=knob_name(axis) + (", log scale" if wide else ""),
        scale=alt.Scale(type="log") if wide else alt.Scale(zero=False),
        axis=alt.Axis(tickCount=4, labelOverlap="greedy", labelSeparation=6),
    )
    chart = alt.Chart(data, width=240, height=230).mark_point(size=36, color=COLOURS[0])
    return [chart.encode(x=x, y=rmse_axis("rmse_m"), tooltip=["label:N", ONE_DECIMAL])]


def _levels(cells: pd.DataFrame, axis: str) -> list[alt.Chart]:
    """Draw cells over the levels of a knob, and each level's mean."""
    data = cells[["rmse_m", "label"]].assign(level=cells[axis].map(knob_value))
    order = in_order(list(data["level"]))
    long = max(map(len, order)) > 9 or len(order) > 6
    x = alt.X("level:O", sort=order, title=knob_name(axis), axis=_SLANTED if long else _LEVEL)
    mean = alt.OverlayMarkDef(shape="diamond", size=70, filled=True, color=COLOURS[1])
    base = alt.Chart(data, width=max(130, min(240, 64 * len(order))), height=230).encode(x=x)
    return [
        base.mark_point(size=36, opacity=0.6, color=COLOURS[0]).encode(
            y=rmse_axis("rmse_m"), tooltip=["label:N", ONE_DECIMAL]
        ),
        base.mark_line(color=COLOURS[1], strokeWidth=2, point=mean).encode(y="mean(rmse_m):Q"),
    ]
