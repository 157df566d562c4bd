"""Errors of one cell photo by photo: their distribution, and what they go with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats
from img2gps.report.figures.base import (
    COLOURS,
    Figure,
    layered,
    listed,
    mean_predictor_rule,
    metres,
)

FEW = 8  # spots in a bin below which it has no interval
SURE = 0.01  # p below which a difference is claimed; three such figures are looked at
_COMPASS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
_NEAREST_M = (0, 2, 5, 10, 20, 50, 100)
_MEANS = frozenset({"error_m", "east_m", "north_m", "pred_lat_deg", "pred_lon_deg"})


def of_photos(predictions: pd.DataFrame) -> pd.DataFrame:
    """Average the predictions of all seeds of a cell: one row a photo.

    `error_m` becomes the root of the mean squared error over the seeds; error east and north and
    the predicted position become means; all else is the same for every seed.
    """
    frame = predictions.assign(error_m=predictions["error_m"] ** 2)
    rules = {c: "mean" if c in _MEANS else "first" for c in frame.columns if c != "photo"}
    photos = frame.groupby("photo", sort=False).agg(rules).reset_index()
    return photos.assign(error_m=np.sqrt(photos["error_m"]))


def distribution(photos: pd.DataFrame) -> Figure:
    """Draw histogram and cumulative curve of the error beside the mean predictor's.

    photos: `error_m`, `mean_error_m`.
    """
    error, of_mean = photos["error_m"].to_numpy(), photos["mean_error_m"].to_numpy()
    median, p90 = np.percentile(error, [50, 90])
    mean_median, mean_p90 = np.percentile(of_mean, [50, 90])
    title = (
        f"Half of the photos are placed within {metres(median)}, nine in ten within {metres(p90)}; "
        f"the mean predictor: {metres(mean_median)} and {metres(mean_p90)}"
    )
    caption = (
        f"{len(photos)} validation photos. Bars and solid line: the winner; dashed: the mean "
        "predictor."
    )
    chart = alt.hconcat(_histogram(error, of_mean), _cumulative(error, of_mean))
    text = f"Histogram and cumulative curve of the error. {title}."
    return Figure("distribution", title, caption, text, chart)


def _histogram(error: NDArray[np.float64], of_mean: NDArray[np.float64]) -> alt.LayerChart:
    edges = _edges(float(max(error.max(), of_mean.max())))
    counts, mean_counts = np.histogram(error, edges)[0], np.histogram(of_mean, edges)[0]
    bars = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "model": counts, "mean": mean_counts})
    step = pd.DataFrame({"x": edges, "y": [*mean_counts, mean_counts[-1]]})
    x = alt.X(
        "from:Q",
        title="error (m)",
        scale=alt.Scale(domain=[0, float(edges[-1])], nice=False),
        axis=alt.Axis(grid=False, format="d", labelFlush=False),
    )
    tooltip = ["from:Q", "to:Q", "model:Q", alt.Tooltip("mean:Q", title="mean predictor")]
    return layered(
        alt.Chart(bars, width=340, height=250)
        .mark_rect(color=COLOURS[0], opacity=0.75, stroke="white", strokeWidth=0.5)
        .encode(
            x=x, x2="to:Q", y=alt.Y("model:Q", title="photos"), y2=alt.value(250), tooltip=tooltip
        ),
        alt.Chart(step)
        .mark_line(interpolate="step-after", color=COLOURS[1], strokeWidth=2, strokeDash=[5, 3])
        .encode(x="x:Q", y="y:Q"),
    )


def _cumulative(error: NDArray[np.float64], of_mean: NDArray[np.float64]) -> alt.Chart:
    names = ["the winner", "mean predictor"]
    share = np.arange(1, len(error) + 1) / len(error)
    both = pd.concat(
        [
            pd.DataFrame({"who": who, "error_m": [0.0, *np.sort(values)], "share": [0.0, *share]})
            for who, values in zip(names, (error, of_mean), strict=True)
        ]
    )
    chart: alt.Chart = (
        alt.Chart(both, width=340, height=250)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("error_m:Q", title="error (m)", axis=alt.Axis(format="d", labelFlush=False)),
            y=alt.Y("share:Q", title="photos within this error", axis=alt.Axis(format="%")),
            color=alt.Color(
                "who:N",
                scale=alt.Scale(domain=names, range=COLOURS[:2]),
                title=None,
                legend=alt.Legend(orient="top"),
            ),
            strokeDash=alt.StrokeDash(
                "who:N", scale=alt.Scale(domain=names, range=[[1, 0], [5, 3]]), title=None
            ),
        )
    )
    return chart


def _edges(top: float, bins: int = 14) -> NDArray[np.float64]:
    """Bin edges at round numbers from 0 to at least `top`."""
    raw = max(top, 1e-3) / bins
    magnitude = 10.0 ** np.floor(np.log10(raw))
    width = magnitude * min(m for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    edges: NDArray[np.float64] = np.arange(int(np.ceil(top / width)) + 1) * width
    return edges


def by_heading(photos: pd.DataFrame, *, mean_rmse_m: float) -> Figure | None:
    """Draw the error in eight sectors of the camera's heading (four if photos are few).

    None if fewer than two have `FEW` spots.
    """
    known = photos[photos["heading_deg"].notna()]
    names = _COMPASS if len(known) >= 20 * len(_COMPASS) else _COMPASS[::2]
    wide = 360 / len(names)
    sector = ((known["heading_deg"] + wide / 2) % 360 // wide).astype(int)
    return _binned(
        known,
        sector.map(dict(enumerate(names))),
        names,
        name="error_by_heading",
        axis="camera heading",
        what="facing",
        mean_rmse_m=mean_rmse_m,
    )


def by_hour(photos: pd.DataFrame, *, mean_rmse_m: float) -> Figure | None:
    """Draw the error by time of day in steps of two hours; None as above.

    The clock as the photo has it, not UTC: light and shadows are what matters.
    """
    hour = photos["taken_at"].astype(str).str.extract(r"T(\d\d):", expand=False).astype(float)
    order = [f"{h:02d}-{h + 2:02d} h" for h in range(0, 24, 2)]
    known = hour.notna()
    return _binned(
        photos[known],
        (hour[known] // 2).astype(int).map(dict(enumerate(order))),
        order,
        name="error_by_hour",
        axis="time of day",
        what="taken at",
        mean_rmse_m=mean_rmse_m,
    )


def by_nearest(photos: pd.DataFrame, *, mean_rmse_m: float) -> Figure | None:
    """Draw the error by distance to the nearest training photo; None as above."""
    known = photos[photos["nearest_train_m"].notna()]
    names = [f"{a}-{b} m" for a, b in itertools.pairwise(_NEAREST_M)] + [f"over {_NEAREST_M[-1]} m"]
    index = np.digitize(known["nearest_train_m"], _NEAREST_M[1:], right=True)
    return _binned(
        known,
        pd.Series([names[i] for i in index], index=known.index, dtype=object),
        names,
        name="error_by_nearest",
        axis="distance to the nearest training photo",
        what="with the nearest training photo at",
        mean_rmse_m=mean_rmse_m,
    )


def _binned(
    photos: pd.DataFrame,
    label: pd.Series[str],
    order: Sequence[str],
    *,
    name: str,
    axis: str,
    what: str,
    mean_rmse_m: float,
) -> Figure | None:
    if photos.empty:
        return None
    shown = photos[["photo", "spot", "error_m"]].assign(bin=label)
    bins = pd.DataFrame(
        [
            {
                "bin": group,
                "photos": len(part),
                "spots": part["spot"].nunique(),
                "rmse_m": float(np.sqrt((part["error_m"] ** 2).mean())),
                **_interval(part),
            }
            for group, part in shown.groupby("bin")
        ]
    )
    bins["n"] = [f"n = {n}" for n in bins["photos"]]
    sure = bins[bins["spots"] >= FEW]
    if len(sure) < 2:
        return None
    present = [b for b in order if b in set(bins["bin"])]
    x = alt.X("bin:O", sort=present, title=axis, axis=alt.Axis(labelAngle=0))
    figures = ["bin:O", "photos:Q", "spots:Q", alt.Tooltip("rmse_m:Q", format=".1f")]
    chart = layered(
        alt.Chart(shown, width=max(380, min(620, 80 * len(present))), height=280)
        .mark_point(size=22, opacity=0.5, color=COLOURS[0])
        .encode(
            x=x,
            y=alt.Y("error_m:Q", title="error (m)"),
            tooltip=["photo:N", alt.Tooltip("error_m:Q", format=".1f")],
        ),
        alt.Chart(sure)
        .mark_rule(color=COLOURS[1], strokeWidth=3)
        .encode(x=x, y="low_m:Q", y2="high_m:Q"),
        alt.Chart(sure)
        .mark_point(shape="diamond", filled=True, size=110, color=COLOURS[1], opacity=1)
        .encode(x=x, y="rmse_m:Q", tooltip=figures),
        alt.Chart(bins).mark_text(dy=-8, fontSize=11).encode(x=x, y=alt.value(0), text="n:N"),
        mean_predictor_rule(mean_rmse_m),
    )
    p = _p_value(shown[shown["bin"].isin(set(sure["bin"]))])
    caption = (
        f"Circles: the winner's {len(photos)} photos; diamonds: RMSE with its 95 % interval over "
        f"spots (none below {FEW} spots)."
    )
    caption += f" Kruskal-Wallis test over spots: p = {p:.2g}."
    records = bins.to_dict("records")
    each = listed([f"{r['bin']} {metres(r['rmse_m'])} ({r['photos']} photos)" for r in records])
    title = _difference_said(sure, p, len(photos), what, axis)
    return Figure(name, title, caption, f"Error against {axis}. RMSE {each}.", chart)


def _p_value(shown: pd.DataFrame) -> float:
    """Test whether bins differ; a spot counts once in a bin, since its photos are alike."""
    per_spot = shown.groupby(["bin", "spot"])["error_m"].mean()
    samples = [part.to_numpy() for _, part in per_spot.groupby(level="bin")]
    return float(scipy_stats.kruskal(*samples).pvalue)


def _difference_said(bins: pd.DataFrame, p: float, n: int, what: str, axis: str) -> str:
    if p > SURE:
        return f"No difference by {axis} is shown by these {n} photos"
    ranked = bins.sort_values("rmse_m").to_dict("records")
    best, worst = ranked[0], ranked[-1]
    return (
        f"Photos {what} {worst['bin']} are worst, {metres(worst['rmse_m'])}; "
        f"best {best['bin']}, {metres(best['rmse_m'])}"
    )


def _interval(part: pd.DataFrame) -> dict[str, float]:
    if part["spot"].nunique() < FEW:
        return {"low_m": math.nan, "high_m": math.nan}
    found = stats.cell_interval(part[["error_m"]].to_numpy().T, part["spot"].to_numpy())
    return {"low_m": found.low, "high_m": found.high}
