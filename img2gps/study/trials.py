"""Planned runs as Optuna trials: what is written of a run, and how its trials tell its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from img2gps.runs.states import RunState
from img2gps.study.space import Params, cell_id
from img2gps.study.spec import Done, Limits, RunRef, Spec

# User attributes of a trial. Ledgers on people's disks have them, so they keep their names.
KEY = "key"  # which planned run this is; trials without it are strays of Optuna's
CELL, PARAMS, SEED, NAME, REF = "cell", "params", "seed", "name", "planned"
ALIVE = "alive"  # the worker, and when it was last heard of
OUTCOME = "outcome"  # written by the worker before it tells Optuna
LOST = "lost"  # written by the process that takes the trial from a dead worker

SLOT = "trial {}"  # the key of a trial whose cell a sampler draws

# Kinds of outcomes
DONE, SUPERSEDED, POSTPONED = "done", "superseded", "postponed"
NO_ATTEMPT = (SUPERSEDED, POSTPONED)
EXCEPTION, PREEMPTED, INTERRUPTED, BAD_INPUT = "exception", "preempted", "interrupted", "bad input"


@dataclass(frozen=True)
class NewRun:
    """A run to be enqueued; without `params` it is a slot for the sampler."""

    key: str
    params: Params | None
    seed: int
    name: str = ""
    ref: RunRef | None = None
    done: Done | None = None  # found finished: recorded and not run
    hidden: bool = False  # from Optuna's samplers, which shall learn from their own trials only


def key_of(params: Mapping[str, Any], seed: int) -> str:
    """Return what a run of a grid is called in the ledger."""
    return f"{cell_id(params)} seed={seed}"


@dataclass(frozen=True)
class Entry:
    """A planned run as it stands."""

    key: str
    cell: str
    params: Params
    seed: int
    name: str
    state: RunState
    reason: str
    attempts: int
    ref: RunRef | None
    done: Done | None
    epochs: int | None  # reported so far
    stuck: bool = False  # ended without a result, with attempts left: to be enqueued again

    @property
    def is_drawn(self) -> bool:
        """Whether a sampler draws, or has drawn, its cell."""
        return self.key.startswith(SLOT.format(""))


def ref_of(attributes: Mapping[str, Any]) -> RunRef | None:
    """Return the run that a trial's attributes name."""
    return RunRef(**attributes[REF]) if attributes.get(REF) else None


def trial_of(run: NewRun, spec: Spec) -> FrozenTrial:
    """Return the trial with which a run is enqueued, or recorded as done."""
    attributes: dict[str, Any] = {KEY: run.key, SEED: run.seed}
    numbers: dict[str, float] = {}
    if run.params is not None:
        attributes |= {CELL: cell_id(run.params), PARAMS: run.params}
        # Only numbers become Optuna's parameters: it refuses a text axis that grows later.
        numbers = {
            name: float(value)
            for name, value in run.params.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and not run.hidden
        }
    if run.name:
        attributes[NAME] = run.name
    if run.ref is not None:
        attributes[REF] = {**asdict(run.ref), "identity": {}}  # the spec keeps one identity
    state, values = TrialState.WAITING, None
    if run.done is not None:
        attributes[OUTCOME] = {**asdict(run.done), "kind": DONE}
        finished = run.done.state is RunState.finished
        state = TrialState.COMPLETE if finished else TrialState.FAIL
        values = run.done.values(spec) if finished else None
    return create_trial(
        state=state,
        values=values,
        params=numbers,
        distributions={name: FloatDistribution(v, v) for name, v in numbers.items()},
        user_attrs=attributes,
    )


def entry_of(key: str, live: list[FrozenTrial], limits: Limits) -> Entry:
    """Return how a run stands, given all its trials that count."""
    tried = [t for t in live if _outcome(t).get("kind") not in NO_ATTEMPT] or live
    trial = _telling(tried)
    outcome, attributes = _outcome(trial), trial.user_attrs
    params = attributes.get(PARAMS) or {}  # older ledgers may have these and lack the cell
    state, stuck = _state(trial, tried, limits)
    done = Done.from_dict(outcome) if outcome.get("kind") == DONE else None
    begun = [t for t in tried if t.state is not TrialState.WAITING
             and _outcome(t).get("kind") not in NO_ATTEMPT]  # fmt: skip
    return Entry(
        key=key,
        cell=attributes.get(CELL) or (cell_id(params) if params else ""),
        params=params,
        seed=int(attributes.get(SEED, 0)),
        name=attributes.get(NAME, ""),
        state=state,
        reason=str(outcome.get("reason", "")) if state.has_ended else "",
        attempts=0 if done and (done.linked or done.epochs is None) else len(begun),
        ref=ref_of(attributes),
        done=done,
        epochs=max(trial.intermediate_values, default=None),
        stuck=stuck,
    )


def _outcome(trial: FrozenTrial) -> dict[str, Any]:
    """Return how a trial ended. The worker's record counts only if Optuna's trial has ended."""
    attributes = trial.user_attrs
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    found = attributes.get(OUTCOME) if ended else attributes.get(LOST) or attributes.get(OUTCOME)
    return found or {}


def _telling(tried: list[FrozenTrial]) -> FrozenTrial:
    """Return the trial that decides the run's state: with a result, else running, else the last."""
    for states in (
        (TrialState.COMPLETE, TrialState.PRUNED),
        (TrialState.RUNNING,),
        (TrialState.WAITING,),
    ):
        for trial in tried:
            if trial.state in states:
                return trial
    return tried[-1]


def _state(trial: FrozenTrial, tried: list[FrozenTrial], limits: Limits) -> tuple[RunState, bool]:
    """Return the run's state, and whether it should be enqueued again."""
    if trial.state is not TrialState.FAIL:
        return _STATES[trial.state], False
    outcomes = [_outcome(t) for t in tried if t.state is TrialState.FAIL]
    if any(outcome.get("state") == RunState.diverged for outcome in outcomes):
        return RunState.diverged, False
    if any(outcome.get("state") == RunState.pruned for outcome in outcomes):
        return RunState.pruned, False  # never begun, because its trial was given up
    kinds = [outcome.get("kind") for outcome in outcomes]
    given_up = (
        BAD_INPUT in kinds
        or DONE in kinds
        or kinds.count(EXCEPTION) >= limits.max_failures
        or kinds.count(PREEMPTED) >= limits.max_preemptions
    )
    return (RunState.failed, False) if given_up else (RunState.queued, True)


_STATES = {
    TrialState.COMPLETE: RunState.finished,
    TrialState.PRUNED: RunState.pruned,
    TrialState.RUNNING: RunState.running,
    TrialState.WAITING: RunState.queued,
}
