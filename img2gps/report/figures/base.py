"""Define what all figures share: their form, colours and axes, and how they become SVG and PNG.

Each figure is one Vega-Lite specification. vl-convert renders it to SVG and PNG without a browser
and without network, and the page passes the same specification to Vega for the interactive form.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from numpy.typing import ArrayLike, NDArray

from img2gps.analysis.wording import knob_value

# Okabe and Ito (2008), the colour-blind safe set, without its yellow (unreadable on white) and
# black (unreadable on dark). Dashes and shapes repeat each distinction for black and white.
COLOURS: Final = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
DASHES: Final = [[1, 0], [7, 3], [2, 2], [8, 2, 2, 2], [4, 2], [1, 3]]
SHAPES: Final = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
MOST_LINES: Final = len(COLOURS)
FLOOR_SHOWN: Final = 0.7  # of the lowest error drawn, above which the floor is a line
ONE_DECIMAL: Final = alt.Tooltip("rmse_m:Q", format=".1f")
SEQUENTIAL: Final = "cividis"  # made for colour vision deficiency (Nunez et al. 2018), even in grey

INK: Final = "#1f2329"
MUTED: Final = "#5d646e"
LINE: Final = "#dfe2e6"
FONT: Final = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

CONFIG: Final[dict[str, Any]] = {
    "background": "white",
    "font": FONT,
    # More on the right: a browser's fonts may be wider than those that placed the words there.
    "padding": {"left": 6, "top": 6, "right": 30, "bottom": 6},
    "view": {"stroke": LINE},
    "title": {"color": INK, "fontSize": 12, "fontWeight": 600, "anchor": "start"},
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "gridColor": LINE,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "titlePadding": 8,
        "labelLimit": 320,
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "labelFontWeight": 600},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "labelLimit": 320,
        "titleLimit": 320,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
    },
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": INK},
}

# The widest font that browsers fall back to (DejaVu Sans) at 12 px, and how much wider a character
# of it is than in the font that lays the figures out.
_CHARACTER_PX: Final = 7.0
_WIDER_PX: Final = 1.2
_SHORT_LABEL: Final = 20  # characters

Picture: TypeAlias = (
    alt.Chart
    | alt.LayerChart
    | alt.FacetChart
    | alt.ConcatChart
    | alt.HConcatChart
    | alt.VConcatChart
)


@dataclass(frozen=True)
class Figure:
    """A chart with what it shows and how to read it.

    Attributes:
        name: stem of its files.
        title: the finding, one sentence without a full stop.
        caption: what is drawn and how to read it.
        alt: the same for readers who cannot see the figure, with its numbers.
    """

    name: str
    title: str
    caption: str
    alt: str
    chart: Picture

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Return the Vega-Lite specification without title and theme (see `CONFIG`)."""
        with alt.data_transformers.enable("default", max_rows=None):
            spec: dict[str, Any] = self.chart.to_dict(validate=False)
        spec.pop("config", None)
        return spec

    @cached_property
    def svg(self) -> str:
        """Return SVG without title and background, for a page that has the title as text."""
        config = {**CONFIG, "background": "transparent"}
        return _own_ids(vl_convert.vegalite_to_svg(self.spec, config=config), self.name)

    @property
    def titled_svg(self) -> str:
        """Return SVG that stands alone on white, with title and caption above the chart."""
        return _titled(self)

    def _repr_svg_(self) -> str:
        """Return the figure as a notebook shows it."""
        return self.titled_svg


def _own_ids(svg: str, name: str) -> str:
    """Return SVG with ids that begin with a name.

    vl-convert numbers ids through the whole process. Own ids differ between the figures of a page,
    and the same runs give the same page.
    """
    numbers: dict[str, int] = {}
    return _ID.sub(lambda m: f"{m[1]}{name}-{numbers.setdefault(m[2], len(numbers))}", svg)


def save(figure: Figure, folder: Path) -> str:
    """Write NAME.svg and NAME.png with title and caption; return the SVG without them."""
    titled = _titled(figure)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{figure.name}.svg").write_text(titled, encoding="utf-8")
    (folder / f"{figure.name}.png").write_bytes(vl_convert.svg_to_png(titled, scale=2.0))
    return figure.svg


def _titled(figure: Figure) -> str:
    size = _SIZE.match(figure.svg)
    assert size is not None
    width = float(size[2])
    title = {  # lines that fit with the widest font of browsers, too
        "text": textwrap.wrap(figure.title, max(30, int(width / 9.0))),
        "subtitle": textwrap.wrap(figure.caption, max(36, int(width / 6.6))),
        "fontSize": 15,
        "subtitleColor": MUTED,
        "offset": 16,
    }
    spec = {**figure.spec, "title": title, "description": figure.alt}
    return _own_ids(vl_convert.vegalite_to_svg(spec, config=CONFIG), figure.name)


# Colours that follow the page's light or dark, and the CSS variables that hold them there.
THEMES: Final = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    **{colour: f"--series-{i}" for i, colour in enumerate(COLOURS)},
}
_SIZE: Final = re.compile(r'^(<svg\b[^>]*?) width="([\d.]+)" height="([\d.]+)"')
_ID: Final = re.compile(r"""((?:id=['"]|url\(#))([A-Za-z]+_?\d+)""")


def inline(svg: str, alt_text: str) -> str:
    """Return SVG for a page: it fits the page's width and follows its light or dark theme."""
    for colour, variable in THEMES.items():
        svg = svg.replace(f'"{colour}"', f'"var({variable})"')
    label = "".join(f"&#{ord(c)};" if c in "<>&\"'" else c for c in alt_text)

    def sized(match: re.Match[str]) -> str:
        wide = float(match[2])  # on a narrow screen the reader scrolls, and can read
        style = f"max-width:{wide:.0f}px;min-width:{0.75 * wide:.0f}px"
        return f'{match[1]} role="img" aria-label="{label}" style="{style}"'

    return _SIZE.sub(sized, svg, count=1)


def metres(value: float) -> str:
    """Return a length in words: one decimal below 100 m, none above, no break before the unit.

    >>> metres(68.78).split(), metres(123.4).split()
    (['68.8', 'm'], ['123', 'm'])
    """
    return f"{value:.1f}\u00a0m" if abs(value) < 100 else f"{value:,.0f}\u00a0m"


def in_order(levels: Sequence[object]) -> list[str]:
    """Return distinct levels as text: numbers first, by size, then words in natural order."""
    distinct = {knob_value(level): level for level in levels}

    def key(text: str) -> tuple[int, float, str]:
        try:
            return (0, float(text), text)
        except ValueError:
            return (1, 0.0, re.sub(r"\d+", lambda digits: digits[0].zfill(9), text))

    return sorted(distinct, key=key)


def listed(parts: Sequence[str]) -> str:
    """Join as 'a', 'a and b', 'a, b and c'."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def legend_of(labels: Sequence[str]) -> alt.Legend:
    """Return a legend above the plot: in columns where labels are short, else one below another.

    A browser's font may be wider than the one that placed the words, so columns stand apart.
    """
    longest = max(map(len, labels), default=1)
    return alt.Legend(
        orient="top",
        columns=max(1, min(len(labels), 72 // (longest + 5))) if longest <= _SHORT_LABEL else 1,
        columnPadding=_WIDER_PX * longest + 12,
        symbolSize=60,
        symbolStrokeWidth=0,
        labelLimit=640,
    )


def label_axis(labels: Sequence[str]) -> alt.Axis:
    """Return an axis of names, with room for them in the widest of the fonts."""
    room = _CHARACTER_PX * max(map(len, labels), default=1)
    return alt.Axis(ticks=False, grid=False, labelLimit=640, minExtent=room)


def ceiling_m(mean_rmse_m: float) -> float:
    """Return where RMSE axes end: at twice the mean predictor, which no run that learns exceeds."""
    return 2 * mean_rmse_m if math.isfinite(mean_rmse_m) else math.inf


def cut_said(beyond: pd.Series[float], ceiling: float) -> str:
    """Say how many values lie beyond an axis and how far; "" if none."""
    if beyond.empty:
        return ""
    count = "1 value" if len(beyond) == 1 else f"{len(beyond)} values"
    return f"Cut at {metres(ceiling)}: {count}, up to {metres(float(beyond.max()))}."


def coloured(
    field: str, labels: Sequence[str], title: str | None = None, *, marks: bool = True
) -> alt.Color:
    """Return the encoding that gives each label a colour, with a legend of marks or lines."""
    legend = legend_of(labels) if marks else alt.Legend(orient="top")
    return alt.Color(f"{field}:N", scale=_scale(labels, COLOURS), title=title, legend=legend)


def dashed(field: str, labels: Sequence[str], title: str | None = None) -> alt.StrokeDash:
    """Return the encoding that gives each label a dash."""
    return alt.StrokeDash(f"{field}:N", scale=_scale(labels, DASHES), title=title)


def shaped(field: str, labels: Sequence[str], title: str | None = None) -> alt.Shape:
    """Return the encoding that gives each label a shape."""
    return alt.Shape(f"{field}:N", scale=_scale(labels, SHAPES), title=title)


def rmse_axis(field: str, **scale: Any) -> alt.Y:
    """Return the y axis of a validation RMSE; `scale` holds options of its scale."""
    return alt.Y(f"{field}:Q", title="validation RMSE (m)", scale=alt.Scale(zero=False, **scale))


def _scale(labels: Sequence[str], values: Sequence[Any]) -> alt.Scale:
    """Return one value for each label; values repeat if there are more labels."""
    return alt.Scale(
        domain=list(labels), range=[values[i % len(values)] for i in range(len(labels))]
    )


def histogram(
    values: ArrayLike, edges: NDArray[np.float64], title: str, each: int = 1
) -> alt.Chart:
    """Return bars that count values between edges; values beyond the last edge are left out.

    each: values that there are of each photo.
    """
    bars = pd.DataFrame(
        {"from": edges[:-1], "to": edges[1:], "photos": np.histogram(values, edges)[0] / each}
    )
    x = alt.X(
        "from:Q",
        title=title,
        scale=alt.Scale(domain=[0, float(edges[-1])], nice=False),
        axis=alt.Axis(grid=False, labelFlush=False),
    )
    y = alt.Y("photos:Q", title="photos", axis=alt.Axis(tickMinStep=1))
    chart: alt.Chart = (
        alt.Chart(bars)
        .mark_rect(color=COLOURS[0], opacity=0.75, stroke="white", strokeWidth=0.5)
        .encode(x=x, x2="to:Q", y=y, y2=alt.datum(0), tooltip=["from:Q", "to:Q", "photos:Q"])
    )
    return chart


def round_edges(top: float, bins: int = 14) -> NDArray[np.float64]:
    """Return the edges of about as many bins, at round numbers from 0 to at least `top`."""
    raw = max(top, 1e-3) / bins
    magnitude = 10.0 ** np.floor(np.log10(raw))
    width = magnitude * min(m for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    edges: NDArray[np.float64] = np.arange(int(np.ceil(top / width)) + 1) * width
    return edges


def mean_predictor_rule(
    mean_rmse_m: float, axis: Literal["x", "y"] = "y", *, label: bool = True
) -> alt.LayerChart:
    """Return the line of the mean predictor, which every figure with an RMSE axis has."""
    text = f"mean predictor{' ' if axis == 'x' else chr(10)}{metres(mean_rmse_m)}"
    base = alt.Chart(pd.DataFrame({"value": [mean_rmse_m], "text": [text]}))
    rule = base.mark_rule(strokeDash=[3, 3], strokeWidth=1.5, color=INK)
    if axis == "x":
        words = base.mark_text(baseline="bottom", fontStyle="italic")
        return layered(
            rule.encode(x="value:Q"), words.encode(x="value:Q", y=alt.value(-3), text="text:N")
        )
    if not label:
        return layered(rule.encode(y="value:Q"))
    # beside the plot, where it can hide nothing
    words = base.mark_text(align="left", dx=6, lineBreak="\n", lineHeight=14, fontStyle="italic")
    return layered(
        rule.encode(y="value:Q"), words.encode(y="value:Q", x=alt.value("width"), text="text:N")
    )


def floor_said(floor_m: float) -> str:
    """Return the floor as the end of a sentence about the mean predictor; "" if unknown."""
    return f", and the floor is {metres(floor_m)}" if math.isfinite(floor_m) else ""


def floor_mark(
    floor_m: float, lowest_m: float, axis: Literal["x", "y"] = "y"
) -> tuple[alt.LayerChart, ...]:
    """Return the line of the floor, below which no answer can be known to be; none if unknown.

    Where the floor lies far below what is drawn, words at the end of the axis say so, because a
    line there would squeeze everything else.
    """
    if not math.isfinite(floor_m):
        return ()
    name = f"floor {metres(floor_m)}"
    if floor_m < FLOOR_SHOWN * lowest_m:
        arrow = "\u2190" if axis == "x" else "\u2193"
        words = alt.Chart(pd.DataFrame({"text": [f"{arrow} {name}"]})).mark_text(
            align="left", baseline="bottom", dx=0 if axis == "x" else 6, fontStyle="italic"
        )
        end = {"x": (0, -18), "y": ("width", "height")}[axis]
        return (layered(words.encode(x=alt.value(end[0]), y=alt.value(end[1]), text="text:N")),)
    base = alt.Chart(pd.DataFrame({"value": [floor_m], "text": [name]}))
    rule = base.mark_rule(strokeDash=[1, 3], strokeWidth=1.5, color=INK)
    words = base.mark_text(align="left", fontStyle="italic", dx=0 if axis == "x" else 6)
    if axis == "x":
        marks = rule.encode(x="value:Q"), words.encode(x="value:Q", y=alt.value(-24), text="text:N")
    else:
        marks = (
            rule.encode(y="value:Q"),
            words.encode(y="value:Q", x=alt.value("width"), text="text:N"),
        )
    return (layered(*marks),)


def layered(*charts: alt.Chart | alt.LayerChart) -> alt.LayerChart:
    """Lay charts on top of each other (altair's own `layer` is typed for facets, too)."""
    return cast("alt.LayerChart", alt.layer(*charts))


def yes(values: pd.Series[Any]) -> pd.Series[bool]:
    """Return the column as booleans; missing values count as False."""
    return values.map(lambda value: value is True or value is np.True_ or value == 1)


def letters_on(values: pd.Series[float]) -> NDArray[np.str_]:
    """Return black or white letters for tiles coloured by `SEQUENTIAL` reversed (low is bright)."""
    middle = (float(values.min()) + float(values.max())) / 2
    return np.where(values.to_numpy() > middle, "#ffffff", "#000000")
