"""What all figures share: the form of a figure, its colours, and how it becomes SVG and PNG.

One Vega-Lite specification gives all: vl-convert renders it to SVG and PNG with no browser and no
network, and the page hands the same one to Vega when a reader asks for the interactive form.
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
from xml.sax.saxutils import escape

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from numpy.typing import NDArray

from img2gps.analysis.wording import knob_value

# Okabe and Ito (2008), the colour-blind safe set, without its yellow (unreadable on white) and
# black (unreadable on dark). Dashes and shapes repeat each distinction for black and white.
COLOURS: Final = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
DASHES: Final = [[1, 0], [7, 3], [2, 2], [8, 2, 2, 2], [4, 2], [1, 3]]
SHAPES: Final = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
MOST_LINES: Final = len(COLOURS)
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
    alt.Chart | alt.LayerChart | alt.FacetChart | alt.ConcatChart | alt.HConcatChart
)


@dataclass(frozen=True)
class Figure:
    """One picture: what it found, how to read it, and the chart.

    name: stem of its files; title: the finding, one sentence without a full stop; caption: what
    is drawn and how to read it; alt: the same for a reader who cannot see it, with the figures.
    """

    name: str
    title: str
    caption: str
    alt: str
    chart: Picture

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Vega-Lite specification without title and without the theme (see `CONFIG`)."""
        with alt.data_transformers.enable("default", max_rows=None):
            spec: dict[str, Any] = self.chart.to_dict(validate=False)
        spec.pop("config", None)
        return spec

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return _titled(draw(self), self)


def draw(figure: Figure) -> str:
    """SVG without title and background, for a page that says the title as text."""
    bare = vl_convert.vegalite_to_svg(figure.spec, config={**CONFIG, "background": "transparent"})
    # ids are counted through the process: make them the figure's own, so that several stand on a
    # page without meeting and the same runs give the same page
    numbers: dict[str, int] = {}
    return _ID.sub(lambda m: f"{m[1]}{figure.name}-{numbers.setdefault(m[2], len(numbers))}", bare)


def save(figure: Figure, folder: Path) -> str:
    """Write NAME.svg and NAME.png with title and caption; return `draw`'s SVG."""
    bare = draw(figure)
    titled = _titled(bare, figure)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{figure.name}.svg").write_text(titled, encoding="utf-8")
    (folder / f"{figure.name}.png").write_bytes(vl_convert.svg_to_png(titled, scale=2.0))
    return bare


def _titled(svg: str, figure: Figure) -> str:
    """SVG that stands alone, on white: title and caption, broken to the chart's width, above it."""
    match = _SIZE.search(svg)
    assert match is not None
    width, height = float(match[2]), float(match[3])
    title = textwrap.wrap(figure.title, max(30, int(width / 8.3)))
    caption = textwrap.wrap(figure.caption, max(36, int(width / 6.2)))
    top = 19 * len(title) + 16 * len(caption) + 20
    lines = [(15, 600, INK, 20 + 19 * i, line) for i, line in enumerate(title)]
    below = 19 * len(title) + 19
    lines += [(12, 400, MUTED, below + 16 * i, line) for i, line in enumerate(caption)]
    texts = "".join(
        f'<text x="8" y="{y}" font-family="{FONT}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(line)}</text>'
        for size, weight, colour, y, line in lines
    )
    size = f'width="{width:g}" height="{height + top:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:g} {height + top:g}">'
        f"<title>{escape(figure.title)}</title><desc>{escape(figure.alt)}</desc>"
        f'<rect width="100%" height="100%" fill="white"/>{texts}'
        f'<g transform="translate(0,{top})">{svg}</g></svg>'
    )


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
    """SVG for a page: as wide as there is room, its ink following the page's light or dark."""
    for colour, variable in THEMES.items():
        svg = svg.replace(f'"{colour}"', f'"var({variable})"')
    label = "".join(f"&#{ord(c)};" if c in "<>&\"'" else c for c in alt_text)

    def sized(match: re.Match[str]) -> str:
        wide = f"{float(match[2]):.0f}px"  # on a narrow screen the reader scrolls, and can read
        style = f"max-width:{wide};min-width:min({wide},30rem)"
        return f'{match[1]} role="img" aria-label="{label}" style="{style}"'

    return _SIZE.sub(sized, svg, count=1)


def metres(value: float) -> str:
    """Say a length: one decimal below 100 m, none above, and no line break before the unit.

    >>> metres(68.78).split(), metres(123.4).split()
    (['68.8', 'm'], ['123', 'm'])
    """
    return f"{value:.1f}\u00a0m" if abs(value) < 100 else f"{value:,.0f}\u00a0m"


def in_order(levels: Sequence[object]) -> list[str]:
    """Distinct levels as text, numbers by size (also within words) and before words."""
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


def scale_of(labels: Sequence[str], values: list[Any]) -> alt.Scale:
    """One value (colour, dash, shape) for each label, repeated if there are more labels."""
    return alt.Scale(
        domain=list(labels), range=[values[i % len(values)] for i in range(len(labels))]
    )


def mean_predictor_rule(
    mean_rmse_m: float, axis: Literal["x", "y"] = "y", *, label: bool = True
) -> alt.LayerChart:
    """Line that every figure with an RMSE axis carries: what always answering the mean gets."""
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


def layered(*charts: alt.Chart | alt.LayerChart) -> alt.LayerChart:
    """Lay charts over each other; altair's own `layer` is typed for facets too."""
    return cast("alt.LayerChart", alt.layer(*charts))


def yes(values: pd.Series[Any]) -> pd.Series[bool]:
    """Booleans of a column that may hold missing ones, which count as no."""
    return values.map(lambda value: value is True or value is np.True_ or value == 1)


def letters_on(values: pd.Series[float]) -> NDArray[np.str_]:
    """Black or white, to be read on tiles coloured by `SEQUENTIAL` reversed: low is bright."""
    middle = (float(values.min()) + float(values.max())) / 2
    return np.where(values.to_numpy() > middle, "#ffffff", "#000000")
