"""The table that says how far from an answer the true position may lie, and whether that held."""

from __future__ import annotations

import math
from collections.abc import Mapping

from img2gps.analysis.radius import LEVEL, Promise
from img2gps.core.counted import counted
from img2gps.report.table import Entry, Legend, Table

_TITLE = f"How far from an answer the true position lies, with {LEVEL:.0%} probability"

_FIT = {
    "val/nll": ("negative log likelihood of the density per square metre, nats a photo", ".2f"),
    "val/coverage_50": ("labels inside the region with 50 % of the density", ".1%"),
    "val/coverage_90": ("labels inside the region with 90 % of the density", ".1%"),
}
_MEAN = "validation photos, mean over the winner's runs"


def radius_tables(found: Promise, density_fit: Mapping[str, float] | None = None) -> list[Table]:
    """Return the radius and its measured coverage; nothing where there are too few spots.

    Args:
        found: the radius, and how it held.
        density_fit: how well the density of the winner's runs fits the validation labels.
    """
    if not math.isfinite(found.radius_m):
        return []
    photos = counted(found.n_photos, "validation photo")
    rest = f"{photos} of {counted(found.n_spots, 'spot')}"
    rows = [
        [Entry("radius"), Entry(f"{found.radius_m:.1f} m", number=found.radius_m), Entry(rest)],
        [
            Entry("mean predictor"),
            Entry(f"{found.mean_predictor_m:.1f} m", number=found.mean_predictor_m),
            Entry("the radius around its one answer"),
        ],
        *(
            [
                Entry(f"test photos inside it, {name}"),
                Entry(f"{inside.share:.1%}", number=inside.share),
                Entry(f"{counted(inside.n_photos, 'photo')} of {counted(inside.n_spots, 'spot')}"),
            ]
            for name, inside in found.held.items()
        ),
    ]
    rows += [
        [Entry(_FIT[name][0]), Entry(f"{value:{_FIT[name][1]}}", number=value), Entry(_MEAN)]
        for name, value in (density_fit or {}).items()
    ]
    warnings = []
    if found.ranked_cells > 1:
        warnings.append(
            f"The validation photos also chose among {found.ranked_cells} cells, so the radius is "
            "somewhat too small."
        )
    if not found.held:
        warnings.append("Its coverage is not measured: nobody has looked at a test part.")
    legend: Legend = [
        "Split conformal prediction on the first seed's errors, each spot counting as one. "
        "img2gps predict states it where that run answers alone and with a single point.",
    ]
    header = ["figure", "value", "on"]
    return [Table("radius", _TITLE, header, rows, legend, warnings, texts=(2,))]
