"""Draw what a race has not decided yet: how much worse than the lowest cell each other may be."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from img2gps.analysis.racing import Doubt
from img2gps.report.figures.base import (
    INK,
    Figure,
    coloured,
    label_axis,
    layered,
    listed,
    metres,
    shaped,
)

IN, DROPPED, LOWEST = "still in the race", "dropped at this look", "lowest so far"


def doubt(
    labels: Sequence[str], doubts: Sequence[Doubt], kept: Sequence[bool], look: int, margin_m: float
) -> Figure:
    """Draw the differences to the lowest cell with their intervals.

    Args:
        labels: of the cells that the look judged.
        doubts: about each of them.
        kept: whether the look has kept each of them.
        look: its number.
        margin_m: larger differences matter to the user.
    """
    rows = pd.DataFrame([vars(one) for one in doubts]).assign(label=labels, kind=IN)
    rows.loc[[not one for one in kept], "kind"] = DROPPED
    rows.loc[rows["difference_m"] == 0.0, "kind"] = LOWEST
    rows = rows.sort_values("difference_m", kind="stable")
    order, kinds = list(rows["label"]), [k for k in (LOWEST, IN, DROPPED) if (rows.kind == k).any()]
    base = alt.Chart(rows, width=460, height=alt.Step(22)).encode(
        y=alt.Y("label:N", sort=order, title=None, axis=label_axis(order)),
        color=coloured("kind", kinds),
    )
    zero, margin = (
        alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(color=INK, strokeDash=dash).encode(x="at:Q")
        for at, dash in ((0.0, [1, 0]), (margin_m, [3, 3]))
    )
    x = alt.X("low_m:Q", title=f"RMSE less that of {order[0]} (m)", scale=alt.Scale(zero=True))
    chart = layered(
        zero,
        *([margin] if margin_m else []),
        base.mark_rule(strokeWidth=2).encode(x=x, x2="high_m:Q"),
        base.mark_point(size=75, filled=True, opacity=1).encode(
            x="difference_m:Q", shape=shaped("kind", kinds)
        ),
    )
    more = f" (dashed: {metres(margin_m)})" if margin_m else ""
    caption = (
        f"Intervals as look {look} sees them: together, all looks of a race err in at most 5 %. A "
        f"cell drops out once its interval lies above the margin{more or ' of 0 m'}."
    )
    open_ = [r["label"] for r in rows.to_dict("records") if r["kind"] == IN]
    title = f"After look {look}, {order[0]} is lowest, and {_counted(len(open_))} still in doubt"
    each = listed(
        [f"{r['label']} {r['low_m']:.1f} to {r['high_m']:.1f} m" for _, r in rows.iterrows()]
    )
    return Figure("doubt", title, caption, f"Differences to the lowest cell: {each}.", chart)


def _counted(cells: int) -> str:
    return {0: "no other cell is", 1: "1 other cell is"}.get(cells, f"{cells} other cells are")
