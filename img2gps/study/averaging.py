"""The average of the best cells' runs as a study's answer, and the error to expect of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from img2gps.analysis.answers import read_answers
from img2gps.analysis.errors import align
from img2gps.analysis.stats import average_of_best
from img2gps.analysis.winner import Rule
from img2gps.core.errors import BadInput
from img2gps.inference import held_out
from img2gps.runs.folder import PREDICTIONS
from img2gps.runs.names import without_fold
from img2gps.runs.records import StudyRun
from img2gps.runs.winner import Winner


def averaged(
    winner: Winner, cells: Mapping[str, Sequence[StudyRun]], rule: Rule, root: Path
) -> Winner:
    """Return the winner that answers with the average of all runs of its best cells.

    Args:
        winner: has selected its cells.
        cells: those that took part, with their runs.
        rule: by which they were selected.
        root: the runs root.

    Raises:
        BadInput: there is one run only.
    """
    runs = [run for cell in winner.cells or [winner.cell] for run in cells[cell]]
    if len(runs) < 2:
        raise BadInput(f"--average: {winner.cell} has one run only; leave it out, or give --top 3")
    runs.sort(key=lambda run: run.run_id != winner.run_id)
    errors = held_out.validation([run.folder(root) for run in runs]).photos["error_m"]
    by_rmse = not winner.prefer and replace(rule, top=1) == Rule()
    everyone = [run for own in cells.values() for run in own]
    return replace(
        winner,
        average=[run.path for run in runs],
        average_rmse_m=held_out.rmse_m(errors),
        average_expected_m=_expected_m(everyone, winner.top, root) if by_rmse else None,
    )


def _expected_m(runs: Iterable[StudyRun], top: int, root: Path) -> float | None:
    """Return the RMSE to expect of the average of the best cells; None where nothing was chosen."""
    rows = pd.DataFrame(
        {
            "folder": str(run.folder(root)),
            "seed": run.seed,
            "run_id": run.run_id,
            "cell": run.cell,
            "rank_cell": without_fold(run.cell),
        }
        for run in runs
    )
    table = read_answers(rows, PREDICTIONS)
    if rows["rank_cell"].nunique() <= top or set(table["run"]) != set(rows.index):
        return None
    errors = align(table, rows)
    if errors.away_m is None or errors.n_spots < 2:
        return None
    return average_of_best(errors.error_m, errors.away_m, errors.places, top).corrected
