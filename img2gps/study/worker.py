"""A worker: claims one run after another until nothing is queued or running.

The engine starts it as a process: `python -m img2gps.study.worker STUDY`. The ledger's address,
which may hold a password, is in the environment, where other users cannot read it.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from img2gps.core import pulse
from img2gps.core.beside import beside
from img2gps.core.errors import BadInput, GpuFull, ProcessLost
from img2gps.core.process import die_with, identity
from img2gps.core.signals import Interrupted
from img2gps.runs.folder import Locked
from img2gps.runs.states import RunState
from img2gps.runs.store import StoreAway
from img2gps.study import search
from img2gps.study.budget import Budget
from img2gps.study.drawing import Draws
from img2gps.study.ledger import Claim, Ledger, Lost
from img2gps.study.patience import Unreachable, is_full
from img2gps.study.process import HUNG, OVERTIME, Stop, how_it_died
from img2gps.study.repeats import Repeats
from img2gps.study.space import name_of
from img2gps.study.spec import (
    PARENT_VARIABLE,
    PLACES_VARIABLE,
    STORAGE_VARIABLE,
    Done,
    Limits,
    Runner,
    make_runner,
)
from img2gps.study.storage import open_storage
from img2gps.study.trials import BAD_INPUT, EXCEPTION, INTERRUPTED, POSTPONED, PREEMPTED

log = logging.getLogger(__name__)

POLL_S = 0.5  # between two looks at a ledger that has nothing queued
IDLE_SHARE, LONGEST_IDLE_PAUSE_S = 0.1, 10.0  # of the time that a worker has waited
LONGEST_PAUSE_S = 60.0  # when all that is queued had to be postponed
REASON_LENGTH = 300


class Worker:
    """Runs what the ledger has queued."""

    def __init__(self, ledger: Ledger, runner: Runner, stop: Stop) -> None:
        self.ledger, self.runner, self.stop = ledger, runner, stop
        self.spec = ledger.spec
        self._draws = Draws(ledger)
        self._repeats = Repeats(ledger, runner)
        ledger.study.pruner = search.pruner(self.spec)

    def work(
        self,
        before_each: Callable[[], None] = lambda: None,
        more: Callable[[], bool] = lambda: False,
        enough: Callable[[], object] = lambda: False,
        *,
        wait: bool = True,
    ) -> None:
        """Run what is queued, wait for what others run, and return when all has ended.

        Where nothing is queued or running, `more` tells whether further runs will come. `enough`
        is asked before each run: once it returns something, no other run is begun. Without
        `wait`, it returns as soon as nothing is queued.

        Raises:
            Interrupted: the process was asked to stop; the run under way is queued again.
        """
        ledger = self.ledger
        ledger.reap()
        postponed = 0  # runs in a row
        idle_since = time.monotonic()
        while True:
            if self.stop.wanted:
                raise Interrupted(self.stop.signum or 0)
            if enough():
                return
            self._repeats.advance()
            claim = self._claim()
            if claim is not None:
                before_each()
                postponed = 0 if self.attempt(claim) else postponed + 1
                idle_since = time.monotonic()
                if not postponed:
                    continue
            else:
                ledger.reap()
                if ledger.settle():
                    idle_since = time.monotonic()
                    continue
                if not wait if ledger.busy() else not more():
                    return
            with self.stop.interruptible():
                time.sleep(_pause(postponed, time.monotonic() - idle_since))

    def _claim(self) -> Claim | None:
        """Claim a run that the budget allows; no two workers may both take the last one."""
        if self.spec.budget == Budget():
            return self.ledger.claim()
        with self.ledger.lock():
            return None if self.ledger.over_budget() else self.ledger.claim()

    def attempt(self, claim: Claim) -> bool:
        """Attempt one run and record in the ledger how it ended.

        Returns:
            False if the run had to be postponed.
        """
        try:
            with _heartbeat(self.ledger, claim, self.spec.limits):
                try:
                    self.ledger.finish(claim, self._run(claim))
                except (Exception, SystemExit, Interrupted) as error:
                    kind, reason = self._kind_of(error)
                    self.ledger.give_back(claim, kind, reason)
                    if kind == INTERRUPTED:
                        raise Interrupted(self.stop.signum or 0) from error
                    return kind != POSTPONED
        except Lost:
            log.warning("%s was taken from this worker and is left to its successor", claim.key)
        return True

    def _kind_of(self, error: BaseException) -> tuple[str, str]:
        """Return what an error means for the run, and the reason to record."""
        # Lightning, Hydra and OmegaConf turn a signal into errors of their own.
        if isinstance(error, Interrupted) or self.stop.wanted:
            return INTERRUPTED, "interrupted"
        line = " ".join(str(error).split())[:REASON_LENGTH]
        if is_full(error):
            log.warning("%s: no room on the disk; trying again later", self.spec.root)
            return POSTPONED, line
        match error:
            case Locked() | StoreAway():  # by a single run, an upload, or a worker given up
                log.warning("%s; trying again later", line)
                return POSTPONED, line
            case GpuFull():  # perhaps only beside other workers, so it is attempted again
                log.warning("%s", line)
                return EXCEPTION, line
            case BadInput():
                return BAD_INPUT, line
            case ProcessLost():
                log.warning("%s", line)
                return PREEMPTED, line
            case SystemExit():
                return EXCEPTION, f"the run ended its process: {line}"
        traceback.print_exception(error)  # into the worker's log
        return EXCEPTION, f"{type(error).__name__}: {line}"

    def _run(self, claim: Claim) -> Done:
        params = claim.params
        if params is None:
            params = self._draws.draw(claim.trial)
            self.ledger.draw(claim, params, name_of(params, self.spec.named_cells))
        overrides = self.spec.overrides_of(params, claim.seed)
        with self.stop.interruptible():
            ref = claim.ref or self.runner.identify(overrides)
            if (found := self.runner.find([ref]).get(ref.run_id)) is not None:
                return self._checked(found)
            last_epoch = int(params.get("max_epochs", self.spec.max_epochs))
            hook = search.epoch_hook(self.ledger, claim, self.spec.monitor, last_epoch, self.stop)
            return self._checked(self.runner.run(overrides, hook))

    def _checked(self, done: Done) -> Done:
        """Return how a run ended, provided that it has a figure for each of several aims."""
        missing = [aim for aim in self.spec.aims if done.aims.get(aim) is None]
        if missing and done.state is RunState.finished:
            raise BadInput(
                f"monitor={missing[0]}: run {done.run_id} has no such figure; see `absent` in its "
                "result.json, or leave that aim out"
            )
        return done


def _pause(postponed: int, idle_s: float) -> float:
    """Return the seconds until the ledger is looked at again.

    Args:
        postponed: how many runs in a row had to be.
        idle_s: for how long nothing was queued. The pause grows with it, so that many workers that
            wait for the last runs of others ask the ledger little.
    """
    if postponed:
        return min(POLL_S * 2.0 ** min(postponed, 10), LONGEST_PAUSE_S)
    return min(max(POLL_S, IDLE_SHARE * idle_s), LONGEST_IDLE_PAUSE_S) * random.uniform(0.8, 1.2)


@contextmanager
def _heartbeat(ledger: Ledger, claim: Claim, limits: Limits) -> Iterator[None]:
    """Tell the ledger regularly that this worker is alive; exit when its engine or its run is not.

    A thread that hangs in a library cannot be interrupted, so the whole process ends.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    watchdog = Watchdog(limits)

    def beat(ended: threading.Event) -> None:
        while not ended.wait(limits.heartbeat_s):
            if parent and os.getppid() != int(parent):  # not every kernel does that for us
                os._exit(1)
            if status := watchdog.look():
                _end(ledger, claim, status, in_engine=parent is None)
            try:
                ledger.beat(claim.trial._trial_id)
            except (Lost, Unreachable):
                return
            except Exception as error:  # the server may be back in a moment
                log.warning("heartbeat not written (%s); trying again", error)

    with beside(beat, "heartbeat"):
        yield


class Watchdog:
    """Sees that a run hangs or takes too long."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._began = self._looked = time.monotonic()
        pulse.beat()

    def look(self) -> int:
        """Return `HUNG` or `OVERTIME`; 0 if all is well."""
        now = time.monotonic()
        asleep, self._looked = now - self._looked > self._limits.grace_s, now
        if asleep:  # the whole process was stopped, and its run cannot have made progress
            pulse.beat()
        minutes = self._limits.max_run_minutes
        if minutes is not None and now - self._began > 60 * minutes:
            return OVERTIME
        return HUNG if pulse.silent_s() > self._limits.max_silence_s else 0


def _end(ledger: Ledger, claim: Claim, status: int, *, in_engine: bool) -> None:
    """End this process; the engine that started it will say why, or this one does itself."""
    kind, reason = how_it_died(status)
    log.error("%s: %s", claim.key, reason)
    faulthandler.dump_traceback(all_threads=True)
    if in_engine:
        with suppress(Lost, Unreachable):
            ledger.give_back(claim, kind, reason)
    os._exit(status)


def main() -> None:
    """Run as a process; exit status 0 if all has ended, 130 or 143 if interrupted."""
    parent = int(os.environ[PARENT_VARIABLE])
    die_with(parent)
    stop = Stop()
    stop.install()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    ledger = Ledger(open_storage(os.environ[STORAGE_VARIABLE]), sys.argv[1])
    ledger.engine = identity(parent)
    ledger.places = json.loads(os.environ[PLACES_VARIABLE])
    ledger.reload()
    ledger.patience.hurried = lambda: stop.wanted
    try:
        Worker(ledger, make_runner(ledger.spec), stop).work(
            more=ledger.awaits_more, enough=ledger.over_budget
        )
        status = 0
    except Interrupted as error:
        status = error.status
    except Unreachable as error:
        log.error("the ledger cannot be reached any more (%s)", error)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # all is in the ledger, and unloading torch takes seconds


if __name__ == "__main__":
    main()
