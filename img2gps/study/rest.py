"""What the rest of a study would bring, said where its budget is spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from img2gps.analysis.stats import LEVEL
from img2gps.analysis.stats.race import Pairs, pairs
from img2gps.analysis.winner import RMSE
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.runs.names import without_fold
from img2gps.runs.records import StudyRecord, StudyRun
from img2gps.runs.states import RunState
from img2gps.study.display import duration
from img2gps.study.photo_errors import Finished, read_errors

NOTICED_M = 5.0  # a difference between cells that matters to somebody


def rest_lines(study: StudyRecord, root: str, left_s: float | None) -> list[str]:
    """Say what the runs that are left would cost and bring."""
    left = [run for run in study.runs if not run.state.has_ended]
    if not left:
        return []
    took = "" if left_s is None else f" (about {duration(left_s)})"
    what = f"{counted(len(left), 'run')}{took}"
    lines = [f"left: {what}; the same command goes on with {'it' if len(left) == 1 else 'them'}"]
    if study.monitor == RMSE and not study.searched:
        lines += _power_lines(study, root, len(left))
    return lines


def _power_lines(study: StudyRecord, root: str, left: int) -> list[str]:
    """Say how the power to notice a difference grows with the runs that are left."""
    done = [run for run in study.runs if run.state is RunState.finished and run.cell]
    untried = {without_fold(run.cell) for run in study.runs} - {without_fold(r.cell) for r in done}
    lines = [f"cells without any finished run: {len(untried)}"] if untried else []
    found = _compared(done, root)
    if found is None:
        return lines
    seeds = {(without_fold(run.cell), run.seed) for run in study.runs}  # folds are no seeds
    planned = pd.Series([cell for cell, _ in seeds]).value_counts()
    later = [float(planned.max())] * len(found.rmse)
    now, then = (_power(found, seeds) for seeds in (found.n_seeds.tolist(), later))
    rest = "the run that is left" if left == 1 else f"the {left} runs that are left"
    return [
        *lines,
        f"power to notice a difference of {NOTICED_M:g} m between the best cell and another: "
        f"{now:.0%} now, {then:.0%} with {rest}",
    ]


def _compared(done: Sequence[StudyRun], root: str) -> Pairs | None:
    """Compare the cells that have the same photos; None where there are no two of them."""
    runs = [Finished(r.folder(root), r.run_id, without_fold(r.cell), r.seed) for r in done]
    if len({run.cell for run in runs}) < 2:
        return None
    try:
        errors = read_errors(runs)
    except BadInput:  # such as cells on different photos: nothing to compare
        return None
    return pairs(errors.error_m, errors.places) if errors.n_spots > 1 else None


def _power(found: Pairs, seeds: Sequence[float]) -> float:
    """Return the power of the middle comparison with the best cell, once cells have these seeds."""
    lead = found.leader
    own = found.seeds * np.minimum(found.n_seeds / np.asarray(seeds), 1.0)
    se = np.sqrt(found.se_spots[:, lead] ** 2 + own + own[lead])
    freedom = np.maximum(found.freedom[:, lead], 1.0)
    limit = stats.t.isf((1 - LEVEL) / 2, freedom)
    others = np.arange(len(se)) != lead
    with np.errstate(divide="ignore"):
        power = np.asarray(stats.t.sf(limit - NOTICED_M / se, freedom))
    return float(np.median(power[others]))
