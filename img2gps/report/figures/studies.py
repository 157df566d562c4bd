"""Several studies beside each other: their winners."""

from __future__ import annotations

import altair as alt
import pandas as pd

from img2gps.report.figures.base import COLOURS, INK, Figure, layered, listed, metres

_KINDS = {
    "validation RMSE of the winner": (COLOURS[0], "circle"),
    "corrected for its selection": (COLOURS[1], "diamond"),
    "mean predictor": (INK, "square"),
}
VALIDATION, CORRECTED, MEAN = _KINDS


def winners(rows: pd.DataFrame, *, same_photos: bool) -> Figure:
    """Draw each study's winner, its corrected figure and its mean predictor with intervals.

    rows: `study`, `kind` (one of the three above), `rmse_m`, `low_m`, `high_m`. same_photos: all
    studies were validated on the same photos.
    """
    kinds = [kind for kind in _KINDS if (rows["kind"] == kind).any()]
    colour = alt.Scale(domain=kinds, range=[_KINDS[k][0] for k in kinds])
    shape = alt.Scale(domain=kinds, range=[_KINDS[k][1] for k in kinds])
    legend = alt.Legend(orient="bottom", direction="horizontal")
    order = list(dict.fromkeys(rows["study"]))
    base = alt.Chart(rows, width=520, height=alt.Step(16)).encode(
        y=alt.Y("study:N", sort=order, title=None, axis=alt.Axis(ticks=False)),
        yOffset=alt.YOffset("kind:N", sort=kinds),
        color=alt.Color("kind:N", scale=colour, title=None, legend=legend),
    )
    axis = alt.X("low_m:Q", title="RMSE (m), 95 % interval", scale=alt.Scale(zero=False))
    chart = layered(
        base.mark_rule(strokeWidth=2).encode(x=axis, x2="high_m:Q"),
        base.mark_point(size=75, filled=True, opacity=1).encode(
            x="rmse_m:Q",
            shape=alt.Shape("kind:N", scale=shape, title=None, legend=legend),
            tooltip=["study:N", "kind:N", alt.Tooltip("rmse_m:Q", format=".1f")],
        ),
    )
    validation = rows[rows["kind"] == VALIDATION].sort_values("rmse_m").to_dict("records")
    each = listed([f"{r['study']} {metres(r['rmse_m'])}" for r in validation])
    title = f"{validation[0]['study']} has the lowest winner, {metres(validation[0]['rmse_m'])}"
    if not same_photos:
        title += ", but the studies were validated on different photos"
    caption = "Three rows a study; the mean predictor's differs where the validation photos do."
    return Figure("winners", title, caption, f"Winners of the studies: {each}.", chart)
