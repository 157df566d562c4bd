"""Maps in metres east and north: predictions with their error lines, coverage of the ground."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis.ground import ENOUGH, Ground, ground
from img2gps.core import geo
from img2gps.report.figures.base import (
    COLOURS,
    INK,
    LINE,
    MUTED,
    SEQUENTIAL,
    Figure,
    layered,
    letters_on,
    metres,
)

_LONGEST_PX = 520
SURE = 0.05  # p below which few photos are said to go with large errors
MOST_LINES = 150  # photos on one map, beyond which nobody can follow a line
_NARROW = 0.8  # spread of predictions over spread of truth; below it the title is about the spread


def positions(
    photos: pd.DataFrame,
    *,
    all_m: pd.Series[float] | None = None,
    spread_ratio: float | None = None,
) -> Figure:
    """Draw true and predicted positions joined by a line, coloured by its length.

    A metre is as long east as north. photos: one row a photo with `photo`, label, prediction and
    `error_m`; the origin is the mean of the labels. all_m: errors of all seeds, which the title is
    about; those of `photos` if None. spread_ratio: spread of the predictions over spread of the
    truth.
    """
    everything, n = photos, len(photos)
    if n > MOST_LINES:  # by content, which is as good as at random and the same every time
        photos = photos.sort_values("content").head(MOST_LINES)
    lat0, lon0 = geo.mean_position(photos["lat_deg"], photos["lon_deg"])
    true = geo.to_east_north_m(photos["lat_deg"], photos["lon_deg"], lat0, lon0)
    predicted = geo.to_east_north_m(photos["pred_lat_deg"], photos["pred_lon_deg"], lat0, lon0)
    same = {"photo": photos["photo"].to_numpy(), "error_m": photos["error_m"].to_numpy()}
    columns = zip(("east", "north", "to_east", "to_north"), (*true, *predicted), strict=True)
    lines = pd.DataFrame({**dict(columns), **same})
    ends = pd.concat(
        [
            pd.DataFrame({"east": at[0], "north": at[1], "what": what, **same})
            for at, what in ((true, "true"), (predicted, "predicted"))
        ]
    )
    x, y, width, height = equal_axes(ends["east"].to_numpy(), ends["north"].to_numpy())
    colour = alt.Color(
        "error_m:Q",
        title="error (m)",
        # without its ends, which would vanish on white paper and on a dark page
        scale=alt.Scale(scheme=alt.SchemeParams(name="viridis", extent=[0.8, 0.3]), domainMin=0),
        legend=alt.Legend(gradientLength=160, tickCount=5),
    )
    names = ["true", "predicted"]
    shape = alt.Scale(domain=names, range=["circle", "triangle-up"])
    fill = alt.Scale(domain=names, range=[INK, "transparent"])
    stroke = alt.Scale(domain=names, range=[INK, COLOURS[1]])
    chart = layered(
        alt.Chart(lines, width=width, height=height)
        .mark_rule(strokeWidth=1.6)
        .encode(x=x, y=y, x2="to_east:Q", y2="to_north:Q", color=colour),
        alt.Chart(ends)
        .mark_point(size=42, opacity=1, strokeWidth=1.6)
        .encode(
            x=x,
            y=y,
            shape=alt.Shape("what:N", scale=shape, title="position"),
            fill=alt.Fill("what:N", scale=fill, title="position"),
            stroke=alt.Stroke("what:N", scale=stroke, title="position"),
            tooltip=["photo:N", "what:N", alt.Tooltip("error_m:Q", format=".1f")],
        ),
    )
    title = _positions_title(everything["error_m"] if all_m is None else all_m, spread_ratio)
    shown = f"{n}" if n == len(photos) else f"{len(photos)} of {n}"
    caption = (
        f"The winner's first seed on {shown} validation photos, in metres from their mean "
        "position; a line joins truth and prediction."
    )
    return Figure(
        "positions", title, caption, f"Map of true and predicted positions. {title}.", chart
    )


def _positions_title(error_m: pd.Series[float], spread_ratio: float | None) -> str:
    """Return how large the errors are, or that the predictions hardly spread."""
    median, worst = float(error_m.median()), float(error_m.max())
    if spread_ratio is not None and spread_ratio < _NARROW:
        return (
            f"Predictions stay near the middle: they spread {spread_ratio:.2f} times as wide "
            f"as the truth; median error {metres(median)}"
        )
    return f"Half of the photos lie within {metres(median)}, the worst {metres(worst)} off"


def coverage(photos: pd.DataFrame, others: pd.DataFrame | None) -> Figure | None:
    """Draw where errors are large and photos few; None where too few tiles have enough photos.

    photos: validation photos with label and `error_m`. others: labels of the data set's other
    photos; None where they are not at hand, so that validation photos are counted.
    """
    found = ground(photos, others)
    if found is None:
        return None
    tiles, side = found.tiles.copy(), found.side_m
    for axis in ("e", "n"):
        for part, shift in (("0", 0.0), ("c", 0.5), ("1", 1.0)):
            tiles[axis + part] = (tiles[axis] + shift) * side
    tiles["letter"] = np.where(tiles["rmse_m"].isna(), MUTED, letters_on(tiles["rmse_m"]))
    what = "validation photos" if others is None else "other photos"
    which = " (others are not available)" if others is None else " of the data set"
    caption = (
        f"Tiles of {side:g} m, in metres from the mean position. Colour: the winner's RMSE on the "
        f"validation photos there (none below {ENOUGH}); number: {what}{which}."
    )
    if not np.isnan(found.p):
        caption += (
            f" Rank correlation of number and RMSE: {found.correlation:.2f} (p = {found.p:.2g})."
        )
    title = _coverage_title(tiles, found, what)
    text = f"Map of tiles of {side:g} m. {title}."
    return Figure("coverage", title, caption, text, _coverage_chart(tiles))


def _coverage_chart(tiles: pd.DataFrame) -> alt.LayerChart:
    x, y, width, height = equal_axes(
        np.r_[tiles["e0"], tiles["e1"]], np.r_[tiles["n0"], tiles["n1"]], ("e0", "n0"), pad=0.02
    )
    base = alt.Chart(tiles, width=width, height=height).encode(x=x, y=y)
    colour = alt.Color(
        "rmse_m:Q", title="RMSE (m)", scale=alt.Scale(scheme=SEQUENTIAL, reverse=True)
    )
    rmse = alt.Tooltip("rmse_m:Q", title="RMSE (m)", format=".1f")
    return layered(
        base.mark_rect(filled=False, stroke=LINE).encode(x2="e1:Q", y2="n1:Q"),
        base.transform_filter("isValid(datum.rmse_m)")
        .mark_rect(stroke=LINE)
        .encode(x2="e1:Q", y2="n1:Q", color=colour, tooltip=[rmse, "validation:Q", "photos:Q"]),
        *(
            base.transform_filter(alt.datum.letter == letter)
            .mark_text(fontSize=12, color=letter)
            .encode(x="ec:Q", y="nc:Q", text="photos:Q")
            for letter in sorted(set(tiles["letter"]))
        ),
    )


def _coverage_title(tiles: pd.DataFrame, found: Ground, what: str) -> str:
    """Advise where to take photos only if errors are shown to be larger where photos are few."""
    if not (found.p < SURE and found.correlation < 0):
        return "Errors are not shown to be larger where photos are few"
    seen = tiles[tiles["rmse_m"].notna()]
    few = seen[seen["photos"] <= seen["photos"].median()]
    pick = few.sort_values("rmse_m").to_dict("records")[-1]
    across = f"{abs(pick['ec']):.0f} m {'east' if pick['ec'] >= 0 else 'west'}"
    up = f"{abs(pick['nc']):.0f} m {'north' if pick['nc'] >= 0 else 'south'}"
    return (
        f"Take more photos around {across}, {up}: {pick['photos']} {what} there, "
        f"RMSE {metres(pick['rmse_m'])}"
    )


def equal_axes(
    east: NDArray[np.float64],
    north: NDArray[np.float64],
    names: tuple[str, str] = ("east", "north"),
    pad: float = 0.05,
) -> tuple[alt.X, alt.Y, int, int]:
    """Return axes on which a metre is as long east as north; width and height in pixels."""
    lows, highs = (float(east.min()), float(north.min())), (float(east.max()), float(north.max()))
    longest = max(highs[0] - lows[0], highs[1] - lows[1], 1.0)
    margin = pad * longest
    domains = [[low - margin, high + margin] for low, high in zip(lows, highs, strict=True)]
    scale = _LONGEST_PX / (longest + 2 * margin)
    width, height = (round((high - low) * scale) for low, high in domains)
    scales = [alt.Scale(domain=domain, nice=False) for domain in domains]
    few = alt.Axis(tickCount=8)
    return (
        alt.X(f"{names[0]}:Q", title="metres east", scale=scales[0], axis=few),
        alt.Y(f"{names[1]}:Q", title="metres north", scale=scales[1], axis=few),
        width,
        height,
    )
