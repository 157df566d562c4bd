"""Curves: against epochs, the number of training photos, the batch size, the cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import altair as alt
import pandas as pd

from img2gps.analysis.stats import Interval
from img2gps.report.figures.base import (
    COLOURS,
    DASHES,
    INK,
    MOST_LINES,
    SHAPES,
    Figure,
    ceiling_m,
    cut_said,
    in_order,
    layered,
    legend_of,
    listed,
    mean_predictor_rule,
    metres,
    scale_of,
)

NEAR_MEAN = 0.95  # of the mean predictor's RMSE: a curve above it is said to be near it


def epochs(
    history: pd.DataFrame,
    *,
    name: str,
    legend: str,
    mean_rmse_m: float,
    held: str = "",
    order: Sequence[str] | None = None,
) -> Figure:
    """Draw training loss and validation RMSE against epochs, a band over runs around each mean.

    history: one row a run and epoch with `label` (what the lines are told apart by), `seed`,
    `fold` (one value where there are none), `finished`, `epoch`, `train_mse`, `rmse_m`. legend:
    what the labels are; held: what all lines share; mean_rmse_m: NaN where no run has finished, so
    that it is not known. Labels beyond the sixth are left out and counted in the caption, and only
    lines whose runs have all finished are compared in words.
    """
    lines = _Lines.of(history, order)
    ceiling = ceiling_m(mean_rmse_m)
    loss = _panel(lines, "train_mse", "training loss (MSE of scaled labels)", legend, math.inf)
    rmse = _panel(lines, "rmse_m", "validation RMSE (m)", legend, ceiling)
    if math.isfinite(mean_rmse_m):
        rmse = layered(rmse, mean_predictor_rule(mean_rmse_m))
    high = lines.band["rmse_m_max"]
    open_ends = [label for label in lines.final.index if label not in lines.ended]
    parts = [
        _band_said(lines.shown),
        f"All with {held}." if held else "",
        f"The best {MOST_LINES} of {lines.count} lines are shown." if lines.left_out else "",
        f"Not finished: {listed(open_ends)}." if open_ends else "",
        cut_said(high[high > ceiling], ceiling),
    ]
    title, text = _epochs_said(lines.ended, legend, mean_rmse_m)
    return Figure(name, title, " ".join(filter(None, parts)), text, alt.hconcat(loss, rmse))


@dataclass(frozen=True)
class _Lines:
    """The lines of a figure against epochs.

    Attributes:
        labels: of the lines drawn, in the legend's order.
        count: lines there are.
        shown: the rows of the lines drawn.
        band: mean, lowest and highest run by label and epoch.
        final: mean RMSE after the last epoch, by label.
        ended: the same of the lines whose runs have all finished.
    """

    labels: list[str]
    count: int
    shown: pd.DataFrame
    band: pd.DataFrame
    final: pd.Series[float]
    ended: pd.Series[float]

    @property
    def left_out(self) -> int:
        return self.count - len(self.labels)

    @classmethod
    def of(cls, history: pd.DataFrame, order: Sequence[str] | None) -> Self:
        labels = list(order) if order is not None else in_order(list(history["label"]))
        by_label = history.groupby("label")
        last = history[history["epoch"] == by_label["epoch"].transform("max")]
        final = last.groupby("label")["rmse_m"].mean().dropna()
        count = len(labels)
        if count > MOST_LINES:
            kept = set(final.sort_values().index[:MOST_LINES])
            labels = [label for label in labels if label in kept]
        shown = history[history["label"].isin(labels)]
        rules = {
            f"{c}_{f}": (c, f) for c in ("train_mse", "rmse_m") for f in ("mean", "min", "max")
        }
        band = shown.groupby(["label", "epoch"]).agg(**rules).reset_index()
        final = final.reindex(labels).dropna()
        whole = by_label["finished"].all()
        return cls(labels, count, shown, band, final, final[whole.reindex(final.index)])


def _band_said(shown: pd.DataFrame) -> str:
    """Say what the lines and bands are made of."""
    counts = shown.groupby("label")[["seed", "fold"]].nunique()
    seeds, folds = (int(counts[column].max()) if len(counts) else 0 for column in counts)
    if folds > 1:
        runs = f"{folds} folds" if seeds < 2 else f"{seeds} seeds and {folds} folds"
        return f"Lines: mean over {runs}; bands: lowest to highest of these runs."
    if seeds > 1:
        return f"Lines: mean over {seeds} seeds; bands: lowest to highest seed."
    return "One seed a line: how far another seed would lie from it is not known."


def _panel(lines: _Lines, column: str, axis: str, legend: str, ceiling: float) -> alt.LayerChart:
    band, labels = lines.band, lines.labels
    values = band[f"{column}_mean"]
    positive = values[values > 0]
    wide = column == "train_mse" and len(positive) and positive.max() > 20 * positive.min()
    scale = alt.Scale(type="log") if wide else alt.Scale(zero=False, nice=True)
    if band[f"{column}_max"].max() > ceiling:
        scale = alt.Scale(zero=False, nice=False, domainMax=ceiling)
    last = int(band["epoch"].max()) if len(band) else 1
    ticks = list(range(1, last + 1, -(-last // 8)))
    base = alt.Chart(band, width=340, height=270).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(values=ticks, format="d", grid=False)),
        color=alt.Color(
            "label:N", scale=scale_of(labels, COLOURS), title=legend, legend=legend_of(labels)
        ),
    )
    line = base.mark_line(strokeWidth=2, clip=True).encode(
        y=alt.Y(f"{column}_mean:Q", title=axis + (", log scale" if wide else ""), scale=scale),
        strokeDash=alt.StrokeDash("label:N", scale=scale_of(labels, DASHES), title=legend),
    )
    point = base.mark_point(size=28, filled=True, opacity=1, clip=True).encode(
        y=f"{column}_mean:Q",
        shape=alt.Shape("label:N", scale=scale_of(labels, SHAPES), title=legend),
        tooltip=[
            alt.Tooltip("label:N", title=legend),
            "epoch:Q",
            alt.Tooltip(f"{column}_mean:Q", title=axis, format=".4~g"),
            alt.Tooltip(f"{column}_min:Q", title="lowest run", format=".4~g"),
            alt.Tooltip(f"{column}_max:Q", title="highest run", format=".4~g"),
        ],
    )
    area = base.mark_area(opacity=0.16, clip=True).encode(y=f"{column}_min:Q", y2=f"{column}_max:Q")
    return layered(area, line, point)


def _epochs_said(final: pd.Series[float], legend: str, mean_rmse_m: float) -> tuple[str, str]:
    """Return title and alternative text; final: RMSE after the last epoch, by label."""
    if final.empty:
        return "No line is complete yet", "Curves of runs that have not finished."
    mean = metres(mean_rmse_m) if math.isfinite(mean_rmse_m) else "figure (not known yet)"
    ranked = final.sort_values(kind="stable")
    best, worst = str(ranked.index[0]), str(ranked.index[-1])
    each = listed([f"{label}: {metres(value)}" for label, value in final.items()])
    text = (
        "Curves of training loss and validation RMSE against epochs. Validation RMSE after the "
        f"last epoch by {legend}: {each}. The mean predictor gets {mean}."
    )
    if len(final) == 1:
        return f"Validation RMSE ends at {metres(final[best])}, mean predictor {mean}", text
    idle = [str(label) for label in final.index[final > NEAR_MEAN * mean_rmse_m]]
    if best in idle:
        return f"No {legend} gets clearly below the mean predictor's {mean}", text
    end = f"{worst} ends highest, at {metres(final[worst])}"
    if idle:
        who = listed(idle) if len(idle) < 4 else f"{len(idle)} others"
        verb = "stays" if len(idle) == 1 else "stay"
        end = f"{who} {verb} near or above the mean predictor's {mean}"
    return f"{legend.capitalize()} {best} ends lowest, at {metres(final[best])}; {end}", text


def learning_curve(
    points: pd.DataFrame, *, mean_rmse_m: float, last_step: Interval | None = None
) -> Figure:
    """Validation RMSE against the number of training photos: whether more photos would help.

    points: one row a cell with `label`, `n_train`, `rmse_m`, `low_m`, `high_m` (interval, may be
    missing). last_step: what the lowest line gains with its last step, paired by photo. On a log
    axis, where doubling is a step of one width everywhere.
    """
    labels = in_order(list(points["label"]))
    base = alt.Chart(points, width=560, height=300).encode(
        x=alt.X(
            "n_train:Q",
            title="training photos (log scale)",
            scale=alt.Scale(type="log", nice=False, padding=20),
            axis=alt.Axis(values=sorted({int(n) for n in points["n_train"]}), format="d"),
        ),
        color=alt.Color(
            "label:N", scale=scale_of(labels, COLOURS), title=None, legend=legend_of(labels)
        ),
    )
    chart = layered(
        base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(
            y=alt.Y("low_m:Q", title="validation RMSE (m)", scale=alt.Scale(zero=False)),
            y2="high_m:Q",
        ),
        base.mark_line(strokeWidth=2).encode(
            y="rmse_m:Q", strokeDash=alt.StrokeDash("label:N", scale=scale_of(labels, DASHES))
        ),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            y="rmse_m:Q",
            shape=alt.Shape("label:N", scale=scale_of(labels, SHAPES)),
            tooltip=["label:N", "n_train:Q", alt.Tooltip("rmse_m:Q", format=".1f")],
        ),
        mean_predictor_rule(mean_rmse_m),
    )
    ranked = points.sort_values(["label", "n_train"]).to_dict("records")
    each = listed([f"{r['label']} {r['n_train']:.0f} photos {metres(r['rmse_m'])}" for r in ranked])
    caption = "Nested subsets of the training part, one validation part; bars: 95 % intervals."
    title = _gain_said(lowest_line(points), last_step)
    return Figure("learning_curve", title, caption, f"Learning curve. RMSE: {each}.", chart)


def lowest_line(points: pd.DataFrame) -> pd.DataFrame:
    """Points of the line with the lowest one, the fewest photos first."""
    best: str = points.sort_values("rmse_m")["label"].iloc[0]
    line: pd.DataFrame = points[points["label"] == best]
    return line.sort_values("n_train")


def _gain_said(line: pd.DataFrame, last_step: Interval | None) -> str:
    """Whether a line was still falling at its last step."""
    name = line["label"].iloc[0]
    if len(line) < 2:
        return f"{name} was trained on one number of photos only"
    before, after = line.tail(2).to_dict("records")
    gain = before["rmse_m"] - after["rmse_m"]
    step = f"from {before['n_train']:.0f} to {after['n_train']:.0f} photos"
    if gain <= 0:
        return f"More photos {step} did not help {name}"
    if last_step is not None and last_step.low > 0:  # NaN where there is no interval
        return f"{name} gains {metres(gain)} {step} and is still gaining: take more photos"
    return f"{name} gains {metres(gain)} {step}, which is not shown to be more than luck"


def lines(points: pd.DataFrame, *, name: str, axis: str, mean_rmse_m: float) -> Figure:
    """Draw validation RMSE against a knob, one line each and one panel for what else varies.

    points: one row a cell with `line`, `panel`, `x`, `rmse_m` and `start`, which is true of the
    cells that all lines of a panel share. axis: the knob in words.
    """
    names, panels = in_order(list(points["line"])), list(dict.fromkeys(points["panel"]))
    wide = points["x"].min() > 0
    values = sorted(set(points["x"]))
    x = alt.X(
        "x:Q",
        title=f"{axis} (log scale)" if wide else axis,
        scale=alt.Scale(type="log" if wide else "linear", nice=False, padding=14),
        axis=alt.Axis(values=values, format="~g"),
    )
    drawn = [
        layered(
            *_lines(points[points["panel"] == panel], panel, x, names),
            mean_predictor_rule(mean_rmse_m),
        )
        for panel in panels
    ]
    chart = alt.concat(*drawn, columns=2).resolve_scale(y="shared")
    means = _means_where_all_are(points, len(names))
    lowest = [str(line) for line in means.idxmin(axis="columns")]
    title = f"No {axis} has been tried on all lines yet"
    if lowest:
        counted = [f"{line} in {lowest.count(line)}" for line in names if line in lowest]
        title = f"Lowest on average, of {len(lowest)} panels: {listed(counted)}"
    each = "; ".join(
        f"{panel}, {line}: {metres(row[line])}"
        for panel, row in means.iterrows()
        for line in row.index
    )
    caption = "Points: cells, mean over seeds."
    if points["start"].any():
        caption += " All lines of a panel meet in the cell from which they start."
    caption += " img2gps contrast says whether two lines differ."
    text = f"RMSE against {axis}, one line each. Means where all lines have a cell: {each}."
    return Figure(name, title, caption, text, chart)


def _lines(
    points: pd.DataFrame, panel: str, x: alt.X, names: Sequence[str]
) -> tuple[alt.Chart, alt.Chart]:
    colour = alt.Color(
        "line:N", scale=scale_of(names, COLOURS), title=None, legend=legend_of(names)
    )
    y = alt.Y("rmse_m:Q", title="validation RMSE (m)", scale=alt.Scale(zero=False))
    base = alt.Chart(points, title=panel, width=270, height=220).encode(x=x, y=y, color=colour)
    return (
        base.mark_line(strokeWidth=2).encode(
            strokeDash=alt.StrokeDash("line:N", scale=scale_of(names, DASHES))
        ),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            shape=alt.Shape("line:N", scale=scale_of(names, SHAPES)),
            tooltip=["line:N", "x:Q", alt.Tooltip("rmse_m:Q", format=".1f")],
        ),
    )


def _means_where_all_are(points: pd.DataFrame, n_lines: int) -> pd.DataFrame:
    """Return each line's mean in each panel over the values of x that every line has."""
    own = points[~points["start"]]
    common = own.groupby(["panel", "x"])["line"].transform("nunique") == n_lines
    return own[common].pivot_table("rmse_m", "panel", "line", sort=False)


def cost(cells: pd.DataFrame, *, mean_rmse_m: float, column: str = "seconds") -> Figure:
    """Cost of a run of each cell against what it gets, with the line of cells that none beats.

    cells: one row a cell with `label`, `group` (told apart by colour and shape), `rmse_m`,
    `seconds`, `epochs` (means over seeds), `in_best_set` (bool or missing).
    """
    unit = {"seconds": "seconds a run", "epochs": "epochs a run"}[column]
    groups = in_order(list(cells["group"]))
    front = cells.sort_values([column, "rmse_m"])
    front = front[front["rmse_m"] <= front["rmse_m"].cummin()].drop_duplicates("rmse_m")
    best = front.to_dict("records")[-1]
    equal = front[front["in_best_set"].fillna(value=False).astype(bool)].to_dict("records")
    cheapest = equal[0] if equal and equal[0] != best else best
    middle = (cells[column].min() + cells[column].max()) / 2
    x = alt.X(f"{column}:Q", title=unit, scale=alt.Scale(zero=False, padding=25))
    y = alt.Y("rmse_m:Q", title="validation RMSE (m)", scale=alt.Scale(zero=False, padding=28))
    chart = layered(
        alt.Chart(front, width=560, height=320)
        .mark_line(interpolate="step-after", color=INK, strokeDash=[2, 2], strokeWidth=1)
        .encode(x=x, y=y),
        alt.Chart(cells)
        .mark_point(size=70, filled=True, opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "group:N", scale=scale_of(groups, COLOURS), title=None, legend=legend_of(groups)
            ),
            shape=alt.Shape("group:N", scale=scale_of(groups, SHAPES), title=None),
            tooltip=["label:N", f"{column}:Q", alt.Tooltip("rmse_m:Q", format=".1f")],
        ),
        *(
            alt.Chart(pd.DataFrame([row]))
            .mark_text(align="right" if row[column] > middle else "left", dy=dy, fontSize=11)
            .encode(x=x, y=y, text="label:N")
            for row, dy in ((best, 14), (cheapest, -12))[: 1 + (cheapest is not best)]
        ),
        mean_predictor_rule(mean_rmse_m),
    )
    title = f"The best cell takes {best[column]:,.0f} {unit}; no cheaper one is known to be as good"
    if cheapest is not best:
        share = 100 * cheapest[column] / best[column]
        title = (
            f"{cheapest['label']} takes {share:.0f} % of the best cell's {column} and cannot be "
            "told apart from it"
        )
    caption = "One mark a cell (mean over seeds); the dotted line joins those that none beats."
    each = listed(
        [
            f"{r['label']} {r[column]:,.0f} {unit} {metres(r['rmse_m'])}"
            for r in front.to_dict("records")
        ]
    )
    return Figure(
        f"cost_{column}", title, caption, f"Cost against RMSE. Best at their cost: {each}.", chart
    )
