"""What the reader of a ranking must know: runs that went astray, and what its figures hold for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img2gps.analysis import stats
from img2gps.analysis.errors import Errors
from img2gps.analysis.study import Study
from img2gps.core.counted import counted
from img2gps.runs.winner import read_winner


def astray(errors: Errors, chosen: NDArray[np.bool_]) -> list[str]:
    """Name the runs that are far worse than the other runs of their cell, and say what follows.

    Args:
        errors: of the ranked cells.
        chosen: by cell, whether the winner's corrected figure counts on it; none where the ranking
            has no such figure.
    """
    strays = errors.strays
    runs = np.argwhere(strays.runs)
    if not len(runs):
        return []
    rmse = np.sqrt(np.mean(np.square(errors.error_m), axis=2))
    named = [f"{errors.cells[c]} with seed {errors.seeds[s]} ({rmse[c, s]:.1f} m)" for c, s in runs]
    went = "One run went astray, far from the other seeds of its cell"
    if len(runs) > 1:
        went = f"{len(runs)} runs went astray, far from the other seeds of their cells"
    note = f"{went}: {', '.join(named[:5])}."
    scored = chosen & (strays.share > 0)
    spared = ~strays.runs.any(axis=1) & (strays.share > 0)  # whose intervals end higher for it
    count = [
        *(["the winner's corrected figure"] if scored.any() else []),
        *(["the upper ends of such cells' intervals"] if spared.any() else []),
    ]
    if not count:
        return [note]
    shares = strays.share[scored | spared]
    low, high = f"{shares.min():.1%}", f"{shares.max():.1%}"
    share = low if low == high else f"{low} to {high}"
    verb = "counts" if count == ["the winner's corrected figure"] else "count"
    return [
        f"{note} A cell without such a run may have been lucky. {' and '.join(count).capitalize()} "
        f"therefore {verb} on {share} of a cell's runs going astray, with errors "
        f"{strays.excess:.0%} larger."
    ]


def alone(errors: Errors) -> list[str]:
    """Name the single runs that stand out from the other cells, and say what follows."""
    chance = errors.strays.alone_astray
    cells = [cell for cell in np.argsort(-chance) if chance[cell] > (1 - stats.LEVEL) / 2]
    if not cells:
        return []
    rmse = stats.cell_rmse(errors.error_m)
    named = [f"{errors.cells[cell]} ({rmse[cell]:.1f} m)" for cell in cells[:5]]
    more = f" and {len(cells) - len(named)} more" if len(cells) > len(named) else ""
    which = f"{', '.join(named)}{more}"
    if len(cells) == 1:
        return [
            f"The single run of {which} errs more than the other cells: its cell may be worse, or "
            "the run may have gone astray. Its interval counts on both; a second seed would tell."
        ]
    return [
        f"The single runs of {which} err more than the other cells: these cells may be worse, or "
        "the runs may have gone astray. Their intervals count on both; second seeds would tell."
    ]


def limits(study: Study, errors: Errors, candidates: int, *, confirmed: bool) -> list[str]:
    """Say what limits the figures of a ranking.

    Args:
        study: as it was read.
        errors: of the ranked cells.
        candidates: how many cells could win.
        confirmed: whether these are cells that a search has found and run again.
    """
    notes = _searched(study, candidates, confirmed=confirmed)
    if errors.n_spots < 2:
        notes.append("No figure has an interval, because all photos are of one spot.")
    elif errors.n_spots < stats.MIN_SPOTS:
        notes.append(
            f"Intervals are unreliable: {counted(errors.n_spots, 'validation spot')}, fewer than "
            f"{stats.MIN_SPOTS}."
        )
    frozen = read_winner(study.folder)
    if frozen and frozen.test_looks > 1:
        notes.append(
            f"The test part has been used {frozen.test_looks} times: it is no longer a clean test "
            "set."
        )
    return notes


def _searched(study: Study, candidates: int, *, confirmed: bool) -> list[str]:
    """Say for which cells the corrected figure of a search holds."""
    if not study.searched and study.record.pruner == "none":
        return []
    how = f"searched by {study.kind}" if study.searched else f"pruned by {study.record.pruner}"
    if candidates < 2:
        return [
            f"The study was {how}: no figure is corrected for the selection, because one cell "
            "alone can win, but the search as a whole chose it on the same photos."
        ]
    cells = f"{candidates} {'confirmed cells' if confirmed else 'cells tried'}"
    return [
        f"The study was {how}: the selection-corrected figure holds for the {cells}, not for the "
        "search as a whole, which chose on the same photos."
    ]
