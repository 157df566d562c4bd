"""Draw the errors of one cell photo by photo: their distribution, and what they depend on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis.photos import MIN_GROUP_SPOTS, Groups, by_group
from img2gps.report.figures.base import (
    COLOURS,
    DASHES,
    MOST_LINES,
    Figure,
    coloured,
    dashed,
    floor_mark,
    histogram,
    layered,
    listed,
    mean_predictor_rule,
    metres,
    round_edges,
)

MOST_POINTS = 2000  # photos in one figure; more would make the page slow
SURE = 0.01  # p below which a difference is claimed: a report has three such figures
_COMPASS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
_NEAREST_M = (0, 2, 5, 10, 20, 50, 100)


def distribution(photos: pd.DataFrame, seeds: int = 1) -> Figure:
    """Draw histogram and cumulative curve of the error beside the mean predictor's.

    photos: `error_m`, `mean_error_m`, one row for each photo and seed.
    """
    error, of_mean = photos["error_m"].to_numpy(), photos["mean_error_m"].to_numpy()
    median, p90 = np.percentile(error, [50, 90])
    mean_median, mean_p90 = np.percentile(of_mean, [50, 90])
    title = (
        f"Half of the photos are placed within {metres(median)}, nine in ten within {metres(p90)}; "
        f"the mean predictor: {metres(mean_median)} and {metres(mean_p90)}"
    )
    caption = (
        f"{len(photos) // seeds} validation photos{_of_seeds(seeds)}. Bars and solid line: the "
        "winner; dashed: the mean predictor."
    )
    chart = alt.hconcat(_histogram(error, of_mean, seeds), _cumulative(error, of_mean))
    text = f"Histogram and cumulative curve of the error. {title}."
    return Figure("distribution", title, caption, text, chart)


def _of_seeds(seeds: int) -> str:
    return f", mean over {seeds} seeds" if seeds > 1 else ""


def _histogram(
    error: NDArray[np.float64], of_mean: NDArray[np.float64], seeds: int
) -> alt.LayerChart:
    edges = round_edges(float(max(error.max(), of_mean.max())))
    counts = np.histogram(of_mean, edges)[0] / seeds
    step = alt.Chart(pd.DataFrame({"x": edges, "y": [*counts, counts[-1]]}))
    return layered(
        histogram(error, edges, "error (m)", seeds).properties(width=340, height=250),
        step.mark_line(
            interpolate="step-after", color=COLOURS[1], strokeWidth=2, strokeDash=DASHES[1]
        ).encode(x="x:Q", y="y:Q"),
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
            color=coloured("who", names, marks=False),
            strokeDash=dashed("who", names),
        )
    )
    return chart


def profiles(table: pd.DataFrame) -> Figure | None:
    """Draw the share of photos that the lowest cells place within so many metres, with bands.

    table: `label, half_m, at_m, share, low, high`, the lowest cell first and the mean predictor
    last. None with fewer than two cells, which `distribution` shows.
    """
    *cells, mean = dict.fromkeys(table["label"])
    if len(cells) < 2:
        return None
    names = [*cells[: MOST_LINES - 1], mean]
    base = alt.Chart(table[table["label"].isin(names)], width=560, height=320).encode(
        x=alt.X("at_m:Q", title="error (m)", scale=alt.Scale(nice=False)),
        color=coloured("label", names, "cell"),
    )
    banded = alt.FieldOneOfPredicate(field="label", oneOf=[names[0], mean])
    share = alt.Tooltip("share:Q", format=".0%")
    axis = alt.Axis(format="%")
    chart = layered(
        base.transform_filter(banded)
        .mark_area(opacity=0.16)
        .encode(y=alt.Y("low:Q", title="photos within this error", axis=axis), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(
            y=alt.Y("share:Q", title="photos within this error", axis=axis),
            strokeDash=dashed("label", names, "cell"),
            tooltip=["label:N", alt.Tooltip("at_m:Q", format=".0f"), share],
        ),
    )
    caption = (
        "Bands, of the lowest cell and of the mean predictor, hold the whole profile with 95 % "
        "confidence, over other spots; the seeds' luck is not in them. profiles.csv has the "
        f"profiles and bands of all {len(cells)} cells."
    )
    if table["low"].isna().all():
        caption = (
            "There are no bands, because all photos are of one spot. profiles.csv has the profiles "
            f"of all {len(cells)} cells."
        )
    half = table.drop_duplicates("label").set_index("label")["half_m"]
    each = listed([f"{name} {metres(half[name])}" for name in names])
    title = (
        f"The lowest cell places half of the photos within {metres(half[names[0]])}, the mean "
        f"predictor within {metres(half[mean])}"
    )
    text = f"Share of photos within so many metres. Half of the photos are within: {each}."
    return Figure("profiles", title, caption, text, chart)


class _Words(NamedTuple):
    """The file name of a figure, the name of its axis, and the words before the name of a group."""

    name: str
    axis: str
    photos: str


def by_heading(
    photos: pd.DataFrame, *, mean_rmse_m: float, floor_m: float = math.nan
) -> Figure | None:
    """Draw the error in eight sectors of the camera's heading, or in four if photos are few.

    None where fewer than two sectors have enough spots.
    """
    known = photos[photos["heading_deg"].notna()]
    names = _COMPASS if len(known) >= 20 * len(_COMPASS) else _COMPASS[::2]
    wide = 360 / len(names)
    sector = ((known["heading_deg"] + wide / 2) % 360 // wide).astype(int)
    words = _Words("error_by_heading", "camera heading", "facing")
    groups = known.assign(group=sector.map(dict(enumerate(names))))
    return _grouped(groups, names, words, (mean_rmse_m, floor_m))


def by_hour(
    photos: pd.DataFrame, *, mean_rmse_m: float, floor_m: float = math.nan
) -> Figure | None:
    """Draw the error by time of day in steps of two hours; None as in `by_heading`.

    Hours are of the photo's own clock, not UTC, because light and shadows depend on them.
    """
    hour = photos["taken_at"].astype(str).str.extract(r"T(\d\d):", expand=False).astype(float)
    order = [f"{h:02d}-{h + 2:02d} h" for h in range(0, 24, 2)]
    step = (hour.dropna() // 2).astype(int).map(dict(enumerate(order)))
    words = _Words("error_by_hour", "time of day", "taken at")
    return _grouped(photos[hour.notna()].assign(group=step), order, words, (mean_rmse_m, floor_m))


def by_nearest(
    photos: pd.DataFrame, *, mean_rmse_m: float, floor_m: float = math.nan
) -> Figure | None:
    """Draw the error by distance to the nearest training photo; None as in `by_heading`."""
    known = photos[photos["nearest_train_m"].notna()]
    order = [f"{a}-{b} m" for a, b in itertools.pairwise(_NEAREST_M)] + [f"over {_NEAREST_M[-1]} m"]
    index = np.digitize(known["nearest_train_m"], _NEAREST_M[1:], right=True)
    groups = known.assign(group=np.array(order, dtype=object)[index])
    axis = "distance to the nearest training photo"
    words = _Words("error_by_nearest", axis, "with the nearest training photo at")
    return _grouped(groups, order, words, (mean_rmse_m, floor_m))


def _grouped(
    photos: pd.DataFrame, order: Sequence[str], words: _Words, known: tuple[float, float]
) -> Figure | None:
    """Draw errors by `group` of photos; None where there are not two that can be compared.

    known: RMSE of the mean predictor and of a perfect answer.
    """
    mean_rmse_m, floor_m = known
    found = by_group(photos[["group", "spot", "error_m"]])
    if found is None:
        return None
    present = [group for group in order if group in set(photos["group"])]
    drawn = photos.sample(min(len(photos), MOST_POINTS), random_state=0)
    marks = _group_marks(drawn, found, present, words)
    chart = layered(*marks, mean_predictor_rule(mean_rmse_m), *floor_mark(floor_m, 0.0))
    caption = (
        f"Circles: errors of the winner on {len(drawn)} of {len(photos)} photos. Diamonds: RMSE "
        f"with its 95 % interval over spots (none below {MIN_GROUP_SPOTS} spots). "
        f"Kruskal-Wallis test over spots: p = {found.p:.2g}; a difference is claimed below {SURE}."
    )
    each = listed(
        [
            f"{row['group']} {metres(row['rmse_m'])} ({row['photos']} photos)"
            for row in found.table.to_dict("records")
        ]
    )
    text = f"Error by {words.axis}. RMSE {each}."
    return Figure(words.name, _group_title(found, words, len(photos)), caption, text, chart)


def _group_marks(
    photos: pd.DataFrame, found: Groups, present: Sequence[str], words: _Words
) -> tuple[alt.Chart, ...]:
    x = alt.X("group:O", sort=list(present), title=words.axis, axis=alt.Axis(labelAngle=0))
    figures = ["group:O", "photos:Q", "spots:Q", alt.Tooltip("rmse_m:Q", format=".1f")]
    shown = photos[["photo", "group", "error_m"]]
    counts = found.table.assign(n=[f"n = {n}" for n in found.table["photos"]])
    tested = alt.Chart(found.tested)
    return (
        alt.Chart(shown, width=max(380, min(620, 80 * len(present))), height=280)
        .mark_point(size=22, opacity=0.5, color=COLOURS[0])
        .encode(
            x=x,
            y=alt.Y("error_m:Q", title="error (m)"),
            tooltip=["photo:N", alt.Tooltip("error_m:Q", format=".1f")],
        ),
        tested.mark_rule(color=COLOURS[1], strokeWidth=3).encode(x=x, y="low_m:Q", y2="high_m:Q"),
        tested.mark_point(
            shape="diamond", filled=True, size=110, color=COLOURS[1], opacity=1
        ).encode(x=x, y="rmse_m:Q", tooltip=figures),
        alt.Chart(counts).mark_text(dy=-8, fontSize=11).encode(x=x, y=alt.value(0), text="n:N"),
    )


def _group_title(found: Groups, words: _Words, n: int) -> str:
    if found.p > SURE:
        return f"These {n} photos show no difference by {words.axis}"
    ranked = found.tested.sort_values("rmse_m").to_dict("records")
    best, worst = ranked[0], ranked[-1]
    return (
        f"Photos {words.photos} {worst['group']} are worst, {metres(worst['rmse_m'])}; "
        f"best {best['group']}, {metres(best['rmse_m'])}"
    )
