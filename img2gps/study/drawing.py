"""Drawing the values of the trials that one worker has claimed.

A plain search asks its sampler on the ledger itself. Where the sampler shall see something else, it
is asked on a study in memory: with the mean over the runs of each trial, with what other studies
have found, or with constraints, where a draw that does not meet them is drawn again. The ledger has
only what is run.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from img2gps.analysis.winner import FOLD_AXIS
from img2gps.core.errors import BadInput
from img2gps.runs.names import without_fold
from img2gps.runs.states import RunState
from img2gps.study.ledger import Ledger
from img2gps.study.repeats import Trial, trials_of
from img2gps.study.require import meets
from img2gps.study.search import choice_of, distribution, draw, sampler
from img2gps.study.space import Params
from img2gps.study.spec import Spec

MOST_DRAWS = 200  # of one trial; the second half is drawn at random
FIXED = "fixed_params"  # Optuna's: what a trial suggests whatever its sampler says


class Draws:
    """Draws the values of the trials that one worker has claimed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._spec = ledger, ledger.spec
        self._own: BaseSampler | None = None  # a user's sampler may keep a state between trials

    def draw(self, trial: optuna.Trial) -> Params:
        """Draw the values of one trial.

        Raises:
            BadInput: no draw meets the study's constraints.
        """
        study = self._ledger.study
        if not (self._spec.space.require or self._spec.repeated or self._spec.warm_start):
            study.sampler = self._sampler(trial.number, 0)
        else:
            drawn = self._draw_apart(trial)
            study.sampler = RandomSampler()  # has nothing to draw any more
            study._storage.set_trial_system_attr(trial._trial_id, FIXED, drawn.params)
        # Made again, so that this sampler draws and not the one with which it was claimed.
        return draw(self._spec, optuna.Trial(study, trial._trial_id))

    def _sampler(self, number: int, attempt: int) -> BaseSampler:
        if isinstance(self._spec.sampler, str):
            return sampler(self._spec, number, attempt)
        self._own = self._own or sampler(self._spec, number)
        return self._own

    def _draw_apart(self, trial: optuna.Trial) -> optuna.Trial:
        """Draw on a copy of the study until the constraints are met."""
        study = observed(self._ledger, but=trial.number)
        for attempt in range(MOST_DRAWS):
            study.sampler = self._sampler(trial.number, attempt)
            if attempt >= MOST_DRAWS // 2:
                study.sampler = RandomSampler(seed=trial.number * MOST_DRAWS + attempt)
            asked = study.ask()
            if meets(draw(self._spec, asked), self._spec.space.require):
                return asked
            study.tell(asked, state=TrialState.FAIL)
        raise BadInput(
            f"hydra.sweeper.require: none of {MOST_DRAWS} drawn cells meets "
            f"{' and '.join(self._spec.space.require)}; loosen it"
        )


def observed(ledger: Ledger, *, but: int) -> optuna.Study:
    """Return a study in memory with what the sampler may know; `but` is the trial to be drawn."""
    directions = [StudyDirection[name.upper()] for name in ledger.spec.directions.values()]
    study = optuna.create_study(directions=directions)
    study.add_trials(_of_others(ledger))
    study.add_trials(_means(ledger) if ledger.spec.repeated else _own(ledger, but))
    return study


def _own(ledger: Ledger, but: int) -> list[FrozenTrial]:
    """Return the drawn trials as they are in the ledger."""
    return [
        trial
        for trial in ledger.study.get_trials(deepcopy=False)
        if trial.number != but and trial.params and trial.state is not TrialState.WAITING
    ]


def _of_others(ledger: Ledger) -> list[FrozenTrial]:
    """Return what other studies have found as trials of this one."""
    return [
        _trial(ledger.spec, one.params, TrialState.COMPLETE, one.values)
        for name in ledger.spec.warm_start
        for one in ledger.warm.get(name, ())
    ]


def _means(ledger: Ledger) -> list[FrozenTrial]:
    """Return the drawn trials with the mean over the runs of each.

    A trial that was given up lacks runs. So that it can be compared with others, what the missing
    runs added to the mean of a complete trial, in the median, is added to its mean.
    """
    ledger.refresh()
    spec, entries = ledger.spec, ledger.entries()
    trials = {trial.cell: trial for trial in trials_of(spec, entries)}
    complete = [trial for trial in trials.values() if trial.complete]
    found = []
    for first in entries:
        trial = trials.get(without_fold(first.cell))
        if trial is None or not first.is_drawn or first.state.went_wrong:
            continue
        if first.state is RunState.pruned:
            found.append(_trial(spec, first.params, TrialState.PRUNED))
        elif trial.complete or trial.given_up:
            values = [_corrected(trial, complete, aim) for aim in spec.directions]
            found.append(_trial(spec, first.params, TrialState.COMPLETE, values))
        else:
            found.append(_trial(spec, first.params, TrialState.RUNNING))
    return found


def _corrected(trial: Trial, complete: Sequence[Trial], aim: str) -> float:
    own = trial.means(aim)
    if trial.complete or not complete:
        return own[-1]
    others = [other.means(aim) for other in complete]
    return own[-1] + statistics.median(other[-1] - other[len(own) - 1] for other in others)


def _trial(
    spec: Spec, params: Params, state: TrialState, values: list[float] | None = None
) -> FrozenTrial:
    axes = {a.name: a for a in spec.space.axes if a.name in params and a.name != FOLD_AXIS}
    return create_trial(
        state=state,
        values=values,
        params={name: choice_of(axis, params[name]) for name, axis in axes.items()},
        distributions={name: distribution(axis) for name, axis in axes.items()},
    )
