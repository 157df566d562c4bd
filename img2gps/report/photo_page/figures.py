"""Figures of the dataset report; each states its finding, like those of the study report."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from img2gps.core import geo
from img2gps.report.figures.base import COLOURS, DASHES, INK, Figure, layered, metres, scale_of
from img2gps.report.figures.maps import equal_axes
from img2gps.report.photo_page.facts import SECTORS, Facts, Leak

MOST_POINTS = 4000  # more would make the page slow; rows are in random order, so a head is a sample
MOST_COLOURS = 6
_WIDE, _HIGH = 520, 200
_METRE_TICKS = [0, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 1e4, 1e5, 1e6, 1e7]
_TICK = 0.035  # length of a heading, of the longer side of the map


def all_figures(manifest: pd.DataFrame, facts: Facts) -> list[Figure]:
    """Those of the figures for which there is anything to draw."""
    made = [
        positions(manifest, facts),
        spots(manifest, facts),
        headings(manifest),
        hours(manifest),
        gps_errors(manifest, facts),
        leakage(facts.leaks),
    ]
    return [figure for figure in made if figure is not None]


def _near(manifest: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """Photos that are no far outliers, with metres east and north of their mean."""
    near = manifest.assign(spot=facts.spots)[~facts.far]
    lat0, lon0 = geo.mean_position(near["lat_deg"], near["lon_deg"])
    east, north = geo.to_east_north_m(near["lat_deg"], near["lon_deg"], lat0, lon0)
    return near.assign(east=east, north=north)


def positions(manifest: pd.DataFrame, facts: Facts) -> Figure:
    """Map of the photos, each with a line towards where it looks, coloured by session."""
    near = _near(manifest, facts)
    shown = near.head(MOST_POINTS)
    x, y, width, height = equal_axes(shown["east"].to_numpy(), shown["north"].to_numpy())
    length = _TICK * max(np.ptp(shown["east"]), np.ptp(shown["north"]), 1.0)
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
        colour = alt.Color("session:N", scale=scale_of(names, list(COLOURS)), title="session")
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
    looking = int(manifest["heading_deg"].notna().sum())
    title = f"{len(near)} photos on {east:,.0f} m by {north:,.0f} m of ground"
    caption = "Metres from the mean position."
    if looking:
        caption += f" A line points to where a photo looks; {looking} of {len(manifest)} say it."
    if len(near) > len(shown):
        caption += f" Drawn: {len(shown)} photos, a random sample."
    if facts.far.any():
        caption += f" Not drawn: {int(facts.far.sum())} far from the others."
    return Figure("map", title, caption, f"Map of the photos. {title}.", chart)


def spots(manifest: pd.DataFrame, facts: Facts) -> Figure:
    """Map of the spots, sized by the photos taken there."""
    near = _near(manifest, facts)
    table = near.groupby("spot").agg(
        east=("east", "mean"), north=("north", "mean"), photos=("photo", "size")
    )
    x, y, width, height = equal_axes(table["east"].to_numpy(), table["north"].to_numpy())
    size = alt.Size(
        "photos:Q",
        scale=alt.Scale(range=[12, 500], domainMin=1),
        legend=alt.Legend(format="d", symbolOpacity=0.5),
    )
    chart = (
        alt.Chart(table.reset_index(), width=width, height=height)
        .mark_circle(opacity=0.5, color=COLOURS[0], stroke=INK, strokeWidth=0.6)
        .encode(x=x, y=y, size=size, tooltip=["photos:Q"])
    )
    single = int((table["photos"] == 1).sum())
    title = (
        f"{len(table)} spots; {single} of them have one photo only, "
        f"the busiest has {int(table['photos'].max())}"
    )
    caption = (
        f"A spot holds photos whose labels lie within {metres(facts.spot_radius_m)} of its "
        "centre, which is as near as these labels can tell places apart. Area: number of photos."
    )
    return Figure("spots", title, caption, f"Map of the spots. {title}.", chart)


def headings(manifest: pd.DataFrame) -> Figure | None:
    """Draw how many photos look in each of eight directions."""
    known = manifest["heading_deg"].dropna().to_numpy()
    if known.size == 0:
        return None
    sector = np.round(known / 45).astype(int) % 8
    table = pd.DataFrame({"towards": SECTORS, "photos": np.bincount(sector, minlength=8)})
    chart = (
        alt.Chart(table, width=_WIDE, height=_HIGH)
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X("towards:N", sort=list(SECTORS), title=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("photos:Q", title="photos", axis=alt.Axis(tickMinStep=1)),
            tooltip=["towards:N", "photos:Q"],
        )
    )
    share = table["photos"] / len(known)
    most, least = int(share.argmax()), int(share.argmin())
    title = (
        f"{share[most]:.0%} of the photos look {SECTORS[most]}, {share[least]:.0%} {SECTORS[least]}"
    )
    magnetic = int((manifest["heading_ref"] == "M").sum())
    caption = f"Heading of the lens in eight sectors, for {len(known)} of {len(manifest)} photos."
    if magnetic:
        caption += f" {magnetic} are from magnetic north, which may be 10 degrees and more off."
    return Figure("headings", title, caption, f"Bars by direction. {title}.", chart)


def hours(manifest: pd.DataFrame) -> Figure | None:
    """Draw at which hour of the day photos were taken: what light the model has seen."""
    hour = manifest["taken_at"].str.extract(r"T(\d\d)", expand=False).dropna().astype(int)
    if hour.empty:
        return None
    table = pd.DataFrame({"hour": range(24), "photos": np.bincount(hour, minlength=24)})
    days = manifest.loc[manifest["taken_at"] != "", "taken_at"].str[:10]
    chart = (
        alt.Chart(table, width=_WIDE, height=_HIGH)
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X("hour:O", title="hour of the day", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("photos:Q", title="photos", axis=alt.Axis(tickMinStep=1)),
            tooltip=["hour:O", "photos:Q"],
        )
    )
    n_days = days.nunique()
    day = f"on {days.iloc[0]}" if n_days == 1 else f"on {n_days} days, {days.min()} to {days.max()}"
    title = f"Taken between {hour.min()} and {hour.max() + 1} o'clock {day}"
    caption = (
        f"By the camera's clock, for {len(hour)} of {len(manifest)} photos. A model has not seen "
        "the light of other hours and seasons."
    )
    return Figure("hours", title, caption, f"Bars by hour. {title}.", chart)


def gps_errors(manifest: pd.DataFrame, facts: Facts) -> Figure | None:
    """Draw how far off the phones think their positions are."""
    known = manifest["gps_error_m"].dropna()
    if known.empty:
        return None
    median = float(known.median())
    # The few that had no fix say hundreds of metres; they would flatten all others.
    top = max(float(known.quantile(0.98)), 1.5 * median)
    beyond = int((known > top).sum())
    bars = (
        alt.Chart(pd.DataFrame({"error": known[known <= top]}), width=_WIDE, height=_HIGH)
        .mark_bar(color=COLOURS[0])
        .encode(
            x=alt.X(
                "error:Q",
                bin=alt.Bin(maxbins=30),
                title="stated positioning error (m)",
                axis=alt.Axis(labelOverlap="greedy"),
            ),
            y=alt.Y("count():Q", title="photos"),
        )
    )
    rule = alt.Chart(pd.DataFrame({"median": [median], "text": [f"median {metres(median)}"]}))
    chart = layered(
        bars,
        rule.mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(x="median:Q"),
        rule.mark_text(baseline="bottom", fontStyle="italic").encode(
            x="median:Q", y=alt.value(-3), text="text:N"
        ),
    )
    title = f"Half of the labels are {metres(median)} or more off, by the phones' own statement"
    caption = (
        f"GPSHPositioningError of {len(known)} of {len(manifest)} photos"
        + (f"; {beyond} beyond the axis, up to {metres(float(known.max()))}" if beyond else "")
        + ". It is noise of the label, and every error measured against these labels contains it."
    )
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
            color=alt.Color("split:N", scale=scale_of(kinds, list(COLOURS)), title="split"),
            strokeDash=alt.StrokeDash("split:N", scale=scale_of(kinds, list(DASHES))),
        )
    )
    said = [f"{leak.within_10m:.0%} in a {leak.kind} split" for leak in possible]
    title = f"Validation photos with a training photo within 10 m: {', '.join(said)}"
    caption = (
        "How much of the validation part a model can answer by recognising a place that it was "
        "trained on. Different splits answer different questions: known spots, new spots, "
        "another time."
    )
    return Figure("leakage", title, caption, f"Cumulative curves. {title}.", chart)


def _steps(leak: Leak) -> pd.DataFrame:
    """Share of the validation photos that have a training photo within so many metres."""
    return pd.DataFrame(
        {
            "split": leak.kind,
            "metres": np.r_[0.0, np.sort(leak.nearest_m)],
            "share": np.linspace(0, 1, leak.n_val + 1),
        }
    )
