"""Write the page of a report: one HTML file that needs no network, beside the files it links to.

The page shows every figure as SVG, so that it can be read without scripts and on paper. It also
contains Vega (bundled by vl-convert, 0.9 MB) and each figure's specification, which replace the SVG
by an interactive figure when the reader asks for it. A content security policy forbids all
requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from img2gps import __version__
from img2gps.report import gallery
from img2gps.report.figures.base import CONFIG, THEMES, Figure, inline, metres
from img2gps.report.steps import Step
from img2gps.report.table import Table

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Link:
    """A file beside the page."""

    kind: str
    href: str


@dataclass(frozen=True)
class Section:
    """Tables below one heading; the reader has to open those that are `folded`."""

    anchor: str
    title: str
    tables: list[Table]
    folded: bool = False


@dataclass
class Page:
    """The content of the page; the template escapes all texts."""

    name: str
    question: str
    source: str
    answer: list[str]
    counts: Mapping[str, int]
    banners: list[str] = field(default_factory=list)
    next_steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    left_out: str = ""  # which figures are not there, and why
    gallery: gallery.Gallery | None = None
    suspects: list[dict[str, Any]] = field(default_factory=list)
    no_suspects: str = ""
    methods: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    files: list[Link] = field(default_factory=list)
    studies: list[Link] = field(default_factory=list)  # pages of the studies compared


def render(page: Page) -> str:
    """Return the page as HTML."""
    return from_template("page.html.j2", page.figures, page=page)


def from_template(name: str, figures: Sequence[Figure], **content: Any) -> str:
    """Return a template filled with content, and with scripts that make its figures interactive."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"metres": metres, "inline": _inline, "bare": _bare}
    specs = {figure.name: figure.spec for figure in figures}
    return environment.get_template(name).render(
        figures=figures,
        specs=json_for_script({"specs": specs, "config": CONFIG, "themes": THEMES}),
        bundle=Markup(_bundle()),  # noqa: S704 - Vega as vl-convert ships it
        script=Markup(_read("interactive.js")),  # noqa: S704 - ours
        style=Markup(style()),  # noqa: S704 - ours
        version=__version__,
        **content,
    )


def style() -> str:
    """Return the style sheet that all pages of reports share."""
    return _read("style.css")


def _inline(figure: Figure) -> Markup:
    return Markup(inline(figure.svg, figure.alt))  # noqa: S704 - vl-convert escapes texts in SVG


def _bare(table: Table) -> Markup:
    """Return a table without banner and warnings, which the page has once at its top."""
    return Markup(replace(table, banner="", warnings=[]).html())  # noqa: S704 - escaped there


def json_for_script(value: Any) -> Markup:
    r"""Return JSON that cannot end the script element around it, whatever texts it holds.

    >>> str(json_for_script("</script><!--"))
    '"\\u003c/script\\u003e\\u003c!--"'
    """
    text = json.dumps(value, separators=(",", ":"), default=str)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - every character that means something to HTML is escaped


@cache
def _bundle() -> str:
    code = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    return code.replace("</script", "<\\/script")


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
