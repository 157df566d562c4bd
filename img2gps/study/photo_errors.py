"""The errors of a study's runs photo by photo, while the study goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from img2gps.analysis.answers import read_answers
from img2gps.analysis.errors import Errors, align
from img2gps.config.schema import SplitKind
from img2gps.core.errors import BadInput
from img2gps.runs.folder import PREDICTIONS
from img2gps.runs.records import read_result


@dataclass(frozen=True)
class Finished:
    """A finished run; `cell` is the cell that is compared, all folds of which are one."""

    folder: Path
    run_id: str
    cell: str
    seed: int


def read_errors(runs: Iterable[Finished]) -> Errors:
    """Read the errors of runs on the photos that they have in common.

    Raises:
        BadInput: a run has no predictions, or the cells were validated on different photos.
    """
    rows = pd.DataFrame([vars(run) for run in runs]).assign(
        rank_cell=lambda table: table["cell"], folder=lambda table: table["folder"].astype(str)
    )
    result = read_result(Path(rows["folder"][0]))
    rows["split/kind"] = (result.split.kind if result else "") or SplitKind.random
    table = read_answers(rows, PREDICTIONS)
    if lacking := set(rows.index) - set(table["run"]):
        raise BadInput(
            f"{rows['folder'][min(lacking)]}: has no readable {PREDICTIONS}, by which a race "
            "compares cells; put it back, or give hydra.sweeper.sampler=grid"
        )
    errors = align(table, rows)
    if sum(errors.left_out) or not errors.photos:
        raise BadInput(
            "the cells were validated on different photos, so they cannot race; give one split, or "
            "hydra.sweeper.sampler=grid"
        )
    return errors
