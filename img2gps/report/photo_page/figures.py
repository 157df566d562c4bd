"""Draw the figures of the page about photos; each title states what the figure shows."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from img2gps.core import geo
from img2gps.photos.facts import Facts, Leak
from img2gps.report.figures.base import (
    COLOURS,
    INK,
    Figure,
    coloured,
    dashed,
    histogram,
    layered,
    metres,
    round_edges,
)
from img2gps.report.figures.maps import equal_axes

MOST_POINTS = 4000  # more would make the page slow; rows are in random order, so a head is a sample
MOST_COLOURS = 6
SECTORS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
_WIDE, _HIGH = 520, 200
_METRE_TICKS = [0, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 1e4, 1e5, 1e6, 1e7]
_HEADING_LENGTH = 0.035  # of the longer side of the map
_SHORT_VISIT_MINUTES = 180  # photos of a shorter time are counted in steps of ten minutes


def all_figures(manifest: pd.DataFrame, facts: Facts) -> list[Figure]:
    """Return the figures for which the photos have enough data."""
    made = [
        positions(manifest, facts),
        spots(manifest, facts),
        headings(manifest),
        hours(manifest),
        gps_errors(manifest),
        leakage(facts.leaks),
    ]
    return [figure for figure in made if figure is not None]


def _near(manifest: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """Return the photos that are no far outliers, with metres east and north of their mean."""
    near = manifest.assign(spot=facts.spots)[~facts.far]
    lat0, lon0 = geo.mean_position(near["lat_deg"], near["lon_deg"])
    east, north = geo.to_east_north_m(near["lat_deg"], near["lon_deg"], lat0, lon0)
    return near.assign(east=east, north=north)


def positions(manifest: pd.DataFrame, facts: Facts) -> Figure:
    """Draw a map of the photos, coloured by session, with a line in the direction of each lens."""
    near = _near(manifest, facts)
    shown = near.head(MOST_POINTS)
    x, y, width, height = equal_axes(shown["east"].to_numpy(), shown["north"].to_numpy())
    length = _HEADING_LENGTH * max(np.ptp(shown["east"]), np.ptp(shown["north"]), 1.0)
    angle = np.radians(shown["heading_deg"])
    shown = shown.assign(
        to_east=shown["east"] + length * np.sin(angle),
        to_north=shown["north"] + length * np.cos(angle),
    )[["photo", "east", "north", "to_east", "to_north", "heading_deg", "session", "taken_at"]]
    names = sorted(set(shown["session"]) - {""})
    colour: alt.Color | alt.ColorValue = alt.value(COLOURS[0])  # type: ignore[assignment]  # typed as a dict
    if 1 < len(names) <= MOST_COLOURS:
        shown = shown.assign(session=shown["session"].replace("", "unknown"))
        names += ["unknown"] if (shown["session"] == "unknown").any() else []
        colour = coloured("session", names, "session")
    base = alt.Chart(shown, width=width, height=height).encode(x=x, y=y, color=colour)
    chart = layered(
        base.transform_filter("isValid(datum.heading_deg)")
        .mark_rule(strokeWidth=1.2, opacity=0.75)
        .encode(x2="to_east:Q", y2="to_north:Q"),
        base.mark_circle(size=26, opacity=0.75).encode(
            tooltip=["photo:N", "taken_at:N", alt.Tooltip("heading_deg:Q", format=".0f")]
        ),
    )
    east, north = facts.extent_m
    known = int(manifest["heading_deg"].notna().sum())
    title = f"{len(near)} photos cover an area of {east:,.0f} m by {north:,.0f} m"
    caption = "Axes: metres from the mean position."
    if known:
        caption += (
            f" Lines point where the camera looked, for the {known} of {len(manifest)} photos that "
            "have a heading."
        )
    if len(near) > len(shown):
        caption += f" A random sample of {len(shown)} photos is drawn."
    if facts.far.any():
        caption += f" Not drawn because they are far from the others: {int(facts.far.sum())}."
    return Figure("map", title, caption, f"Map of the photos. {title}.", chart)


def spots(manifest: pd.DataFrame, facts: Facts) -> Figure:
    """Draw a map of the spots, sized by the number of photos taken there."""
    near = _near(manifest, facts)
    table = near.groupby("spot").agg(
        east=("east", "mean"), north=("north", "mean"), photos=("photo", "size")
    )
    busiest, single = int(table["photos"].max()), int((table["photos"] == 1).sum())
    x, y, width, height = equal_axes(table["east"].to_numpy(), table["north"].to_numpy())
    size = alt.Size(
        "photos:Q",
        scale=alt.Scale(range=[12, 500], domain=[1, max(busiest, 2)]),
        legend=alt.Legend(values=_sizes(busiest), format="d", symbolOpacity=0.5),
    )
    chart = (
        alt.Chart(table.reset_index(), width=width, height=height)
        .mark_circle(opacity=0.5, color=COLOURS[0], stroke=INK, strokeWidth=0.6)
        .encode(x=x, y=y, size=size, tooltip=["photos:Q"])
    )
    title = f"{len(table)} spots; {single} have a single photo, and the busiest has {busiest}"
    caption = (
        f"A spot is a group of photos whose labels lie within {metres(facts.spot_radius_m)} of its "
        "centre; these labels cannot tell places apart at a shorter distance. A larger circle "
        "stands for more photos."
    )
    return Figure("spots", title, caption, f"Map of the spots. {title}.", chart)


def _sizes(busiest: int) -> list[int]:
    """Return at most four different numbers of photos for the legend, from 1 to the largest."""
    return sorted({round(n) for n in np.linspace(1, busiest, 4)})


def headings(manifest: pd.DataFrame) -> Figure | None:
    """Draw how many photos look in each of eight directions; None if all look in the same one."""
    known = manifest["heading_deg"].dropna().to_numpy()
    sector = np.round(known / 45).astype(int) % 8
    if len(set(sector)) < 2:
        return None
    counts = np.bincount(sector, minlength=8)
    most, least = int(counts.argmax()), int(counts.argmin())
    title = (
        f"{counts[most] / len(known):.0%} of the photos look {SECTORS[most]}, "
        f"{counts[least] / len(known):.0%} {SECTORS[least]}"
    )
    caption = (
        f"Direction of the camera in eight sectors, for {len(known)} of {len(manifest)} photos."
    )
    magnetic = int((manifest["heading_ref"] == "M").sum())
    if magnetic:
        caption += (
            f" {magnetic} headings refer to magnetic north, which may be 10 degrees or more from "
            "true north."
        )
    chart = _bars(pd.DataFrame({"towards": SECTORS, "photos": counts}), None)
    return Figure("headings", title, caption, f"Bars by direction. {title}.", chart)


def hours(manifest: pd.DataFrame) -> Figure | None:
    """Draw when in the day the photos were taken, because light changes with the hour.

    Returns:
        None if the times are unknown or all fall in one step.
    """
    parts = manifest["taken_at"].str.extract(r"T(\d\d):(\d\d)").dropna().astype(int)
    if parts.empty:
        return None
    minute = 60 * parts[0] + parts[1]
    first, last = int(minute.min()), int(minute.max())
    step = 10 if last - first < _SHORT_VISIT_MINUTES else 60
    starts = range(first // step * step, last + 1, step)
    if len(starts) < 2:
        return None
    counts = np.bincount(minute // step - starts[0] // step, minlength=len(starts))
    times = [f"{start // 60:02}:{start % 60:02}" for start in starts]
    days = manifest.loc[manifest["taken_at"] != "", "taken_at"].str[:10]
    n_days = days.nunique()
    day = f"on {days.iloc[0]}" if n_days == 1 else f"on {n_days} days, {days.min()} to {days.max()}"
    title = (
        f"Taken between {first // 60:02}:{first % 60:02} and {last // 60:02}:{last % 60:02} {day}"
    )
    unit = "hours" if step == 60 else "steps of ten minutes"
    caption = (
        f"Time of day by the camera's clock in {unit}, for {len(parts)} of {len(manifest)} photos. "
        "A model has not seen the light of other hours and seasons."
    )
    chart = _bars(pd.DataFrame({"time": times, "photos": counts}), "time of day")
    return Figure("hours", title, caption, f"Bars by time of day. {title}.", chart)


def _bars(table: pd.DataFrame, title: str | None) -> alt.Chart:
    """Draw a bar for each row of a table whose columns are a name and `photos`."""
    name = f"{table.columns[0]}:N"
    axis = alt.Axis(labelAngle=0, labelOverlap="greedy")
    chart: alt.Chart = (
        alt.Chart(table, width=_WIDE, height=_HIGH)
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X(name, sort=None, title=title, axis=axis),
            y=alt.Y("photos:Q", title="photos", axis=alt.Axis(tickMinStep=1)),
            tooltip=[name, "photos:Q"],
        )
    )
    return chart


def gps_errors(manifest: pd.DataFrame) -> Figure | None:
    """Draw the errors that phones state for their positions; None if all state the same one."""
    known = manifest["gps_error_m"].dropna()
    if known.nunique() < 2:
        return None
    median = float(known.median())
    # Phones without a fix state hundreds of metres, which would flatten all other bars.
    edges = round_edges(max(float(known.quantile(0.98)), 1.5 * median))
    beyond = int((known > edges[-1]).sum())
    rule = alt.Chart(pd.DataFrame({"median": [median], "text": [f"median {metres(median)}"]}))
    chart = layered(
        histogram(known, edges, "stated positioning error (m)").properties(
            width=_WIDE, height=_HIGH
        ),
        rule.mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(x="median:Q"),
        rule.mark_text(baseline="bottom", fontStyle="italic").encode(
            x="median:Q", y=alt.value(-3), text="text:N"
        ),
    )
    title = f"The phones state a median positioning error of {metres(median)}"
    caption = (
        f"GPSHPositioningError of {len(known)} of {len(manifest)} photos. Every error that is "
        "measured against these labels contains it."
    )
    if beyond:
        where = f"beyond the axis, up to {metres(float(known.max()))}"
        caption += f" {beyond} {'photo lies' if beyond == 1 else 'photos lie'} {where}."
    return Figure("gps_errors", title, caption, f"Histogram. {title}.", chart)


def leakage(leaks: Sequence[Leak]) -> Figure | None:
    """Draw how near the nearest training photo is, for each kind of split."""
    possible = [leak for leak in leaks if not leak.impossible]
    if not possible:
        return None
    lines = pd.concat([_steps(leak) for leak in possible])
    kinds = [leak.kind for leak in possible]
    chart = (
        alt.Chart(lines, width=_WIDE, height=240)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X(
                "metres:Q",
                title="metres to the nearest training photo",
                scale=alt.Scale(type="symlog", constant=5, nice=False),
                axis=alt.Axis(values=_METRE_TICKS, grid=True, labelOverlap="greedy"),
            ),
            y=alt.Y("share:Q", title="share of validation photos", axis=alt.Axis(format="%")),
            color=coloured("split", kinds, "split", marks=False),
            strokeDash=dashed("split", kinds, "split"),
        )
    )
    each = ", ".join(f"{leak.within_10m:.0%} in a {leak.kind} split" for leak in possible)
    title = f"Validation photos with a training photo within 10 m: {each}"
    caption = (
        "Where training photos are near, a model can answer by recognising a place. Each kind of "
        "split asks a different question: about known spots, new spots, or another time."
    )
    return Figure("leakage", title, caption, f"Cumulative curves. {title}.", chart)


def _steps(leak: Leak) -> pd.DataFrame:
    """Return the share of validation photos that have a training photo within each distance."""
    return pd.DataFrame(
        {
            "split": leak.kind,
            "metres": np.r_[0.0, np.sort(leak.nearest_m)],
            "share": np.linspace(0, 1, leak.n_val + 1),
        }
    )
