"""Draw RMSE against epochs, the number of training photos, a knob, or the cost of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import altair as alt
import pandas as pd

from img2gps.analysis.stats import Interval
from img2gps.report.figures.base import (
    INK,
    MOST_LINES,
    ONE_DECIMAL,
    Figure,
    ceiling_m,
    coloured,
    cut_said,
    dashed,
    floor_mark,
    in_order,
    layered,
    listed,
    mean_predictor_rule,
    metres,
    rmse_axis,
    shaped,
    yes,
)

NEAR_MEAN = 0.95  # share of the mean predictor's RMSE above which a curve counts as near it
LESS = 0.75  # share of a cost below which it is clearly less; 1 / LESS is a third more


def epochs(
    history: pd.DataFrame,
    *,
    name: str,
    legend: str,
    mean_rmse_m: float,
    floor_m: float = math.nan,
    held: str = "",
    order: Sequence[str] | None = None,
) -> Figure:
    """Draw training loss and validation RMSE against epochs, with a band from run to run.

    At most six lines are drawn; the caption says how many there are. Title and text compare only
    lines whose runs have all finished.

    Args:
        history: one row a run and epoch with `label` (one line each), `seed`, `fold` (one value
            where there are none), `finished`, `epoch`, `train_mse` and `rmse_m`.
        name: file name of the figure.
        legend: what the labels are.
        mean_rmse_m: RMSE of the mean predictor; NaN while no run has finished.
        floor_m: RMSE of a perfect answer; NaN where it is not known.
        held: what all lines share.
        order: order of the labels; that of `in_order` if None.
    """
    lines = _Lines.of(history, order)
    ceiling = ceiling_m(mean_rmse_m)
    loss = _panel(lines, "train_mse", "training loss (MSE of scaled labels)", legend, math.inf)
    rmse = _panel(lines, "rmse_m", "validation RMSE (m)", legend, ceiling)
    if math.isfinite(mean_rmse_m):
        lowest = float(lines.band["rmse_m_min"].min())
        rmse = layered(rmse, mean_predictor_rule(mean_rmse_m), *floor_mark(floor_m, lowest))
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
        labels: labels of the drawn lines, in the order of the legend.
        count: number of lines, those that are not drawn included.
        shown: rows of the drawn lines.
        band: mean, lowest and highest run by label and epoch.
        final: mean RMSE after the last epoch, by label.
        ended: the part of `final` whose runs have all finished.
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
        # A run under way would bend the mean of those that have finished where it ends.
        begun = ~shown.groupby("label")["finished"].transform("any")
        shown = shown[shown["finished"] | begun]
        rules = {
            f"{c}_{f}": (c, f) for c in ("train_mse", "rmse_m") for f in ("mean", "min", "max")
        }
        band = shown.groupby(["label", "epoch"]).agg(**rules).reset_index()
        final = final.reindex(labels).dropna()
        whole = by_label["finished"].all()
        return cls(labels, count, shown, band, final, final[whole.reindex(final.index)])


def _band_said(shown: pd.DataFrame) -> str:
    """Say which runs the lines and bands show."""
    counts = shown.groupby("label")[["seed", "fold"]].nunique()
    seeds, folds = (int(counts[column].max()) if len(counts) else 0 for column in counts)
    if folds > 1:
        runs = f"{folds} folds" if seeds < 2 else f"{seeds} seeds and {folds} folds"
        return f"Lines: mean over {runs}; bands: from the lowest to the highest of these runs."
    if seeds > 1:
        return f"Lines: mean over {seeds} seeds; bands: from the lowest to the highest seed."
    return "Each line is one seed; the difference to another seed is unknown."


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
        color=coloured("label", labels, legend),
    )
    line = base.mark_line(strokeWidth=2, clip=True).encode(
        y=alt.Y(f"{column}_mean:Q", title=axis + (", log scale" if wide else ""), scale=scale),
        strokeDash=dashed("label", labels, legend),
    )
    point = base.mark_point(size=28, filled=True, opacity=1, clip=True).encode(
        y=f"{column}_mean:Q",
        shape=shaped("label", labels, legend),
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
    points: pd.DataFrame,
    *,
    mean_rmse_m: float,
    floor_m: float = math.nan,
    last_step: Interval | None = None,
) -> Figure:
    """Draw validation RMSE against the number of training photos, to see if more would help.

    The number of photos has a log axis, on which each doubling is equally wide.

    Args:
        points: one row a cell with `label`, `n_train`, `rmse_m` and its interval `low_m`, `high_m`
            (which may be missing).
        mean_rmse_m: RMSE of the mean predictor.
        floor_m: RMSE of a perfect answer; NaN where it is not known.
        last_step: gain of the lowest line over its last step, paired by photo.
    """
    labels = in_order(list(points["label"]))
    x = alt.X(
        "n_train:Q",
        title="training photos (log scale)",
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=alt.Axis(values=sorted({int(n) for n in points["n_train"]}), format="d"),
    )
    base = alt.Chart(points, width=560, height=300).encode(x=x, color=coloured("label", labels))
    chart = layered(
        base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=rmse_axis("low_m"), y2="high_m:Q"),
        *_line_and_points(base, "label", labels, ["label:N", "n_train:Q", ONE_DECIMAL]),
        mean_predictor_rule(mean_rmse_m),
        *floor_mark(floor_m, float(points["rmse_m"].min())),
    )
    ranked = points.sort_values(["label", "n_train"]).to_dict("records")
    each = listed([f"{r['label']} {r['n_train']:.0f} photos {metres(r['rmse_m'])}" for r in ranked])
    caption = (
        "Smaller training parts are subsets of the larger ones, and all cells share one validation "
        "part. Bars: 95 % intervals."
    )
    title = _gain_said(lowest_line(points), last_step)
    return Figure("learning_curve", title, caption, f"Learning curve. RMSE: {each}.", chart)


def _line_and_points(
    base: alt.Chart, field: str, labels: Sequence[str], tooltip: list[str | alt.Tooltip]
) -> tuple[alt.Chart, alt.Chart]:
    """Return a line for each label, and its cells as points."""
    y = rmse_axis("rmse_m")
    return (
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dashed(field, labels)),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            y=y, shape=shaped(field, labels), tooltip=tooltip
        ),
    )


def lowest_line(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the line that reaches the lowest RMSE, the fewest photos first."""
    best: str = points.sort_values("rmse_m")["label"].iloc[0]
    line: pd.DataFrame = points[points["label"] == best]
    return line.sort_values("n_train")


def _gain_said(line: pd.DataFrame, last_step: Interval | None) -> str:
    """Say whether a line still falls at its last step."""
    name = line["label"].iloc[0]
    if len(line) < 2:
        return f"{name} was trained on one number of photos only"
    before, after = line.tail(2).to_dict("records")
    gain = before["rmse_m"] - after["rmse_m"]
    step = f"from {before['n_train']:.0f} to {after['n_train']:.0f} photos"
    if gain <= 0:
        return f"More photos {step} did not help {name}"
    if last_step is not None and last_step.low > 0:  # NaN where there is no interval
        return f"{name} gains {metres(gain)} {step} and still improves: take more photos"
    return f"{name} gains {metres(gain)} {step}, which may be chance"


def lines(
    points: pd.DataFrame, *, name: str, axis: str, mean_rmse_m: float, floor_m: float = math.nan
) -> Figure:
    """Draw validation RMSE against a knob, with a panel for all else that varies.

    Args:
        points: one row a cell with `line`, `panel`, `x`, `rmse_m` and `start`, which is true for
            the cells that all lines of a panel share.
        name: file name of the figure.
        axis: name of the knob.
        mean_rmse_m: RMSE of the mean predictor.
        floor_m: RMSE of a perfect answer; NaN where it is not known.
    """
    names, panels = in_order(list(points["line"])), list(dict.fromkeys(points["panel"]))
    wide = points["x"].min() > 0
    x = alt.X(
        "x:Q",
        title=f"{axis} (log scale)" if wide else axis,
        scale=alt.Scale(type="log" if wide else "linear", nice=False, padding=14),
        axis=alt.Axis(values=sorted(set(points["x"])), format="~g"),
    )
    drawn = []
    for panel in panels:
        own = points[points["panel"] == panel]
        base = alt.Chart(own, title=panel, width=270, height=220)
        base = base.encode(x=x, color=coloured("line", names))
        marks = _line_and_points(base, "line", names, ["line:N", "x:Q", ONE_DECIMAL])
        floor = floor_mark(floor_m, float(points["rmse_m"].min()))
        drawn.append(layered(*marks, mean_predictor_rule(mean_rmse_m), *floor))
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
    caption = "Each point is a cell (mean over seeds)."
    if points["start"].any():
        caption += " All lines of a panel share the cell from which they start."
    caption += " The command img2gps contrast tests whether two lines differ."
    text = f"RMSE against {axis}, one line each. Means where all lines have a cell: {each}."
    return Figure(name, title, caption, text, chart)


def _means_where_all_are(points: pd.DataFrame, n_lines: int) -> pd.DataFrame:
    """Return each line's mean in each panel over the values of x that every line has."""
    own = points[~points["start"]]
    common = own.groupby(["panel", "x"])["line"].transform("nunique") == n_lines
    return own[common].pivot_table("rmse_m", "panel", "line", sort=False)


def cost(
    cells: pd.DataFrame,
    *,
    mean_rmse_m: float,
    floor_m: float = math.nan,
    column: str = "seconds",
) -> Figure:
    """Draw the RMSE of each cell against the cost of its runs.

    Args:
        cells: one row a cell with `label`, `group` (drawn by colour and shape), `rmse_m`,
            `seconds`, `epochs` (means over seeds) and `in_best_set` (bool or missing).
        mean_rmse_m: RMSE of the mean predictor.
        floor_m: RMSE of a perfect answer; NaN where it is not known.
        column: the cost, "seconds" or "epochs".
    """
    unit, groups = f"{column} a run", in_order(list(cells["group"]))
    front = cells.sort_values([column, "rmse_m"])
    front = front[front["rmse_m"] <= front["rmse_m"].cummin()].drop_duplicates("rmse_m")
    best = front.to_dict("records")[-1]
    as_good = front[yes(front["in_best_set"]) & (front[column] <= LESS * best[column])]
    cheaper = as_good.to_dict("records")[:1]
    middle = (cells[column].min() + cells[column].max()) / 2
    room = 0.06 * float(cells[column].max() - cells[column].min())  # for marks at the ends
    ends = [max(0.0, float(cells[column].min()) - room), float(cells[column].max()) + room]
    x = alt.X(f"{column}:Q", title=unit, scale=alt.Scale(zero=False, domain=ends))
    y = rmse_axis("rmse_m", padding=28)
    chart = layered(
        alt.Chart(front, width=560, height=320)
        .mark_line(interpolate="step-after", color=INK, strokeDash=[2, 2], strokeWidth=1)
        .encode(x=x, y=y),
        alt.Chart(cells)
        .mark_point(size=70, filled=True, opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=coloured("group", groups),
            shape=shaped("group", groups),
            tooltip=["label:N", f"{column}:Q", ONE_DECIMAL],
        ),
        *(
            alt.Chart(pd.DataFrame([row]))
            .mark_text(align="right" if row[column] > middle else "left", dy=dy, fontSize=11)
            .encode(x=x, y=y, text="label:N")
            for row, dy in zip([best, *cheaper], (14, -12), strict=False)
        ),
        mean_predictor_rule(mean_rmse_m),
        *floor_mark(floor_m, float(cells["rmse_m"].min())),
    )
    title = (
        f"The best cell takes {best[column]:,.0f} {unit}; no much cheaper one is known to be as "
        "good"
    )
    if cheaper:
        share = cheaper[0][column] / best[column]
        title = (
            f"{cheaper[0]['label']} takes {share:.0%} of the best cell's {column} and cannot be "
            "told apart from it"
        )
    caption = (
        "Each mark is a cell (mean over seeds). The dotted line joins the cells that no cheaper "
        "cell beats."
    )
    rows = front.to_dict("records")
    each = listed([f"{r['label']} {r[column]:,.0f} {unit} {metres(r['rmse_m'])}" for r in rows])
    text = f"Cost against RMSE. Cells that no cheaper one beats: {each}."
    return Figure(f"cost_{column}", title, caption, text, chart)
