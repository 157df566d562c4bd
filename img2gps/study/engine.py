"""The engine: plans a study, keeps its workers busy, and writes its record.

Any number of engines, on any number of machines that share the ledger, may work on one study. All
that they agree on is in the ledger; a kill of the engine itself loses nothing.
"""

from __future__ import annotations

import math
import random
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from img2gps import tracking
from img2gps.core.advice import next_step
from img2gps.core.beside import beside
from img2gps.core.errors import BadInput
from img2gps.core.signals import Interrupted
from img2gps.runs.fetching import check_store, fetch
from img2gps.runs.keeping import record_sender
from img2gps.runs.records import LEASE_S, StudyRecord, StudyRun, now, write_study
from img2gps.runs.states import RunState
from img2gps.runs.store import StoreAway
from img2gps.study import search
from img2gps.study.confirming import Confirming
from img2gps.study.display import Display, best_line, front_lines, progress_line, run_name
from img2gps.study.ledger import Ledger
from img2gps.study.locking import folder_lock, ledger_lock
from img2gps.study.patience import Unreachable, is_full
from img2gps.study.planning import plan_study
from img2gps.study.pool import Death, Pool
from img2gps.study.process import Stop
from img2gps.study.race import Race, record_of
from img2gps.study.remaining import seconds_left
from img2gps.study.repeats import Repeats
from img2gps.study.spec import Runner, Spec
from img2gps.study.storage import open_storage
from img2gps.study.trials import INTERRUPTED, Entry
from img2gps.study.worker import Worker

POLL_S = 0.25
RENEWAL_S = LEASE_S / 6  # of the record, by which other machines see that the engine is alive
RECORD_S = 30.0  # for the last record to reach the store
WRITING_SHARE = 0.05  # of the time at most, in writing the record of a large study
STARTS_WITHOUT_CLAIM = 3  # workers that may die before they have claimed a run


def run_study(
    spec: Spec,
    url: str,
    *,
    workers: int = 1,
    display: Display | None = None,
    stop: Stop | None = None,
    wait: bool = True,
) -> int:
    """Plan the study, run what is not done, and report how it stands.

    Args:
        spec: what is asked for.
        url: the address of its ledger.
        workers: processes that train; 0 = this one.
        display: where to say how it goes.
        stop: what asks this process to stop.
        wait: for what others run; without it, a process that trains itself returns when nothing is
            queued.

    Returns:
        Exit status: 0 if no run failed or diverged, else 1.

    Raises:
        BadInput: there is another study of this name.
        Interrupted: after the workers have given their runs back.
    """
    stop = stop or Stop()
    display = display or Display()
    with _errors_in_one_line(spec, url, stop):
        engine, runner = _planned(spec, url, display)
        engine.ledger.patience.hurried = lambda: stop.wanted
        stop.install()
        with display:
            if workers == 0:
                engine.work_here(runner, stop, wait=wait)
            else:
                engine.work_apart(Pool(engine.spec, url, workers), stop)
        return engine.close(stop)


def plan_alone(spec: Spec, url: str, display: Display) -> int:
    """Plan the study and write its record for workers to come; return how many runs have not ended.

    Raises:
        BadInput: there is another study of this name.
    """
    with _errors_in_one_line(spec, url, Stop()):
        engine, _ = _planned(spec, url, display)
        return engine.prepare()


def _planned(spec: Spec, url: str, display: Display) -> tuple[Engine, Runner]:
    """Plan the study, and say what that found."""
    search.check(spec)
    check_store(spec.root)
    if spec.pruner in search.PRUNERS[1:] and spec.first_rung >= spec.max_epochs:
        display.say(
            f"note: {spec.pruner} first judges after epoch {spec.first_rung}, so it cuts no run of "
            f"{spec.max_epochs} epochs short"
        )
    root = Path(spec.root)
    with folder_lock(root, spec.name):
        storage = open_storage(url)
        with ledger_lock(root, spec.name, storage):
            ledger = Ledger.create(storage, spec)
            ledger.places = spec.places
            changes, runner = plan_study(ledger, spec)
    planners: list[Race | Repeats | Confirming] = (
        [Race(ledger, changes.runs, display.say)]
        if spec.raced
        else [Repeats(ledger, runner), Confirming(ledger, runner, display.say)]
    )
    engine = Engine(ledger, display, planners)
    display.say(changes.line(spec.name, most=spec.raced or spec.repeated))
    if spec.left_out:
        display.say(spec.left_out)
    for hint in changes.hints:
        display.say(hint)
    return engine, runner


@contextmanager
def _errors_in_one_line(spec: Spec, url: str, stop: Stop) -> Iterator[None]:
    """Tell a user in one line that the ledger stayed away or forgot, or that the disk is full."""
    try:
        yield
    except Unreachable as error:
        if stop.signum is not None:
            raise Interrupted(stop.signum) from error
        raise BadInput(
            f"study={spec.name}: its ledger could not be reached for "
            f"{spec.limits.storage_patience_s:g} s ({error}); check the server or the disk, and "
            "give the same command again"
        ) from error
    except (KeyError, FileNotFoundError) as error:
        if not _is_forgotten(spec, url):
            raise
        raise BadInput(
            f"study={spec.name}: was forgotten (img2gps studies forget) while this command worked "
            "on it; start it again with -m, which finds the runs that have ended"
        ) from error
    except OSError as error:
        if not is_full(error):
            raise
        raise BadInput(
            f"runs.root={spec.root}: no room on the disk; make room, and give the same command "
            "again"
        ) from error


def _is_forgotten(spec: Spec, url: str) -> bool:
    if "://" not in url and not Path(url).is_file():
        return True
    try:
        Ledger(open_storage(url), spec.name)
    except KeyError:
        return True
    return False


class Engine:
    """One session on a planned study."""

    def __init__(
        self,
        ledger: Ledger,
        display: Display | None = None,
        planners: Sequence[Race | Repeats | Confirming] = (),
    ) -> None:
        self.ledger, self.display = ledger, display or Display()
        self.spec, self._planners = ledger.spec, planners
        self._at_work: dict[str, str | int] | None = ledger.identity
        self._next_write = self._renew_at = 0.0
        self._sender = record_sender(self.spec.root, self.spec.name)
        self._last: object = None
        self._full = False
        self.workers = 1
        minutes = self.spec.budget.minutes
        self._deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        ledger.refresh()
        # Values and seeds that were planned earlier belong to the study too.
        self._axes = self.spec.space.values()
        self._seeds = list(self.spec.seeds)
        for entry in ledger.entries():
            if entry.seed not in self._seeds:
                self._seeds.append(entry.seed)
            for name, value in ({} if self.spec.drawn else entry.params).items():
                if value not in self._axes.setdefault(name, []):
                    self._axes[name].append(value)
        self._before = {entry.key for entry in ledger.entries() if entry.state.has_ended}
        self.display.begin(self.record())

    # The record

    def record(self) -> StudyRecord:
        """Return study.json as it should be now."""
        spec = self.spec
        return StudyRecord(
            study=spec.name,
            question=spec.question,
            kind=spec.kind,
            monitor=spec.monitor,
            direction=spec.direction,
            aims=spec.aims,
            axes=self._axes,
            intervals={
                axis.name: {"low": axis.low, "high": axis.high, "log": axis.log}
                for axis in spec.space.axes
                if not axis.listed
            },
            seeds=self._seeds,
            left_out=spec.left_out,
            warm_start={
                name: sum(len(one.runs) for one in self.ledger.warm.get(name, ()))
                for name in spec.warm_start
            },
            pruner=spec.pruner if isinstance(spec.pruner, str) else spec.pruner["_target_"],
            base_config=spec.base,
            select=spec.select,
            named_cells=spec.named_cells,
            reference=spec.reference,
            figures=list(spec.figures),
            command=spec.command,
            created_at=spec.created_at,
            updated_at=now(),
            engine=self._at_work,
            left_s=self._time_left() if self._at_work else None,
            race=record_of(self.ledger),
            confirmation=self.ledger.confirmation,
            runs=[_study_run(entry) for entry in self.ledger.entries()],
        )

    def save(self) -> None:
        """Write the record as this engine leaves it, to another one if there is one."""
        self.ledger.refresh()
        self._at_work = next(iter(self.ledger.workers()), None)
        self._write(self.record())

    def _write(self, study: StudyRecord) -> None:
        write_study(self.spec.root, study)
        if self._sender is not None:
            self._sender.want()

    def prepare(self) -> int:
        """Queue what comes first, write the record, and return how many runs have not ended."""
        if not self.ledger.busy():
            self._more()
        self.save()
        self.send_last()
        return self.ledger.waiting() + self.ledger.running()

    def update(self, *, last: bool = False) -> None:
        """Write the record and show it, if anything has changed."""
        started = time.monotonic()
        if not last and started < self._next_write:
            return
        self.ledger.refresh()
        study = self.record()
        state = [(run.state, run.attempts, run.epochs) for run in study.runs]
        if last or state != self._last or started > self._renew_at:
            self._write(study)
            self._last = state
            self._renew_at = started + RENEWAL_S
        self.display.show(study, self._time_left())
        took = time.monotonic() - started
        self._next_write = time.monotonic() + max(POLL_S, took / WRITING_SHARE)

    def _time_left(self) -> float | None:
        """Estimate the seconds left from those that finished runs took."""
        entries = self.ledger.entries()
        at_once = max(self.workers, sum(e.state is RunState.running for e in entries))
        return seconds_left(entries, searched=self.spec.searched, at_once=at_once)

    # Workers

    def work_here(self, runner: Runner, stop: Stop, *, wait: bool = True) -> None:
        """Run everything in this process: for a debugger, and where there can be no others."""
        self.update(last=True)
        try:
            with self._renewing():
                Worker(self.ledger, runner, stop).work(
                    before_each=self.update, more=self._more, enough=self._over_budget, wait=wait
                )
        except Interrupted:
            stop.signum = stop.signum or 2

    @contextmanager
    def _renewing(self) -> Iterator[None]:
        """Renew the record in the block, where a run may take hours, from another thread."""

        def renew(ended: threading.Event) -> None:
            twin: Engine | None = None
            others = running
            # The more there are who renew it, the less often each of them does.
            while not ended.wait(RENEWAL_S * max(1, others) * random.uniform(0.5, 1.0)):
                with suppress(Exception, Unreachable):  # the run's own thread will meet it, too
                    twin = twin or self._twin()
                    twin.update()
                    others = twin.ledger.running()

        running = self.ledger.running()
        with beside(renew, "record"):
            yield

    def _twin(self) -> Engine:
        """Return an engine that writes the same record in another thread."""
        twin = Engine(self.ledger.twin())
        twin._sender = self._sender
        return twin

    def work_apart(self, pool: Pool, stop: Stop) -> None:
        """Keep worker processes busy until nothing is queued or running."""
        self.workers = pool.size
        if pool.note:
            self.display.say(pool.note)
        barren = 0  # deaths in a row before the worker had claimed a run
        try:
            while not stop.wanted:
                for death in pool.deaths():
                    barren = 0 if self._take_back(death) else barren + 1
                    if barren >= STARTS_WITHOUT_CLAIM:
                        raise BadInput(
                            f"study={self.spec.name}: workers cannot start ({death.reason}); the "
                            f"reason is at the end of {death.log}"
                        )
                self.ledger.refresh()
                over = self._over_budget()
                if over and (not self.ledger.running() or time.monotonic() > self._deadline):
                    break
                if not over and not (self.ledger.busy() or self.ledger.settle() or self._more()):
                    break
                if pool.empty:  # no worker is there to take back what a dead one had just claimed
                    self.ledger.reap()
                self._keep_going(pool, 0 if over else self.ledger.waiting())
                time.sleep(POLL_S)
        finally:
            for worker in pool.close():
                self.ledger.reap(worker, INTERRUPTED, "interrupted")

    def _more(self) -> bool:
        """Let those who plan further runs decide what runs next; false if nothing does.

        A worker may have queued a run of its own since this engine last looked.
        """
        return any(planner.advance() for planner in self._planners) or self.ledger.busy()

    def _over_budget(self) -> str:
        """Return the limit of the budget that is reached; "" if none."""
        if time.monotonic() > self._deadline:
            return f"budget.minutes={self.spec.budget.minutes:g}"
        return self.ledger.over_budget()

    def _keep_going(self, pool: Pool, waiting: int) -> None:
        """Start workers and write the record, both later where the disk is full."""
        try:
            pool.fill(waiting, self.ledger.running())
            self.update()
        except OSError as error:
            if not is_full(error):
                raise
            if not self._full:
                self.display.say(f"{self.spec.root}: no room on the disk; going on when there is")
            self._full = True
        else:
            self._full = False

    def _take_back(self, death: Death) -> bool:
        """Take back the run of a dead worker; False if it died before it had claimed one."""
        if death.regular:  # it found nothing more to do
            self.ledger.reap(death.worker, INTERRUPTED, "interrupted")
            return True
        taken = self.ledger.reap(death.worker, death.kind, death.reason)
        if not taken:
            self.display.say(f"{death.reason} before it had claimed a run; see {death.log}")
        return bool(taken)

    def close(self, stop: Stop) -> int:
        """Write the last record, say how the study stands, and return the exit status."""
        self.update(last=True)
        self.save()
        self.send_last()
        study = self.record()
        for line in [*self._summary(study), *self._rest(study)]:
            self.display.say(line)
        if stop.wanted:
            raise Interrupted(stop.signum or 2)
        tracking.end_study(Path(self.spec.root) / self.spec.name)
        self.display.say(self._next_step(study))
        return 1 if any(run.state.went_wrong for run in study.runs) else 0

    def send_last(self) -> None:
        """Wait until the last record is in the store, if there is one; send no other afterwards."""
        if self._sender is not None and not self._sender.stop(RECORD_S):
            self.display.say(
                f"{self.spec.store}: cannot be reached, so it lacks the last record of the study; "
                "the same command sends it"
            )

    def _rest(self, study: StudyRecord) -> list[str]:
        """Say which budget is spent, and what the rest would bring."""
        over = self._over_budget()
        ended = all(run.state.has_ended for run in study.runs)
        if not over or (ended and not self.ledger.awaits_more()):
            return []
        from img2gps.study.rest import rest_lines

        with suppress(StoreAway):
            fetch(Path(self.spec.root), self.spec.name)
        lines = rest_lines(study, self.spec.root, self._time_left())
        return [f"stopped: {over} is spent", *lines]

    def _next_step(self, study: StudyRecord) -> str:
        name, root = shlex.quote(self.spec.name), self.spec.root
        if any(run.state is RunState.failed for run in study.runs):
            why = "give the failed runs another try"
            return next_step(f"img2gps studies retry {name}", why, root)
        return next_step(f"img2gps report {name}", "every cell with its interval", root)

    def _summary(self, study: StudyRecord) -> list[str]:
        entries = self.ledger.entries()
        ran = [e for e in entries if e.state.has_ended and e.key not in self._before]
        resumed = sum(bool(e.done and e.done.resumed_epoch) for e in ran)
        return [
            f"{self.spec.name}: {progress_line(study)}",
            f"since this command began: {len(ran)} ended, {resumed} of them resumed; "
            f"{len(self._before)} skipped as done before",
            *(
                f"  {run.state}: {run_name(run)}: {run.reason}"
                for run in study.runs
                if run.state.went_wrong
            ),
            *(study.race.lines()[-1:] if study.race else []),
            f"best: {best_line(study)}",
            *front_lines(study),
        ]


def _study_run(entry: Entry) -> StudyRun:
    done = entry.done
    where = done or entry.ref
    return StudyRun(
        cell=entry.cell,
        seed=entry.seed,
        name=entry.name,
        params=entry.params,
        run_id=where.run_id if where else "",
        path=where.path if where else "",
        state=entry.state,
        reason=entry.reason,
        value=done.value if done else None,
        epochs=done.epochs if done else entry.epochs,
        seconds=done.seconds if done else None,
        mean_predictor=done.mean_predictor if done else None,
        n_val=done.n_val if done else None,
        attempts=entry.attempts,
        linked=bool(done and done.linked),
        aims=done.aims if done else {},
    )
