"""The table that says how far from an answer the true position may lie, and whether that held."""

from __future__ import annotations

import math

from img2gps.analysis.radius import LEVEL, Promise
from img2gps.report.table import Entry, Legend, Table

_TITLE = f"How far from an answer the true position lies, with {LEVEL:.0%} probability"


def radius_tables(found: Promise) -> list[Table]:
    """Return the radius and its measured coverage; nothing where there are too few spots."""
    if not math.isfinite(found.radius_m):
        return []
    rest = f"{found.n_photos} validation photos of {found.n_spots} spots"
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
                Entry(f"{inside.n_photos} photos of {inside.n_spots} spots"),
            ]
            for name, inside in found.held.items()
        ),
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
        "Split conformal prediction on the first seed's errors, each spot counting as one; it is "
        "the radius of img2gps predict.",
    ]
    header = ["figure", "value", "on"]
    return [Table("radius", _TITLE, header, rows, legend, warnings, texts=(2,))]
