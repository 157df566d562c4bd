"""The page itself: one HTML file with everything in it, which asks for nothing from outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from img2gps import __version__
from img2gps.core.errors import BadInput
from img2gps.core.files import write_text_atomic
from img2gps.photos.dataset import Dataset
from img2gps.photos.thumbnails import data_uri, sample, thumbnail
from img2gps.report.figures.base import Figure, draw, inline, metres
from img2gps.report.page import interactive
from img2gps.report.photo_page import facts as facts_module
from img2gps.report.photo_page.facts import Facts
from img2gps.report.photo_page.figures import all_figures

_TEMPLATES = Path(__file__).with_name("templates")
_SHARED = Path(__file__).parents[1] / "templates"
_SHEET = 24  # photos of the contact sheet
_THUMBNAIL_PX = 112


@dataclass(frozen=True)
class _Shown:
    """A figure as the template shows it."""

    name: str
    title: str
    caption: str
    picture: Markup


def write(dataset: Dataset, path: Path) -> Path:
    """Write the report of a data set to `path`, whole or not at all; returns the path.

    Raises:
        BadInput: a folder, or a place that cannot be written.
    """
    html = render(dataset)
    try:
        write_text_atomic(path, html)
    except OSError as error:
        raise BadInput(
            f"--report {path}: cannot be written ({error.strerror}); name a file in a folder "
            "that you may write to"
        ) from error
    return path


def render(dataset: Dataset) -> str:
    """The report as HTML."""
    facts = facts_module.collect(dataset)
    figures = all_figures(dataset.manifest, facts)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_TEMPLATES, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["metres"] = metres
    return environment.get_template("dataset.html.j2").render(
        dataset=dataset,
        facts=facts,
        answer=_answer(dataset, facts),
        figures=[_shown(figure) for figure in figures],
        sheet=_contact_sheet(dataset),
        n_val=facts_module.n_val(facts.n),
        style=Markup((_SHARED / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        **interactive({figure.name: figure.spec for figure in figures}),
        version=__version__,
    )


def _shown(figure: Figure) -> _Shown:
    picture = Markup(inline(draw(figure), figure.alt))  # noqa: S704 - vl-convert escapes texts in SVG
    return _Shown(figure.name, figure.title, figure.caption, picture)


def _answer(dataset: Dataset, facts: Facts) -> list[str]:
    """What a reader should take away, in sentences."""
    manifest = dataset.manifest
    n_spots = len(np.unique(facts.spots))
    said = [
        f"{facts.n} {'photo' if facts.n == 1 else 'photos'} of {n_spots} "
        f"{'spot' if n_spots == 1 else 'spots'} can be used; {len(dataset.rejects)} cannot.",
        f"Always answering their mean position is {metres(facts.mean_rmse_m)} off (RMSE): a model "
        "has to beat that.",
    ]
    known = manifest["gps_error_m"].dropna()
    if len(known):
        said.append(
            f"The labels themselves are {metres(float(known.median()))} off in the median, by what "
            f"{len(known)} of the photos state: that much noise is in every figure."
        )
    leaks = {leak.kind: leak for leak in facts.leaks if not leak.impossible}
    if "random" in leaks:
        said.append(
            f"In a random split, {leaks['random'].known_spots:.0%} of the validation photos are of "
            "spots that training has seen"
            + (
                f"; in a place split, {leaks['place'].known_spots:.0%}."
                if "place" in leaks
                else "; a place split is not possible here."
            )
        )
    return said


def _contact_sheet(dataset: Dataset) -> list[tuple[str, str]]:
    """Return names and pictures of some photos from all over the data set."""
    return [
        (
            str(dataset.manifest["photo"].iloc[row]),
            data_uri(thumbnail(dataset, row, _THUMBNAIL_PX)),
        )
        for row in sample(dataset, _SHEET)
    ]
