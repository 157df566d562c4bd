"""Write the page about photos: one HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.files import write_text_atomic
from img2gps.photos.dataset import Dataset
from img2gps.photos.facts import Facts, collect, n_val
from img2gps.photos.thumbnails import data_uri, sample, thumbnail
from img2gps.report.figures.base import metres
from img2gps.report.page import from_template
from img2gps.report.photo_page.figures import all_figures

_CONTACT_SHEET = 24  # photos
_THUMBNAIL_PX = 112


def write(dataset: Dataset, path: Path) -> Path:
    """Write the page about a data set to `path`, as a whole or not at all, and return the path.

    Raises:
        BadInput: `path` is a folder or cannot be written.
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
    """Return the page as HTML."""
    facts = collect(dataset)
    return from_template(
        "dataset.html.j2",
        all_figures(dataset.manifest, facts),
        dataset=dataset,
        facts=facts,
        answer=_answer(dataset, facts),
        sheet=_contact_sheet(dataset),
        n_val=n_val(facts.n),
    )


def _answer(dataset: Dataset, facts: Facts) -> list[str]:
    """Return the sentences at the top of the page."""
    n_spots, left_out = len(np.unique(facts.spots)), len(dataset.rejects)
    said = [
        f"{counted(facts.n, 'photo')} of {counted(n_spots, 'spot')} can be used; {left_out} "
        "cannot.",
        f"A model has to beat the mean predictor, which always answers the mean position and has "
        f"an RMSE of {metres(facts.mean_rmse_m)}.",
    ]
    known = dataset.manifest["gps_error_m"].dropna()
    if len(known):
        said.append(
            f"{len(known)} photos state the positioning error of their label; the median is "
            f"{metres(float(known.median()))}. Every RMSE contains this noise."
        )
    shares = {leak.kind: f"{leak.known_spots:.0%}" for leak in facts.leaks if not leak.impossible}
    if "random" in shares:
        place = f"in a place split, {shares['place']} are" if "place" in shares else ""
        said.append(
            f"In a random split, {shares['random']} of the validation photos are of spots that the "
            f"training photos show; {place or 'a place split is not possible here'}."
        )
    return said


def _contact_sheet(dataset: Dataset) -> list[tuple[str, str]]:
    """Return names and thumbnails of some photos from all parts of the data set."""
    names = dataset.manifest["photo"]
    return [
        (str(names.iloc[row]), data_uri(thumbnail(dataset, row, _THUMBNAIL_PX)))
        for row in sample(dataset, _CONTACT_SHEET)
    ]
