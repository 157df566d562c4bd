"""Which knobs decide whether a trial of a search is among the best: PED-ANOVA.

A search has no full grid, so that the variance cannot be divided among its knobs. PED-ANOVA
(Watanabe, Bansal & Hutter 2023, IJCAI) compares where the best trials lie with where all of them
lie. It is Optuna's.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator

from img2gps.analysis.overview import Searched
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.runs.names import without_fold
from img2gps.runs.records import StudyRecord, StudyRun
from img2gps.runs.states import RunState
from img2gps.study.storage import quiet

BEST = 5  # trials at least that count as the best ones, as Optuna's documentation advises
FEWEST = 3 * BEST  # trials, with fewer of which nothing is said
SHARE = 0.1  # of the trials that count as the best ones, if that is more


def searched_importance(record: StudyRecord) -> Searched | None:
    """Return the importance of each knob of a searched study; None of others and of few trials."""
    if not record.searched or len(record.axes) < 2:
        return None
    trials = _trials(record)
    if len(trials) < FEWEST:
        return None
    quiet()
    study = optuna.create_study(direction=optuna.study.StudyDirection[record.direction.upper()])
    study.add_trials(trials)
    share = max(SHARE, BEST / len(trials))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return Searched(dict(found), len(trials), share) if found else None


def _trials(record: StudyRecord) -> list[optuna.trial.FrozenTrial]:
    """Return the finished cells as trials; runs that only confirm the best ones are left out."""
    confirmed, by_cell = record.confirmation, dict[str, list[StudyRun]]()
    for run in record.runs:
        confirms = confirmed is not None and confirmed.has(run.cell, run.seed)
        if run.state == RunState.finished and run.value is not None and not confirms:
            by_cell.setdefault(without_fold(run.cell), []).append(run)
    return [
        optuna.trial.create_trial(
            params={name: runs[0].params[name] for name in _knobs(runs[0])},
            distributions={name: _distribution(record, name) for name in _knobs(runs[0])},
            value=statistics.fmean(run.value for run in runs if run.value is not None),
        )
        for runs in by_cell.values()
    ]


def _knobs(run: StudyRun) -> list[str]:
    return [name for name in run.params if name != FOLD_AXIS]  # folds are runs of one trial


def _distribution(record: StudyRecord, name: str) -> BaseDistribution:
    """Return what a knob's values were drawn from."""
    interval: Mapping[str, Any] | None = record.intervals.get(name)
    if interval is None:
        return CategoricalDistribution(record.axes[name])
    low, high, log = interval["low"], interval["high"], bool(interval.get("log"))
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)
