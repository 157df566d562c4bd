"""Cells: the grid as a heat map, the ranking with intervals, the effect of each hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from img2gps.report.figures.base import (
    COLOURS,
    LINE,
    MUTED,
    SEQUENTIAL,
    Figure,
    Picture,
    in_order,
    layered,
    letters_on,
    listed,
    mean_predictor_rule,
    metres,
    number,
    said,
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


def heat_map(
    cells: pd.DataFrame,
    *,
    rows: str,
    columns: str,
    facet: str | None,
    winner: str | None,
    mean_rmse_m: float,
    held: str = "",
) -> Figure:
    """Draw the grid: `rows` down, `columns` across, one panel for each level of `facet`.

    cells: one row a cell with `cell`, the axes, `rmse_m` (missing where nothing finished),
    `reason` (why missing), `beats_mean` and `in_best_set` (bool or missing). winner: its `cell`,
    not one that lacks seeds, however low. held: what all cells shown share.
    """
    data = pd.DataFrame(
        {
            "row": cells[rows].map(number),
            "column": cells[columns].map(number),
            "facet": cells[facet].map(number) if facet else "",
            "rmse_m": cells["rmse_m"].astype(float),
            "why": cells["reason"].fillna(""),
        }
    ).reset_index(drop=True)
    beaten = cells["beats_mean"].fillna(value=True).astype(bool).to_numpy()
    values = zip(data["rmse_m"], beaten, strict=True)
    data["text"] = ["-" if np.isnan(v) else f"{v:.1f}{'' if ok else ' †'}" for v, ok in values]
    known = data["rmse_m"].dropna()
    chosen = np.flatnonzero(cells["cell"] == winner)
    best = int(chosen[0]) if len(chosen) else -1
    data["weight"] = np.where(data.index == best, "bold", "normal")
    data["letter"] = np.where(data["rmse_m"].isna(), MUTED, letters_on(data["rmse_m"]))

    chart: Picture = _tiles(data, rows, columns)
    if facet:
        levels = in_order(list(data["facet"]))
        narrow = data["column"].nunique() <= 4
        chart = _tiles(data, rows, columns).facet(
            facet=alt.Facet("facet:N", title=None, sort=levels), columns=2 if narrow else 1
        )
    title = "No cell has finished"
    if best >= 0:
        at = data.to_dict("records")[best]
        where = [f"{said(rows)} {at['row']}", f"{said(columns)} {at['column']}"]
        where += [str(at["facet"])] if facet else []
        figure = float(at["rmse_m"])
        whole = "" if figure == known.min() else " of those with all their seeds"
        title = f"Lowest{whole} at {listed(where)}: {metres(figure)}"
        same = int(yes(cells["in_best_set"]).sum()) - 1
        if same > 0:
            others = int((cells["in_best_set"].notna() & cells["rmse_m"].notna()).sum()) - 1
            title += f"; {same} of the other {others} cells cannot be told apart from it"
    caption = (
        "Validation RMSE in metres after the final epoch; the mean predictor gets "
        f"{metres(mean_rmse_m)}. Framed: the winner."
    )
    if held:
        caption += f" All with {held}."
    if not beaten.all():
        caption += " †: not shown to beat the mean predictor."
    if len(known) < len(data):
        caption += " -: no figure."
    each = [
        f"{r['facet']} {said(rows)} {r['row']}, {said(columns)} {r['column']}: {r['text']}".strip()
        for r in data.to_dict("records")
    ]
    text = f"Heat map of validation RMSE in metres. {'; '.join(each)}."
    return Figure("grid", title, caption, text, chart)


def _tiles(data: pd.DataFrame, rows: str, columns: str) -> alt.LayerChart:
    known = data["rmse_m"].dropna()
    domain = [float(known.min()), float(known.max())] if len(known) else [0.0, 1.0]
    order = in_order(list(data["column"]))
    base = alt.Chart(data).encode(
        x=alt.X("column:O", title=said(columns), sort=order, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("row:O", title=said(rows), sort=in_order(list(data["row"]))),
    )
    colour = alt.Color(
        "rmse_m:Q",
        title="validation RMSE (m)",
        scale=alt.Scale(scheme=SEQUENTIAL, reverse=True, domain=domain),
        legend=alt.Legend(orient="bottom", gradientLength=220, format=".0f"),
    )
    tooltip = ["facet:N", "row:O", "column:O", alt.Tooltip("rmse_m:Q", format=".2f"), "why:N"]
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
    expected: Sequence[Mapping[str, Any]] = (),
    most: int = 30,
) -> Figure:
    """Draw cells by RMSE with their intervals beside the mean predictor.

    cells: one row a cell with `cell`, `label`, `rmse_m`, `low_m`, `high_m` (missing where there is
    no interval), `in_best_set` (bool or missing). winner: its `cell`. expected: rows that may be
    called the winner's expected error (corrected for the selection, test part, truth).
    """
    ranked = cells[cells["rmse_m"].notna()].sort_values("rmse_m")
    compared = len(ranked) > 1 and bool(ranked["in_best_set"].notna().any())
    kind = np.where(yes(ranked["in_best_set"]), SAME, WORSE)
    kind = np.where(ranked["in_best_set"].isna(), UNKNOWN, kind)
    columns = ["label", "rmse_m", "low_m", "high_m", "kind"]
    shown = pd.DataFrame(
        [
            *({**row, "kind": EXPECTED} for row in expected),
            *ranked.assign(kind=kind).head(most).to_dict("records"),
        ],
        columns=columns,
    )
    looks = _KINDS if compared else {**_KINDS, UNKNOWN: _KINDS[SAME]}
    kinds = [k for k in looks if (shown["kind"] == k).any()]
    legend = alt.Legend(orient="bottom", direction="horizontal") if compared else None
    base = alt.Chart(shown, width=460, height=alt.Step(22)).encode(
        y=alt.Y(
            "label:N",
            sort=list(shown["label"]),
            title=None,
            axis=alt.Axis(ticks=False, grid=False, labelLimit=620),
        ),
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=kinds, range=[looks[k][0] for k in kinds]),
            title=None,
            legend=legend,
        ),
    )
    shape = alt.Scale(domain=kinds, range=[looks[k][1] for k in kinds])
    axis = alt.X("low_m:Q", title="RMSE (m), 95 % interval", scale=alt.Scale(zero=False))
    figures = [alt.Tooltip(f"{c}:Q", format=".1f") for c in ("rmse_m", "low_m", "high_m")]
    chart = layered(
        base.mark_rule(strokeWidth=2).encode(x=axis, x2="high_m:Q"),
        base.mark_point(size=75, filled=True, opacity=1).encode(
            x="rmse_m:Q",
            shape=alt.Shape("kind:N", scale=shape, title=None, legend=legend),
            tooltip=["label:N", *figures],
        ),
        mean_predictor_rule(mean_rmse_m, "x"),
    )
    caption = (
        "Intervals resample spots, and seeds where there are several. Overlapping bars do not "
        "decide: cells are compared photo by photo."
    )
    if len(ranked) > most:
        caption += f" The {most} lowest of {len(ranked)} cells."
    each = "; ".join(f"{r['label']} {metres(r['rmse_m'])}" for r in shown.to_dict("records"))
    text = f"Cells by validation RMSE. {each}; mean predictor {metres(mean_rmse_m)}."
    return Figure("ranking", _ranking_said(ranked, winner), caption, text, chart)


def _ranking_said(ranked: pd.DataFrame, winner: str | None) -> str:
    if not (ranked["cell"] == winner).any():
        return "No cell has finished"
    first = ranked[ranked["cell"] == winner].to_dict("records")[0]
    whole = "" if first["rmse_m"] == ranked["rmse_m"].min() else " of those with all their seeds"
    lowest = f"{first['label']} is lowest{whole}, at {metres(first['rmse_m'])}"
    compared = int(ranked["in_best_set"].notna().sum())
    if compared < 2:
        return f"{lowest}; which others could be as good is not known"
    same = int(yes(ranked["in_best_set"]).sum())
    if same == compared:
        return f"None of the {same} cells can be told apart from the lowest"
    if same > 1:
        return f"{same} of {compared} cells, the lowest included, cannot be told apart"
    return f"{lowest}, and told apart from all others"


def effects(
    cells: pd.DataFrame,
    axes: Sequence[str],
    *,
    mean_rmse_m: float,
    share: Mapping[str, float],
    no_share: str = "",
) -> Figure:
    """Draw the effect of each hyperparameter: every cell, and the mean of each level.

    cells: one row a cell with `label`, the axes and `rmse_m`. share: of each axis in the ANOVA
    variance (0 to 1), which only full grids have; no_share: why it is empty.
    """
    cells = cells[cells["rmse_m"].notna()]
    panels = [_effect(cells, axis, mean_rmse_m, share.get(axis)) for axis in axes]
    chart = alt.concat(*panels, columns=min(3, len(panels))).resolve_scale(y="shared")
    if share:
        parts = {axis: share[axis] for axis in axes if axis in share}
        top = max(parts, key=lambda axis: parts[axis])
        most = "Most" if parts[top] > 0.5 else "The largest part"
        title = f"{most} of the variance between runs comes with {said(top)}: "
        title += f"{100 * parts[top]:.0f} %"
        caption = "Percentages: shares of that variance (ANOVA of the full grid)."
        each = listed([f"{said(a)} {100 * s:.0f} %" for a, s in parts.items()])
    else:
        means = {a: cells.groupby(_groups(cells[a]))["rmse_m"].mean() for a in axes}
        spread = {a: float(m.max() - m.min()) for a, m in means.items()}
        top = max(spread, key=lambda axis: spread[axis])
        title = f"RMSE goes most with {said(top)}: {metres(spread[top])} between its levels' means"
        if _continuous(cells[top]):
            title = title.replace("levels'", "lowest, middle and highest thirds'")
        caption = f"No shares of variance: {no_share}. Other knobs may differ between levels too."
        each = listed([f"{said(a)} {metres(s)}" for a, s in spread.items()])
    caption += (
        " Circles: cells; diamonds: mean of the level; dotted: the mean predictor, "
        f"{metres(mean_rmse_m)}."
    )
    text = f"Effect of each hyperparameter on RMSE. {each}."
    return Figure("effects", title, caption, text, chart)


def _continuous(values: pd.Series[Any]) -> bool:
    """Whether a search drew the values from an interval, so that hardly two are equal."""
    known = pd.to_numeric(values, errors="coerce").dropna()
    return len(set(known)) > MOST_LEVELS and len(known) == values.notna().sum()


def _groups(values: pd.Series[Any]) -> pd.Series[Any]:
    """Levels, or the thirds of continuous values."""
    if _continuous(values):
        return pd.qcut(pd.to_numeric(values), 3, labels=False, duplicates="drop")
    return values.map(number).where(values.notna())


def _effect(
    cells: pd.DataFrame, axis: str, mean_rmse_m: float, share: float | None
) -> alt.LayerChart:
    cells = cells[cells[axis].notna()]
    heading = said(axis) if share is None else f"{said(axis)}: {100 * share:.0f} %"
    title = alt.Title(heading, fontSize=12, anchor="start")
    y = alt.Y("rmse_m:Q", title="validation RMSE (m)", scale=alt.Scale(zero=False))
    tooltip = ["label:N", alt.Tooltip("rmse_m:Q", format=".1f")]
    rule = mean_predictor_rule(mean_rmse_m, label=False)
    if _continuous(cells[axis]):
        data = pd.DataFrame(
            {"value": pd.to_numeric(cells[axis])} | dict(cells[["rmse_m", "label"]])
        )
        wide = data["value"].min() > 0 and data["value"].max() > 20 * data["value"].min()
        scale = alt.Scale(type="log") if wide else alt.Scale(zero=False)
        few = alt.Axis(tickCount=4, labelOverlap="greedy", labelSeparation=6)
        x = alt.X(
            "value:Q", title=said(axis) + (", log scale" if wide else ""), scale=scale, axis=few
        )
        points = alt.Chart(data, width=240, height=230).mark_point(size=36, color=COLOURS[0])
        return layered(points.encode(x=x, y=y, tooltip=tooltip), rule).properties(title=title)
    data = pd.DataFrame({"level": cells[axis].map(number)} | dict(cells[["rmse_m", "label"]]))
    order = in_order(list(data["level"]))
    long = max(map(len, order)) > 9 or len(order) > 6
    level = alt.X(
        "level:O", sort=order, title=said(axis), axis=alt.Axis(labelAngle=-40 if long else 0)
    )
    mean = alt.OverlayMarkDef(shape="diamond", size=70, filled=True, color=COLOURS[1])
    base = alt.Chart(data, width=max(130, min(240, 64 * len(order))), height=230).encode(x=level)
    return layered(
        base.mark_point(size=36, opacity=0.6, color=COLOURS[0]).encode(y=y, tooltip=tooltip),
        base.mark_line(color=COLOURS[1], strokeWidth=2, point=mean).encode(y="mean(rmse_m):Q"),
        rule,
    ).properties(title=title)
