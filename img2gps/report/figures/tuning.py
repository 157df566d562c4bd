"""Draw how low the best error of one study, or of several, is after so many runs."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from img2gps.analysis.stats import LEVEL, ORDERS
from img2gps.analysis.tuning import GRID, GUIDED, RANDOM, TuningCurve
from img2gps.report.figures.base import (
    COLOURS,
    DASHES,
    Figure,
    Picture,
    coloured,
    dashed,
    floor_mark,
    layered,
    listed,
    mean_predictor_rule,
    metres,
)

NEAR = 1.01  # times the final error: as good as done
ROOM = 0.95  # of the lowest error, where the axis ends; a band may go far below
_SPENT = alt.Axis(grid=False, tickCount=5, labelOverlap="greedy", labelSeparation=8)
_AXES = (("runs", "runs"), ("epochs", "epochs trained"), ("minutes", "minutes of training"))
_KINDS = {
    GRID: "the lowest RMSE to expect if its cells are run in random order, one run of each; band: "
    f"what {100 * ORDERS:.0f} % of the orders give",
    RANDOM: "the lowest RMSE to expect of such a search; band: holds the whole curve of other "
    f"random searches of this space on these photos with {100 * LEVEL:.0f} % confidence",
    GUIDED: "the lowest RMSE so far, as the trials went; another search would go another way, and "
    "a single one cannot say how",
}


def tuning(
    curves: Mapping[str, TuningCurve], *, mean_rmse_m: float, floor_m: float, study: str = "study"
) -> Figure:
    """Draw the lowest validation RMSE against runs, epochs and minutes.

    Args:
        curves: by the name of the study; all on the same photos.
        mean_rmse_m: RMSE of the mean predictor.
        floor_m: RMSE of a perfect answer; NaN where unknown.
        study: title of the legend.
    """
    table = pd.concat([curve.table.assign(study=name) for name, curve in curves.items()])
    lowest = float(table["expected_m"].min())
    last = _AXES[-1][0]
    panels = [
        layered(
            *_panel(table, column, title, curves, study),
            mean_predictor_rule(mean_rmse_m, label=column == last),
            *(floor_mark(floor_m, lowest) if column == last else ()),
        )
        for column, title in _AXES
    ]
    chart: Picture = alt.hconcat(*panels).resolve_scale(color="shared", strokeDash="shared")
    flattered = "Lowest figures are flattered by having been chosen."
    caption = f"{_kinds_said(curves)} {flattered}"
    text = f"Lowest RMSE against runs, epochs and minutes. {_each_said(curves)}."
    return Figure("tuning", _title(curves), caption, text, chart)


def _panel(
    table: pd.DataFrame,
    column: str,
    title: str,
    curves: Mapping[str, TuningCurve],
    legend: str,
) -> list[alt.Chart]:
    names = list(curves)
    alone = len(names) == 1
    colour = alt.value(COLOURS[0]) if alone else coloured("study", names, legend)
    dash = alt.value(DASHES[0]) if alone else dashed("study", names, legend)
    floor = ROOM * float(table["expected_m"].min())
    scale = alt.Scale(zero=False, nice=False, domainMin=floor)
    line = alt.Y("expected_m:Q", title="lowest validation RMSE (m)", scale=scale)
    base = alt.Chart(table, width=230, height=250).encode(
        x=alt.X(f"{column}:Q", title=title, axis=_SPENT), color=colour
    )
    tooltip = ["study:N", *(alt.Tooltip(f"{spent}:Q", format=",.0f") for spent, _ in _AXES)]
    tooltip += [alt.Tooltip(f"{m}:Q", format=".1f") for m in ("expected_m", "low_m", "high_m")]
    band = alt.Y("low_m:Q", title="lowest validation RMSE (m)", scale=scale)
    charts = [base.mark_area(opacity=0.16, clip=True).encode(y=band, y2="high_m:Q")]
    for name, curve in curves.items():
        own = base.transform_filter(alt.datum.study == name)
        drawn = (
            own.mark_line(strokeWidth=2, clip=True, interpolate="step-after")
            if curve.kind == GUIDED
            else own.mark_line(strokeWidth=2, clip=True)
        )
        charts.append(drawn.encode(y=line, strokeDash=dash, tooltip=tooltip))
    return charts


def _kinds_said(curves: Mapping[str, TuningCurve]) -> str:
    if len(curves) == 1:
        return f"Line: {_KINDS[next(iter(curves.values())).kind]}."
    return " ".join(f"{name}: {_KINDS[curve.kind]}." for name, curve in curves.items())


def _title(curves: Mapping[str, TuningCurve]) -> str:
    if len(curves) > 1:
        by_error = sorted(curves, key=lambda name: curves[name].lowest_m)
        each = [f"{name} {metres(curves[name].lowest_m)}" for name in by_error]
        return f"Lowest error to expect after all runs: {listed(each)}"
    (curve,) = curves.values()
    table, done = curve.table, curve.table["expected_m"] <= NEAR * curve.lowest_m
    first, last = table[done].iloc[0], table.iloc[-1]
    so_far = f"After {first['runs']:,.0f} of {last['runs']:,.0f} runs"
    end = f"the {metres(curve.lowest_m)} after all of them"
    if first["runs"] == last["runs"]:
        return f"The lowest error was still falling at the last of {last['runs']:,.0f} runs"
    verb = "was" if curve.kind == GUIDED else "is expected to be"
    return f"{so_far} the lowest error {verb} within 1 % of {end}"


def _each_said(curves: Mapping[str, TuningCurve]) -> str:
    said = []
    for name, curve in curves.items():
        rows = curve.table.iloc[sorted({0, len(curve.table) // 4, len(curve.table) - 1})]
        each = [f"{metres(r['expected_m'])} after {r['runs']:.0f} runs" for _, r in rows.iterrows()]
        said.append(f"{name} ({curve.kind}): {listed(each)}")
    return "; ".join(said)
