"""The page: one self-contained HTML file that opens with the answer, and the files beside it.

Every figure stands in the page as SVG, so that it is there without scripts and on paper. Vega
(bundled by vl-convert, 0.9 MB) and the specifications are in the page too and replace a figure
by its interactive form when the reader asks. A content security policy forbids every request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import vl_convert
from markupsafe import Markup

from img2gps import __version__
from img2gps.report import gallery
from img2gps.report.figures.base import CONFIG, THEMES, Figure, inline, metres, save
from img2gps.report.table import Table

LARGEST_SVG = 400_000  # characters; beyond, the page holds the PNG
LARGEST_PAGE = 3_000_000  # bytes without the gallery; beyond, figures stay still pictures
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Link:
    """A file beside the page."""

    kind: str
    href: str


@dataclass(frozen=True)
class Step:
    """What to do next, and the command that does it."""

    text: str
    command: str


@dataclass(frozen=True)
class Shown:
    """A table as HTML that is already escaped, and the files that hold the same."""

    html: Markup
    files: list[Link] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """Tables below one heading; `folded` ones are opened by the reader."""

    anchor: str
    title: str
    tables: list[Shown]
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it."""

    name: str
    title: str
    caption: str
    picture: Markup
    spec: dict[str, Any]


@dataclass
class Page:
    """Everything that the template shows; all texts are escaped there."""

    name: str
    question: str
    source: str
    answer: list[str]
    counts: Mapping[str, int]
    banners: list[str] = field(default_factory=list)
    next_steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    left_out: str = ""  # which figures are not there, and why
    gallery: gallery.Gallery | None = None
    suspects: list[dict[str, Any]] = field(default_factory=list)
    no_suspects: str = ""
    methods: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    files: list[Link] = field(default_factory=list)
    studies: list[Link] = field(default_factory=list)  # pages of the studies compared


def render(page: Page) -> str:
    """The page as HTML; below `LARGEST_PAGE` bytes without the gallery, or without scripts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["metres"] = metres
    template = environment.get_template("page.html.j2")
    style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - ours
    still = template.render(page=page, style=style, version=__version__, specs=None, interactive=[])
    thumbnails = 0
    if page.gallery is not None:
        thumbnails = sum(len(p.thumbnail) for p in page.gallery.best + page.gallery.worst)
    room = LARGEST_PAGE - (len(still.encode()) - thumbnails) - len(_bundle()) - len(_script())
    specs: dict[str, Any] = {}
    for figure in sorted(page.figures, key=lambda f: len(json.dumps(f.spec))):
        size = len(json_for_script(figure.spec)) + 200  # its button
        if size <= room:
            specs[figure.name] = figure.spec
            room -= size
    if not specs:
        return still
    return template.render(
        page=page,
        style=style,
        version=__version__,
        interactive=list(specs),
        **interactive(specs),
    )


def interactive(specs: Mapping[str, Any]) -> dict[str, Markup]:
    """What a template needs for interactive figures: `specs`, `bundle` and `script`."""
    return {
        "specs": json_for_script({"specs": specs, "config": CONFIG, "themes": THEMES}),
        "bundle": Markup(_bundle()),  # noqa: S704 - Vega as vl-convert ships it
        "script": Markup(_script()),  # noqa: S704 - ours
    }


def json_for_script(value: Any) -> Markup:
    r"""JSON that cannot end the script element it stands in, whatever texts it holds.

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


@cache
def _script() -> str:
    return (_TEMPLATES / "interactive.js").read_text(encoding="utf-8")


def shown(table: Table) -> Shown:
    """Return what the page shows of a table, with links to its four files in `tables/`.

    The page says banner and warnings once, at its top.
    """
    table = replace(table, banner="", warnings=[])
    kinds = {"md": "Markdown", "tex": "LaTeX", "csv": "CSV", "html": "HTML"}
    links = [Link(kind, f"tables/{quote(table.key)}.{end}") for end, kind in kinds.items()]
    return Shown(Markup(table.html()), links)  # noqa: S704 - tables.py escapes what it writes


def picture(figure: Figure, folder: Path) -> Picture:
    """Write the figure's files into `folder` and give what the page shows of it."""
    svg = save(figure, folder)
    if len(svg) <= LARGEST_SVG:
        shown = Markup(inline(svg, figure.alt))  # noqa: S704 - vl-convert escapes texts in SVG
    else:
        data = base64.b64encode((folder / f"{figure.name}.png").read_bytes()).decode()
        shown = Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, figure.alt)
    return Picture(figure.name, figure.title, figure.caption, shown, figure.spec)
