"""The ledger: each planned run is an Optuna trial, which one worker claims and reports.

Planned runs are *enqueued* trials, which workers claim one by one. (Optuna's grid samplers hand out
duplicates to several workers.) A searched study enqueues empty slots. The sampler draws a slot's
values when a worker has claimed it, so that exactly as many trials run as were asked for.

A trial that ends without a result stays as it is, and the run is enqueued again as a new trial. So
the number of a run's trials tells how often it was tried, and a worker that was given up cannot
write over its successor. Two processes may both enqueue a run again: `claim` lets only one live.

Reading costs as much as has changed since: finished trials never change and are read once.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from img2gps.core import process
from img2gps.core.errors import BadInput
from img2gps.runs.confirm import Confirmation
from img2gps.runs.race import Look
from img2gps.runs.states import RunState
from img2gps.study.bulk import add_trials, new_trials, open_trials, read_trials, take_first
from img2gps.study.locking import study_lock
from img2gps.study.patience import Patience
from img2gps.study.space import Params, cell_id
from img2gps.study.spec import Done, Limits, RunRef, Spec
from img2gps.study.spending import broken_limit
from img2gps.study.storage import database_of, in_bulk
from img2gps.study.trials import (
    ALIVE,
    CELL,
    DONE,
    KEY,
    LOST,
    NAME,
    OUTCOME,
    PARAMS,
    PREEMPTED,
    REF,
    SEED,
    SUPERSEDED,
    Entry,
    NewRun,
    entry_of,
    ref_of,
    trial_of,
)
from img2gps.study.warm import Observation

# User attributes of the study
SPEC, IGNORED = "spec", "ignored"
LOOK = "look {}"  # a decision of a race, by its number
CONFIRMATION = "confirmation"
WARM = "warm start"  # by study, the observations that the sampler began with

FIRST_CALL_TRIES = 5
FEW = 1000  # trials, up to which reading them alone takes less than reading all
CHEAP_TO_READ = 2000  # trials; in a larger ledger `claim` looks only at a queue that seems empty


class Lost(BaseException):  # a BaseException, so that training code does not catch it
    """The trial was taken from this worker, which must not write about it any more."""


@dataclass(frozen=True)
class Claim:
    """A trial that this worker has to itself."""

    trial: optuna.Trial
    key: str
    seed: int
    params: Params | None
    ref: RunRef | None


class Ledger:
    """One study's trials. Each process opens its own; threads share one only to write."""

    def __init__(self, storage: BaseStorage, name: str) -> None:
        """Open an existing study.

        Raises:
            KeyError: there is none of that name.
        """
        self._storage = optuna.storages.get_storage(storage)  # with Optuna's cache
        self.patience = Patience(self._storage, Limits().storage_patience_s)
        self.study = optuna.load_study(
            study_name=name,
            storage=self._storage,
            sampler=optuna.samplers.RandomSampler(),
            pruner=optuna.pruners.NopPruner(),  # Optuna's default would prune a grid
        )
        self._id = self.study._study_id
        self._trials: list[FrozenTrial] = []
        self._open: set[int] = set()  # numbers of trials that may still change
        self._of: dict[str, list[int]] = defaultdict(list)
        self._entries: dict[str, Entry] = {}  # as of the last refresh
        self._watched: dict[int, tuple[str, float]] = {}
        self._ignored: dict[str, int] = {}
        self.confirmation: Confirmation | None = None  # which cells of a search are confirmed
        self.warm: dict[str, list[Observation]] = {}  # of other studies, by their names
        self.looks: list[Look] = []  # what a race has decided
        self.places: dict[str, Any] = {}  # folders of this machine in place of the ledger's
        self.identity = process.identity()
        self._database = database_of(self._storage)
        self._in_postgresql = (
            self._database is not None and self._database.engine.dialect.name == "postgresql"
        )
        self._open_trials = self.patience.patient(open_trials)
        self._new_trials = self.patience.patient(new_trials)
        self._read_trials = self.patience.patient(read_trials)
        self._take_first = self.patience.patient(take_first)
        self._add_missing = self.patience.patient(self._write_missing)
        self.engine: dict[str, str | int] | None = None  # the process that looks after this worker
        self.reload()

    @classmethod
    def create(cls, storage: BaseStorage, spec: Spec) -> Ledger:
        """Open the study; make it if there is none. Several processes may do this at once."""
        for attempt in range(FIRST_CALL_TRIES):
            try:
                optuna.create_study(
                    study_name=spec.name,
                    storage=storage,
                    directions=[
                        StudyDirection[direction.upper()] for direction in spec.directions.values()
                    ],
                    load_if_exists=True,
                )
                break
            except (DuplicatedStudyError, StorageInternalError):
                if attempt == FIRST_CALL_TRIES - 1:
                    raise
                time.sleep(0.1 * (attempt + 1))
        return cls(storage, spec.name)

    def twin(self) -> Ledger:
        """Return the same ledger for another thread to read."""
        twin = Ledger(self._storage, self.study.study_name)
        twin.places, twin.identity, twin.engine = self.places, self.identity, self.engine
        twin.reload()
        return twin

    # The study

    def reload(self) -> None:
        """Read the study's own attributes again, which another process may have changed."""
        attributes = self._storage.get_study_user_attrs(self._id)
        self._entries.clear()
        self._ignored = attributes.get(IGNORED, {})
        plain = attributes.get(SPEC)
        self._spec = None if plain is None else replace(Spec.from_dict(plain), **self.places)
        plain = attributes.get(CONFIRMATION)
        self.confirmation = None if plain is None else Confirmation.from_dict(plain)
        found = attributes.get(WARM, {})
        self.warm = {name: [Observation.from_dict(o) for o in own] for name, own in found.items()}
        self.looks = []
        while (plain := attributes.get(LOOK.format(len(self.looks) + 1))) is not None:
            self.looks.append(Look.from_dict(plain))
        self.patience.patience_s = self.limits.storage_patience_s

    @property
    def begun(self) -> bool:
        """Whether the study has ever been planned."""
        return self._spec is not None

    @property
    def spec(self) -> Spec:
        """The study's spec."""
        if self._spec is None:
            raise BadInput(f"study={self.study.study_name}: not planned yet; start it with -m")
        return self._spec

    @property
    def limits(self) -> Limits:
        """When a run is given up."""
        return self.spec.limits if self.begun else Limits()

    def save(self, spec: Spec) -> None:
        """Write what the study is."""
        self._storage.set_study_user_attr(self._id, SPEC, spec.to_dict())
        self.reload()

    def add_look(self, look: Look) -> None:
        """Write what a race has decided."""
        self._storage.set_study_user_attr(self._id, LOOK.format(look.number), asdict(look))
        self.reload()

    def confirm(self, confirmation: Confirmation) -> None:
        """Write which cells of a search are confirmed."""
        self._storage.set_study_user_attr(self._id, CONFIRMATION, confirmation.to_dict())
        self.reload()

    def warm_up(self, found: Mapping[str, list[Observation]]) -> None:
        """Write what other studies have found, with which the sampler begins."""
        warm = {**self.warm, **found}
        plain = {name: [one.to_dict() for one in own] for name, own in warm.items()}
        self._storage.set_study_user_attr(self._id, WARM, plain)
        self.reload()

    def lock(self) -> AbstractContextManager[None]:
        """Return what lets one process at a time decide something about the study."""
        return study_lock(Path(self.spec.root), self.spec.name, self._storage)

    def awaits_more(self) -> bool:
        """Whether the engine may queue more runs: a race goes on, or a search is confirmed."""
        self.reload()
        if self.spec.raced:
            return not (self.looks and self.looks[-1].end)
        wanted, found = self.spec.confirm, self.confirmation
        if not wanted.top or found is None:
            return bool(wanted.top) and bool(self.entries())
        return len(found.cells) < min(wanted.top, found.trials) or len(found.seeds) < wanted.seeds

    def refresh(self) -> None:
        """Read what other processes have written."""
        known = len(self._trials)
        if self._database is not None:
            changed = self._changed(self._open_trials(self._database, self._id, known))
            if len(changed) <= FEW:
                for trial in self._read_trials(self._database, self._id, changed):
                    self._take_in(trial)
                return
        trials = self._storage.get_all_trials(self._id, deepcopy=False)
        for number in [*self._open, *range(known, len(trials))]:
            self._take_in(trials[number])

    def _changed(self, found: list[tuple[int, int, TrialState]]) -> list[int]:
        """Return the ids of trials that are new, have moved on, or may be reporting, in order."""
        states = {number: state for number, _, state in found}
        moved = [
            self._trials[number]._trial_id
            for number in sorted(self._open)
            if states.get(number) != TrialState.WAITING
        ]
        return moved + [trial_id for number, trial_id, _ in found if number >= len(self._trials)]

    def _refresh_key(self, key: str) -> None:
        """Read new trials and those of one run. In a large ledger that is faster than `refresh`."""
        if self._database is not None:
            new = self._new_trials(self._database, self._id, len(self._trials))
            open_ = [self._trials[n]._trial_id for n in self._of.get(key, ()) if n in self._open]
            for trial in self._read_trials(self._database, self._id, [*open_, *new]):
                self._take_in(trial)
            return
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
        """Return a planned run as it stands; None if it is not planned."""
        return self.entry(key) if self._live(key) else None

    def enqueue(self, runs: Iterable[NewRun]) -> list[NewRun]:
        """Add the runs that are not in the ledger yet, and return them."""
        self.refresh()
        new = [run for run in runs if not self._live(run.key)]
        if self._database is not None:
            self._add_missing(self._database, new)
        else:
            with in_bulk(self._storage):
                for run in new:
                    self.study.add_trial(trial_of(run, self.spec))
        self.refresh()
        return new

    def _write_missing(self, database: RDBStorage, runs: Sequence[NewRun]) -> None:
        """Add those of the runs that a try before this one has not added."""
        self.refresh()
        missing = [run for run in runs if not self._live(run.key)]
        add_trials(database, self._id, [trial_of(run, self.spec) for run in missing])

    def settle(self) -> int:
        """Enqueue again the runs that ended without a result and have attempts left; count them."""
        self.refresh()
        stuck = [entry for entry in self.entries() if entry.stuck]
        for entry in stuck:
            self._again(entry.key)
        if stuck:
            self.refresh()
        return len(stuck)

    def forget(self, keys: Iterable[str], *, again: bool) -> None:
        """Ignore all trials of these runs so far; with `again`, enqueue the runs anew."""
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
        drawn = before.user_attrs.get(PARAMS) is not None
        kept = (KEY, SEED, REF, *((CELL, PARAMS, NAME) if drawn else ()))
        # What pruners know of it: the curve so far and the rungs that it has passed.
        system = dict(before.system_attrs) if keep_progress else {}
        system.pop("fixed_params", None)
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
        """Claim the next queued run; return None if there is none at the moment."""
        while (trial := self._begin_first()) is not None:
            key = trial.user_attrs[KEY]
            try:
                self.beat(trial._trial_id)
                self._refresh_key(key)
                if self._superseded(key, trial.number):
                    self._note(trial._trial_id, OUTCOME, {"kind": SUPERSEDED})
                    self._tell(trial._trial_id, TrialState.FAIL)
                    continue
            except Lost:
                continue
            attributes = trial.user_attrs
            params = attributes.get(PARAMS)
            return Claim(trial, key, int(attributes[SEED]), params, ref_of(attributes))
        return None

    def _begin_first(self) -> optuna.Trial | None:
        """Begin the queued trial that comes first; None if none is queued."""
        if self._in_postgresql and not (self.begun and self.spec.repeated):
            trial_id = self._take_first(self._database, self._id)
            return None if trial_id is None else self._begun(trial_id)
        while True:
            if len(self._trials) < CHEAP_TO_READ or self._first_waiting() is None:
                self.refresh()
            if (number := self._first_waiting()) is None:
                return None
            if (trial := self._take(number)) is not None:
                return trial

    def _begun(self, trial_id: int) -> optuna.Trial:
        """Return a trial that this process has begun."""
        self.study._thread_local.cached_all_trials = None  # so that a sampler reads them anew
        trial = optuna.Trial(self.study, trial_id)
        if trial.number >= len(self._trials):
            self.refresh()
        self._take_in(trial._cached_frozen_trial)
        return trial

    def _first_waiting(self) -> int | None:
        waiting = (n for n in self._open if self._trials[n].state is TrialState.WAITING)
        planned = (n for n in waiting if KEY in self._trials[n].user_attrs)
        if not (self.begun and self.spec.repeated):
            return min(planned, default=None)
        # A trial that has begun goes on before the next one begins.
        begun = {n: PARAMS in self._trials[n].user_attrs for n in planned}
        return min(begun, key=lambda n: (not begun[n], n), default=None)

    def _take(self, number: int) -> optuna.Trial | None:
        """Begin a queued trial; None if another worker has done so.

        Optuna's `ask` would read the whole queue for that.
        """
        trial_id = self._trials[number]._trial_id
        try:
            taken = self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            taken = False
        if not taken:
            self._take_in(self._storage.get_trial(trial_id))
            return None
        return self._begun(trial_id)

    def draw(self, claim: Claim, params: Params, name: str) -> None:
        """Write down what the sampler drew for a slot.

        The values come last, because a slot counts as drawn as soon as they are there, also where
        its worker dies in between.
        """
        trial_id = claim.trial._trial_id
        if name:
            self._note(trial_id, NAME, name)
        self._note(trial_id, CELL, cell_id(params))
        self._note(trial_id, PARAMS, params)

    def beat(self, trial_id: int) -> None:
        """Write down that this worker is alive. Raises `Lost`."""
        alive = {"worker": self.identity, "engine": self.engine, "at": time.time()}
        self._note(trial_id, ALIVE, alive)

    def check(self, claim: Claim) -> None:
        """Raise `Lost` unless the trial is still this worker's."""
        with _lost_if_gone(claim.key):
            trial = self._storage.get_trial(claim.trial._trial_id)
        worker = trial.user_attrs.get(ALIVE, {}).get("worker")
        if trial.state is not TrialState.RUNNING or worker != self.identity:
            raise Lost(claim.key)

    def report(self, claim: Claim, epoch: int, value: float) -> None:
        """Write down the monitored metric of an epoch."""
        with _lost_if_gone(claim.key):
            if self.spec.aims:  # Optuna itself refuses reports of trials with several values
                trial_id = claim.trial._trial_id
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
            else:
                claim.trial.report(value, epoch)

    def finish(self, claim: Claim, done: Done) -> None:
        """Record how a run ended by itself. Raises `Lost`."""
        trial_id = claim.trial._trial_id
        self._note(trial_id, OUTCOME, {**asdict(done), "kind": DONE})
        match done.state:
            case RunState.finished if (values := done.values(self.spec)) is not None:
                self._tell(trial_id, TrialState.COMPLETE, values)
            case RunState.pruned:
                curve = self._storage.get_trial(trial_id).intermediate_values
                last = curve[max(curve)] if curve else math.nan
                self._tell(trial_id, TrialState.PRUNED, [last] if math.isfinite(last) else None)
            case _:
                self._tell(trial_id, TrialState.FAIL)

    def give_back(self, claim: Claim, kind: str, reason: str) -> None:
        """Record that an attempt ended without a result, and enqueue the run again if allowed."""
        self._note(claim.trial._trial_id, OUTCOME, {"kind": kind, "reason": reason})
        self._tell(claim.trial._trial_id, TrialState.FAIL)
        self._requeue(claim.key)

    def reap(self, worker: Mapping[str, Any] | None = None, kind: str = PREEMPTED,
             reason: str = "") -> list[str]:  # fmt: skip
        """Take back the runs of `worker`, which is dead, or else of every dead worker.

        A worker of this machine is dead if its process is. A worker of another machine is given up
        when nothing was heard of it for the grace period *by this process's own clock*: the clocks
        of two machines are never compared.

        Returns:
            The keys of the runs.
        """
        self.refresh()
        taken = []
        for number in sorted(self._open):
            trial = self._trials[number]
            if trial.state is not TrialState.RUNNING or KEY not in trial.user_attrs:
                continue
            if worker is None:
                why = self._presumed_dead(trial)
            else:
                own = trial.user_attrs.get(ALIVE, {}).get("worker") == worker
                why = reason if own else None
            if why is None:
                continue
            try:
                self._note(trial._trial_id, LOST, {"kind": kind, "reason": why})
                self._tell(trial._trial_id, TrialState.FAIL)
            except Lost:  # its worker or another process has ended it in the meantime
                continue
            self._requeue(trial.user_attrs[KEY])
            taken.append(trial.user_attrs[KEY])
        return taken

    def _presumed_dead(self, trial: FrozenTrial) -> str | None:
        """Return why the worker of a trial counts as dead; None if it does not."""
        alive = trial.user_attrs.get(ALIVE, {})
        owner, engine = alive.get("worker"), alive.get("engine")
        if owner == self.identity:
            return None
        if process.known_dead(owner):
            if engine is not None and not process.known_dead(engine):
                return None  # its engine, which alone knows how it died, is about to take it
            return "worker process was killed"
        if self._silent(trial):
            return f"nothing heard of its worker for {self.limits.grace_s:g} s"
        return None

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
        """Return the key of every planned run in order, without those that were forgotten."""
        if not self._ignored:
            return list(self._of)
        return [key for key in self._of if self._live(key)]

    def entries(self) -> list[Entry]:
        """Return every planned run as it stood at the last `refresh`."""
        return [self.entry(key) for key in self.keys()]

    def entry(self, key: str) -> Entry:
        """Return the state of one planned run at the last `refresh`."""
        if key not in self._entries:
            self._entries[key] = entry_of(key, self._live(key), self.limits)
        return self._entries[key]

    def waiting(self) -> int:
        """Count the queued runs."""
        return self._count(TrialState.WAITING)

    def running(self) -> int:
        """Count the runs under way, including those whose worker is gone."""
        return self._count(TrialState.RUNNING)

    def workers(self) -> list[dict[str, str | int]]:
        """Return who works on the runs under way, beside this process; the dead are left out.

        Those of this machine come first. An engine stands for the workers that it looks after.
        """
        signs = self.signs_of_life().values()
        found = [alive["engine"] or alive["worker"] for alive in signs if alive]
        others = [one for one in found if one != self.identity and not process.known_dead(one)]
        return sorted(others, key=lambda one: not process.is_local(one))

    def signs_of_life(self) -> dict[int, dict[str, Any]]:
        """Return what each worker last wrote of itself, by the trial under way."""
        trials = (self._trials[number] for number in sorted(self._open))
        return {
            t.number: t.user_attrs.get(ALIVE, {})
            for t in trials
            if t.state is TrialState.RUNNING and KEY in t.user_attrs
        }

    def busy(self) -> bool:
        """Whether anything is queued or running."""
        return bool(self.waiting() or self.running())

    def over_budget(self) -> str:
        """Return which limit of the budget another run would break; "" if none."""
        budget = self.spec.budget
        if budget.runs is None and budget.epochs is None:
            return ""
        self.refresh()
        return broken_limit(budget, self.entries(), self.spec.max_epochs)

    def _count(self, state: TrialState) -> int:
        trials = (self._trials[number] for number in self._open)
        return sum(t.state is state and KEY in t.user_attrs for t in trials)

    def _live(self, key: str) -> list[FrozenTrial]:
        after = self._ignored.get(key, -1)
        return [self._trials[number] for number in self._of.get(key, ()) if number > after]

    def _superseded(self, key: str, number: int) -> bool:
        """Whether another trial of this run is done, or was enqueued before and has not ended."""
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
            with _lost_if_gone(str(trial_id)):
                self._storage.set_trial_user_attr(trial_id, key, value)
        except UpdateFinishedTrialError as error:
            raise Lost(str(trial_id)) from error

    def _tell(self, trial_id: int, state: TrialState, values: list[float] | None = None) -> None:
        try:
            with _lost_if_gone(str(trial_id)):
                self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError as error:
            raise Lost(str(trial_id)) from error


@contextmanager
def _lost_if_gone(what: str) -> Iterator[None]:
    """Raise `Lost` where the trial is gone because its study was forgotten."""
    try:
        yield
    except (KeyError, FileNotFoundError) as error:  # the latter of a journal file
        raise Lost(what) from error
