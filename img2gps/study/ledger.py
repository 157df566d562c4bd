"""The ledger: every planned run as an Optuna trial, claimed once, told once, never lost.

Planned runs are *enqueued* trials, which workers pop: Optuna's grid samplers hand out duplicates to
several workers, the queue does not. A searched study enqueues empty slots, whose values the sampler
draws when a worker has claimed one, so that exactly as many trials run as were asked for.

A trial that ends without a result stays as it is, and the run is enqueued again as a new trial;
so the count of a run's trials tells how often it was tried, and a worker that was given up cannot
write over its successor. Two processes may both enqueue a run again: `claim` lets only one live.

Reading costs what has changed since: trials that are finished never change and are read once.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from img2gps.core import process
from img2gps.core.errors import BadInput
from img2gps.study.space import Params, cell_id
from img2gps.study.spec import Done, Limits, Planned, Spec

# User attributes of a trial
KEY = "key"  # which planned run this is; trials without it are strays of Optuna's
CELL, PARAMS, SEED, NAME, PLANNED = "cell", "params", "seed", "name", "planned"
ALIVE = "alive"  # whose it is, and when that worker was last heard of
OUTCOME = "outcome"  # written by the worker before it tells
LOST = "lost"  # written by whoever takes the trial from a dead worker
# User attributes of the study
SPEC, IGNORED = "spec", "ignored"

EXCEPTION, PREEMPTED, INTERRUPTED, BAD_INPUT = "exception", "preempted", "interrupted", "bad input"
FIRST_CALL_TRIES = 5
CHEAP_TO_READ = 2000  # trials; in a larger ledger a queue that was not empty is tried unseen


class Lost(BaseException):  # an outcome, not an error: training must not catch it
    """The trial was taken from this worker, which must not write about it any more."""


@dataclass(frozen=True)
class PlannedCell:
    """One run to be enqueued; without `params` it is a slot for the sampler."""

    key: str
    params: Params | None
    seed: int
    name: str = ""
    planned: Planned | None = None
    done: Done | None = None  # found finished: recorded, not run


def key_of(params: Mapping[str, Any], seed: int) -> str:
    """What a planned run of a grid is called in the ledger."""
    return f"{cell_id(params)} seed={seed}"


@dataclass(frozen=True)
class Claim:
    """A trial that this worker has to itself."""

    trial: optuna.Trial
    key: str
    seed: int
    params: Params | None
    planned: Planned | None


@dataclass(frozen=True)
class Entry:
    """A planned run as it stands."""

    key: str
    cell: str
    params: Params
    seed: int
    name: str
    state: str  # queued, running, or a run's state
    reason: str
    attempts: int
    planned: Planned | None
    done: Done | None
    worker: Mapping[str, Any] | None
    epochs: int | None  # reported so far
    stuck: bool = False  # ended without a result, with attempts left: to be enqueued again


class Ledger:
    """One study's trials. Open it in each process anew; it may be used by several threads."""

    def __init__(self, storage: BaseStorage, name: str) -> None:
        """Open an existing study.

        Raises:
            KeyError: there is none of that name.
        """
        self.study = optuna.load_study(
            study_name=name,
            storage=storage,
            sampler=optuna.samplers.RandomSampler(),
            pruner=optuna.pruners.NopPruner(),  # Optuna's default would prune a grid
        )
        self._storage = self.study._storage  # the cached one, where Optuna adds a cache
        self._id = self.study._study_id
        self._trials: list[FrozenTrial] = []
        self._open: set[int] = set()  # numbers of trials that may still change
        self._of: dict[str, list[int]] = defaultdict(list)
        self._entries: dict[str, Entry] = {}  # as of the last refresh
        self._watched: dict[int, tuple[str, float]] = {}
        self._ignored: dict[str, int] = {}
        self.identity = process.identity()
        self.engine: dict[str, str | int] | None = None  # the process that looks after this worker
        self.reload()

    @classmethod
    def create(cls, storage: BaseStorage, spec: Spec) -> Ledger:
        """Open the study, made if need be; safe when several processes do it at once."""
        for attempt in range(FIRST_CALL_TRIES):
            try:
                optuna.create_study(
                    study_name=spec.name,
                    storage=storage,
                    direction="minimize" if spec.direction == "minimize" else "maximize",
                    load_if_exists=True,
                )
                break
            except (DuplicatedStudyError, StorageInternalError):
                if attempt == FIRST_CALL_TRIES - 1:
                    raise
                time.sleep(0.1 * (attempt + 1))
        return cls(storage, spec.name)

    # The study

    def reload(self) -> None:
        """Read the study's own attributes again: someone may have planned, retried, forgotten."""
        attributes = self._storage.get_study_user_attrs(self._id)
        self._entries.clear()
        self._ignored = attributes.get(IGNORED, {})
        self._spec = Spec.from_dict(attributes[SPEC]) if SPEC in attributes else None

    @property
    def begun(self) -> bool:
        """Whether the study has ever been planned."""
        return self._spec is not None

    @property
    def spec(self) -> Spec:
        """What the study is."""
        if self._spec is None:
            raise BadInput(f"study={self.study.study_name}: not planned yet; start it by -m")
        return self._spec

    @property
    def limits(self) -> Limits:
        """When a cell is given up."""
        return self.spec.limits if self.begun else Limits()

    def save(self, spec: Spec) -> None:
        """Write what the study is."""
        self._storage.set_study_user_attr(self._id, SPEC, spec.to_dict())
        self.reload()

    def refresh(self) -> None:
        """Take in what other processes wrote."""
        trials = self._storage.get_all_trials(self._id, deepcopy=False)
        for number in [*self._open, *range(len(self._trials), len(trials))]:
            self._take_in(trials[number])

    def _refresh_key(self, key: str) -> None:
        """Take in new trials and those of one run: in a large ledger much cheaper than all."""
        while True:
            try:
                trial_id = self._storage.get_trial_id_from_study_id_trial_number(
                    self._id, len(self._trials)
                )
            except KeyError:
                break
            self._take_in(self._storage.get_trial(trial_id))
        for number in self._of.get(key, ()):
            if number in self._open:
                self._take_in(self._storage.get_trial(self._trials[number]._trial_id))

    def _take_in(self, trial: FrozenTrial) -> None:
        number, key = trial.number, trial.user_attrs.get(KEY)
        if number < len(self._trials):
            self._trials[number] = trial
        else:
            self._trials.append(trial)
            if key is not None:
                self._of[key].append(number)
        if key is not None:
            self._entries.pop(key, None)
        if trial.state.is_finished():
            self._open.discard(number)
            self._watched.pop(number, None)
        else:
            self._open.add(number)

    # Planning

    def known(self, key: str) -> Entry | None:
        """A planned run as it stands, if it is planned."""
        return self.entry(key) if self._live(key) else None

    def plan(self, cells: Iterable[PlannedCell]) -> list[PlannedCell]:
        """Enqueue what is not in the ledger yet, record what is done already; what was new."""
        self.refresh()
        new = [cell for cell in cells if not self._live(cell.key)]
        for cell in new:
            self.study.add_trial(_trial_of(cell))
        self.refresh()
        return new

    def settle(self) -> int:
        """Enqueue again what ended without a result and has attempts left; how many."""
        self.refresh()
        stuck = [entry for entry in self.entries() if entry.stuck]
        for entry in stuck:
            self._again(entry.key)
        if stuck:
            self.refresh()
        return len(stuck)

    def forget(self, keys: Iterable[str], *, again: bool) -> None:
        """Pass over all trials of these runs so far; with `again`, enqueue the runs anew."""
        self.refresh()
        self.reload()
        last = {key: self._of[key][-1] for key in keys if self._of.get(key)}
        self._ignored = {**self._ignored, **last}
        for key, number in last.items():
            if again:
                self._again(key, number, keep_progress=False)
        self._storage.set_study_user_attr(self._id, IGNORED, self._ignored)
        self._entries.clear()
        self.refresh()

    def delete(self) -> None:
        """Remove the study from the storage."""
        optuna.delete_study(study_name=self.study.study_name, storage=self._storage)

    def _again(self, key: str, number: int | None = None, *, keep_progress: bool = True) -> None:
        before = self._trials[self._of[key][-1] if number is None else number]
        kept = (KEY, CELL, PARAMS, SEED, NAME, PLANNED)
        # What pruners know of it: its curve so far and the rungs that it has passed.
        system = dict(before.system_attrs) if keep_progress else {}
        system.pop("fixed_params", None)
        drawn = before.user_attrs.get(PARAMS) is not None
        grid = not self.spec.searched
        if drawn and not grid:
            system["fixed_params"] = before.params
        self.study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=before.params if grid else {},
                distributions=before.distributions if grid else {},
                user_attrs={k: before.user_attrs[k] for k in kept if k in before.user_attrs},
                system_attrs=system,
                intermediate_values=before.intermediate_values if keep_progress else {},
            )
        )

    # Working

    def claim(self) -> Claim | None:
        """Take the next queued run; None if there is none at the moment."""
        while True:
            if len(self._trials) < CHEAP_TO_READ or not self.waiting():
                self.refresh()
                if not self.waiting():
                    return None  # `ask` would make up a trial of its own
            trial = self.study.ask()
            key = trial.user_attrs.get(KEY)
            if key is None:  # made up after all: others were faster
                self._tell(trial._trial_id, TrialState.FAIL)
                self.refresh()
                continue
            try:
                self.beat(trial._trial_id)
                self._refresh_key(key)
                if self._superseded(key, trial.number):
                    self._note(trial._trial_id, OUTCOME, {"kind": "superseded"})
                    self._tell(trial._trial_id, TrialState.FAIL)
                    continue
            except Lost:
                continue
            attributes = trial.user_attrs
            planned = attributes.get(PLANNED)
            return Claim(
                trial,
                key,
                int(attributes[SEED]),
                attributes.get(PARAMS),
                Planned(**planned) if planned else None,
            )

    def draw(self, claim: Claim, params: Params, name: str) -> None:
        """Note what the sampler drew for a slot."""
        trial_id = claim.trial._trial_id
        self._note(trial_id, PARAMS, params)
        self._note(trial_id, CELL, cell_id(params))
        if name:
            self._note(trial_id, NAME, name)

    def beat(self, trial_id: int) -> None:
        """Say that this worker is at it. Raises `Lost`."""
        alive = {"worker": self.identity, "engine": self.engine, "at": time.time()}
        self._note(trial_id, ALIVE, alive)

    def check(self, claim: Claim) -> None:
        """Raise `Lost` unless the trial is still this worker's."""
        trial = self._storage.get_trial(claim.trial._trial_id)
        worker = trial.user_attrs.get(ALIVE, {}).get("worker")
        if trial.state is not TrialState.RUNNING or worker != self.identity:
            raise Lost(claim.key)

    def finish(self, claim: Claim, done: Done) -> None:
        """Record how a run ended by itself. Raises `Lost`."""
        trial_id = claim.trial._trial_id
        self._note(trial_id, OUTCOME, {**asdict(done), "kind": "done"})
        match done.state:
            case "finished" if done.value is not None and math.isfinite(done.value):
                self._tell(trial_id, TrialState.COMPLETE, done.value)
            case "pruned":
                curve = self._storage.get_trial(trial_id).intermediate_values
                last = curve[max(curve)] if curve else math.nan
                value = last if math.isfinite(last) else None
                self._tell(trial_id, TrialState.PRUNED, value)
            case _:
                self._tell(trial_id, TrialState.FAIL)

    def give_back(self, claim: Claim, kind: str, reason: str) -> None:
        """Record that an attempt ended without a result; the run is enqueued again if it may be."""
        self._note(claim.trial._trial_id, OUTCOME, {"kind": kind, "reason": reason})
        self._tell(claim.trial._trial_id, TrialState.FAIL)
        self._requeue(claim.key)

    def reap(self, worker: Mapping[str, Any] | None = None, kind: str = PREEMPTED,
             reason: str = "") -> list[str]:  # fmt: skip
        """Take runs from `worker`, which is dead, or else from every worker that is; their keys.

        A worker of this machine is dead if its process is. One of another machine is given up when
        nothing was heard of it for the grace period *by this process's own clock*: clocks of two
        machines are never compared.
        """
        self.refresh()
        taken = []
        for number in sorted(self._open):
            trial = self._trials[number]
            if trial.state is not TrialState.RUNNING or KEY not in trial.user_attrs:
                continue
            alive = trial.user_attrs.get(ALIVE, {})
            owner, engine = alive.get("worker"), alive.get("engine")
            if owner == self.identity:
                continue
            if worker is not None:
                if owner != worker:
                    continue
                why = reason
            elif process.known_dead(owner):
                if engine is not None and not process.known_dead(engine):
                    continue  # its engine is about to: it alone knows how the worker died
                why = "worker process was killed"
            elif self._silent(trial):
                why = f"nothing heard of its worker for {self.limits.grace_s:g} s"
            else:
                continue
            try:
                self._note(trial._trial_id, LOST, {"kind": kind, "reason": why})
                self._tell(trial._trial_id, TrialState.FAIL)
            except Lost:  # it was told, or taken by someone else, in the meantime
                continue
            self._requeue(trial.user_attrs[KEY])
            taken.append(trial.user_attrs[KEY])
        return taken

    def _silent(self, trial: FrozenTrial) -> bool:
        heard = repr(trial.user_attrs.get(ALIVE))
        now = time.monotonic()
        before, since = self._watched.get(trial.number, (None, now))
        if before != heard:
            self._watched[trial.number] = (heard, now)
            return False
        return now - since > self.limits.grace_s

    def _requeue(self, key: str) -> None:
        self.refresh()
        if self.entry(key).stuck:
            self._again(key)

    # Reading

    def keys(self) -> list[str]:
        """Every planned run, in the order planned, those forgotten left out."""
        if not self._ignored:
            return list(self._of)
        return [key for key in self._of if self._live(key)]

    def entries(self) -> list[Entry]:
        """Every planned run as it stands at the last `refresh`."""
        return [self.entry(key) for key in self.keys()]

    def entry(self, key: str) -> Entry:
        """One planned run as it stands at the last `refresh`."""
        if key not in self._entries:
            self._entries[key] = self._entry(key)
        return self._entries[key]

    def _entry(self, key: str) -> Entry:
        live = self._live(key)
        tried = [t for t in live if _outcome(t).get("kind") != "superseded"] or live
        trial = _telling(tried)
        outcome = _outcome(trial)
        state, stuck = _state(trial, tried, self.limits)
        done = None
        if outcome.get("kind") == "done":
            done = Done(**{k: v for k, v in outcome.items() if k != "kind"})
        attributes = trial.user_attrs
        planned = attributes.get(PLANNED)
        begun = [t for t in tried if t.state is not TrialState.WAITING]
        return Entry(
            key=key,
            cell=attributes.get(CELL, ""),
            params=attributes.get(PARAMS) or {},
            seed=int(attributes.get(SEED, 0)),
            name=attributes.get(NAME, ""),
            state=state,
            reason="" if state in ("queued", "running") else str(outcome.get("reason", "")),
            attempts=0 if done and done.linked else len(begun),
            planned=Planned(**planned) if planned else None,
            done=done,
            worker=attributes.get(ALIVE, {}).get("worker") if state == "running" else None,
            epochs=max(trial.intermediate_values, default=None),
            stuck=stuck,
        )

    def attempts(self) -> int:
        """How many attempts have begun, those of forgotten runs too: it only grows."""
        return sum(trial.state is not TrialState.WAITING for trial in self._trials)

    def waiting(self) -> int:
        """How many runs are queued."""
        return self._count(TrialState.WAITING)

    def running(self) -> int:
        """How many runs are under way, those of workers that are gone included."""
        return self._count(TrialState.RUNNING)

    def busy(self) -> bool:
        """Whether anything is queued or running."""
        return bool(self.waiting() or self.running())

    def _count(self, state: TrialState) -> int:
        trials = (self._trials[number] for number in self._open)
        return sum(t.state is state and KEY in t.user_attrs for t in trials)

    def _live(self, key: str) -> list[FrozenTrial]:
        after = self._ignored.get(key, -1)
        return [self._trials[number] for number in self._of.get(key, ()) if number > after]

    def _superseded(self, key: str, number: int) -> bool:
        """Whether another trial of this run is done, or was enqueued before and is not over."""
        for trial in self._live(key):
            if trial.number == number:
                continue
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                return True
            if not trial.state.is_finished() and trial.number < number:
                return True
        return not any(trial.number == number for trial in self._live(key))  # forgotten meanwhile

    # Writing

    def _note(self, trial_id: int, key: str, value: Any) -> None:
        try:
            self._storage.set_trial_user_attr(trial_id, key, value)
        except UpdateFinishedTrialError as error:
            raise Lost(str(trial_id)) from error

    def _tell(self, trial_id: int, state: TrialState, value: float | None = None) -> None:
        try:
            values = None if value is None else [value]
            self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError as error:
            raise Lost(str(trial_id)) from error


def _trial_of(cell: PlannedCell) -> FrozenTrial:
    attributes: dict[str, Any] = {KEY: cell.key, SEED: cell.seed}
    numbers: dict[str, float] = {}
    if cell.params is not None:
        attributes |= {CELL: cell_id(cell.params), PARAMS: cell.params}
        # Only numbers become Optuna's parameters: it refuses a text axis that grows later.
        numbers = {
            name: float(value)
            for name, value in cell.params.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    if cell.name:
        attributes[NAME] = cell.name
    if cell.planned is not None:
        attributes[PLANNED] = {**asdict(cell.planned), "identity": {}}  # the study keeps one
    state, value = TrialState.WAITING, None
    if cell.done is not None:
        attributes[OUTCOME] = {**asdict(cell.done), "kind": "done"}
        finished = cell.done.state == "finished"
        state = TrialState.COMPLETE if finished else TrialState.FAIL
        value = cell.done.value if finished else None
    return create_trial(
        state=state,
        value=value,
        params=numbers,
        distributions={name: FloatDistribution(v, v) for name, v in numbers.items()},
        user_attrs=attributes,
    )


def _outcome(trial: FrozenTrial) -> dict[str, Any]:
    """How a trial ended; what its worker said counts only if the worker also told it."""
    attributes = trial.user_attrs
    told = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    found = attributes.get(OUTCOME) if told else attributes.get(LOST) or attributes.get(OUTCOME)
    return found or {}


def _telling(tried: list[FrozenTrial]) -> FrozenTrial:
    """The trial that says how the run stands: with a result, else under way, else the last."""
    for states in (
        (TrialState.COMPLETE, TrialState.PRUNED),
        (TrialState.RUNNING,),
        (TrialState.WAITING,),
    ):
        for trial in tried:
            if trial.state in states:
                return trial
    return tried[-1]


def _state(trial: FrozenTrial, tried: list[FrozenTrial], limits: Limits) -> tuple[str, bool]:
    """The run's state, and whether it should be enqueued again."""
    match trial.state:
        case TrialState.COMPLETE:
            return "finished", False
        case TrialState.PRUNED:
            return "pruned", False
        case TrialState.RUNNING:
            return "running", False
        case TrialState.WAITING:
            return "queued", False
    outcomes = [_outcome(t) for t in tried if t.state is TrialState.FAIL]
    if any(o.get("state") == "diverged" for o in outcomes):
        return "diverged", False
    kinds = [o.get("kind") for o in outcomes]
    given_up = (
        BAD_INPUT in kinds
        or "done" in kinds
        or kinds.count(EXCEPTION) >= limits.max_failures
        or kinds.count(PREEMPTED) >= limits.max_preemptions
    )
    return ("failed", False) if given_up else ("queued", True)
