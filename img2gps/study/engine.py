"""The engine: plans a study, keeps its workers at work, and writes its record.

Any number of engines, on any number of machines that share the ledger, may work on one study: all
that they agree on is in the ledger. The engine itself holds nothing that a kill could lose.
"""

from __future__ import annotations

import fcntl
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2gps import hardware, tracking
from img2gps.errors import BadInput
from img2gps.signals import Interrupted
from img2gps.study import process, record, search
from img2gps.study import worker as working
from img2gps.study.display import Display, best_line, progress_line
from img2gps.study.ledger import INTERRUPTED, Entry, Ledger, PlannedCell, key_of
from img2gps.study.process import Stop
from img2gps.study.space import Params, cell_id, name_of
from img2gps.study.spec import Done, Planned, Runner, Spec, make_runner
from img2gps.study.storage import open_storage

POLL_S = 0.25
WRITING_SHARE = 0.05  # of the time at most, in writing the record of a large study
PATIENCE_S = 20.0  # for workers to save and leave; a run can always go on from its last epoch
STARTS_WITHOUT_CLAIM = 3  # workers that die before they have claimed a run: something is wrong
LOCK = ".engine.lock"
_OTHER_DATA = (
    "study={study}: begun with {what}: the photos, the weights or the machine's precision have "
    "changed; undo that, or give study=NAME for a new study"
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_study(spec: Spec, url: str, *, workers: int = 1, display: Display | None = None) -> int:
    """Plan the study, run what is not done, and say what came of it.

    Returns:
        Exit status: 0 when no run failed or diverged, else 1.

    Raises:
        BadInput: a study of this name that is not the same study.
        Interrupted: after the workers have put back what they were at.
    """
    stop = Stop()
    search.check(spec)
    storage = open_storage(url)
    display = display or Display()
    with planning(Path(spec.root), spec.name):
        ledger = Ledger.create(storage, spec)
        planned, runner = plan(ledger, spec)
    engine = Engine(ledger, display)
    display.say(planned.line(spec))
    stop.install()
    with display:
        if workers == 0:
            engine.work_here(runner, stop)
        else:
            engine.work_apart(url, workers, stop)
    return engine.close(stop)


@contextmanager
def planning(root: Path, study: str) -> Iterator[None]:
    """One engine plans at a time, on machines that share the runs folder."""
    folder = root / study
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Plan:
    """What planning found."""

    total: int
    new: int
    linked: int
    taken_back: int
    finished: int

    def line(self, spec: Spec) -> str:
        """In one line, for the person who started it."""
        parts = [f"study {spec.name}: {self.total} runs"]
        if self.finished:
            parts.append(f"{self.finished} done before")
        if self.linked:
            parts.append(f"{self.linked} found finished in other studies and linked")
        if self.taken_back:
            parts.append(f"{self.taken_back} taken back from an interrupted session")
        return ", ".join(parts)


def plan(ledger: Ledger, spec: Spec) -> tuple[Plan, Runner]:
    """Bring the ledger to what the study asks for; what is there already stays.

    Raises:
        BadInput: the study was begun with another configuration, or on other data.
    """
    ledger.refresh()
    if ledger.begun:
        spec = same_study(ledger.spec, spec)
    runner = make_runner(spec)
    spec = _same_data(spec, runner)
    finished = sum(_over(entry) for entry in ledger.entries())
    cells = _slots(spec) if spec.searched else _grid(ledger, spec, runner)
    ledger.save(replace(spec, weights=getattr(runner, "weights", {})))
    taken = len(ledger.reap())
    new = ledger.plan(cells)
    ledger.settle()
    linked = sum(cell.done is not None for cell in new)
    return Plan(len(ledger.keys()), len(new), linked, taken, finished), runner


def _same_data(spec: Spec, runner: Runner) -> Spec:
    """Compare what one run's id is made of with what it was; the first time, note it.

    A grid's cells are compared by their run ids as well: see `_grid`.
    """
    point = spec.space.first()
    planned = runner.plan([*spec.overrides, *spec.space.overrides(point)])
    for params in spec.space.corners() if spec.searched else ():
        # What cannot be had is said now, and weights are resolved for the whole study.
        runner.plan([*spec.overrides, *spec.space.overrides(params)])
    before = spec.identity
    if before.get("cell") == cell_id(point):
        changed = differences(before["identity"], planned.identity)
        if changed:
            raise BadInput(_OTHER_DATA.format(study=spec.name, what="; ".join(changed)[:300]))
    return replace(spec, identity={"cell": cell_id(point), "identity": planned.identity})


def same_study(before: Spec, after: Spec) -> Spec:
    """The study as asked for now, if it is still the one in the ledger.

    Raises:
        BadInput: naming what differs and the remedy.
    """
    remedy = f"give study=NAME for a new study (runs that it shares with {before.name} are linked)"
    changed = differences(before.base, after.base)
    if changed:
        raise BadInput(f"study={before.name}: begun with {'; '.join(changed)}; {remedy}")
    if before.kind != after.kind:
        raise BadInput(f"study={before.name}: begun as {before.kind}, now {after.kind}; {remedy}")
    if set(before.space.names) != set(after.space.names):
        old, new = ",".join(before.space.names), ",".join(after.space.names)
        raise BadInput(f"study={before.name}: begun varying {old}, now {new}; {remedy}")
    if before.searched and json.dumps(before.space.to_dict()) != json.dumps(after.space.to_dict()):
        raise BadInput(f"study={before.name}: its search space has changed; {remedy}")
    return replace(
        after, weights=before.weights, identity=before.identity, created_at=before.created_at
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`key=old (now new)` for every value that differs between two nested mappings."""
    old, new = dict(_flat(before)), dict(_flat(after))
    absent = "absent"
    return [
        f"{key}={old.get(key, absent)} (now {new.get(key, absent)})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent)
    ]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _slots(spec: Spec) -> list[PlannedCell]:
    """As many trials as were asked for, which the sampler fills; one seed each."""
    return [PlannedCell(f"trial {i}", None, spec.seeds[0]) for i in range(spec.n_trials)]


def _grid(ledger: Ledger, spec: Spec, runner: Runner) -> list[PlannedCell]:
    """Every cell with every seed, in the study's order; those finished elsewhere come with how."""
    cells = []
    for params in spec.space.grid():
        for seed in spec.seeds:
            key = key_of(params, seed)
            overrides = [*spec.overrides, *spec.space.overrides(params), f"seed={seed}"]
            planned = runner.plan(overrides)
            known = ledger.known(key)
            if known and known.planned and known.planned.run_id != planned.run_id:
                what = f"{key} as run {known.planned.run_id} (now {planned.run_id})"
                raise BadInput(_OTHER_DATA.format(study=spec.name, what=what))
            done = runner.find(planned) if known is None else None
            name = name_of(params, spec.named_cells)
            cells.append(PlannedCell(key, params, seed, name, planned, done))
    return sorted(cells, key=_order(spec))


def _order(spec: Spec) -> Callable[[PlannedCell], tuple[float, ...]]:
    """Sort key of `spec.order`.

    `seed` completes one seed of all cells first, `cost` puts cheap runs first, `base` those that
    differ from the base configuration in few knobs, which are likely to be good.
    """
    usual = spec.usual

    def parts(cell: PlannedCell) -> dict[str, float]:
        params: Params = cell.params or {}
        return {
            "seed": spec.seeds.index(cell.seed),
            "cost": cell.planned.cost if cell.planned else 0.0,
            "base": sum(params[name] != usual.get(name, params[name]) for name in params),
        }

    return lambda cell: tuple(parts(cell)[name] for name in spec.order)


def _over(entry: Entry) -> bool:
    return entry.state not in ("queued", "running")


class Engine:
    """One session on a planned study."""

    def __init__(self, ledger: Ledger, display: Display | None = None) -> None:
        self.ledger, self.display = ledger, display or Display()
        self.spec = ledger.spec
        self._at_work: dict[str, str | int] | None = ledger.identity
        self._next_write = 0.0
        self._last: object = None
        self.workers = 1
        ledger.refresh()
        # Values and seeds of an earlier plan belong to the study too.
        self._axes = self.spec.space.values()
        self._seeds = list(self.spec.seeds)
        for entry in ledger.entries():
            if entry.seed not in self._seeds:
                self._seeds.append(entry.seed)
            for name, value in ({} if self.spec.searched else entry.params).items():
                if value not in self._axes.setdefault(name, []):
                    self._axes[name].append(value)
        self._before = {entry.key for entry in ledger.entries() if _over(entry)}
        self.display.begin(self.record())

    # The record

    def record(self) -> dict[str, Any]:
        """study.json as it should now be."""
        spec = self.spec
        return {
            "schema": record.SCHEMA,
            "study": spec.name,
            "question": spec.question,
            "kind": spec.kind,
            "monitor": spec.monitor,
            "direction": spec.direction,
            "axes": self._axes,
            "intervals": {
                axis.name: {"low": axis.low, "high": axis.high, "log": axis.log}
                for axis in spec.space.axes
                if not axis.listed
            },
            "seeds": self._seeds,
            "pruner": spec.pruner if isinstance(spec.pruner, str) else spec.pruner["_target_"],
            "base_config": spec.base,
            "select": spec.select,
            "named_cells": spec.named_cells,
            "command": spec.command,
            "created_at": spec.created_at,
            "updated_at": record.now(),
            "engine": self._at_work,
            "cells": [self._cell(entry) for entry in self.ledger.entries()],
        }

    def _cell(self, entry: Entry) -> dict[str, Any]:
        done, planned = entry.done, entry.planned
        where: Done | Planned | None = done or planned
        return {
            "cell": entry.cell,
            "name": entry.name,
            "params": entry.params,
            "seed": entry.seed,
            "run_id": where.run_id if where else "",
            "path": where.path if where else "",
            "state": entry.state,
            "reason": entry.reason,
            "value": done.value if done else None,
            "epochs": done.epochs if done else entry.epochs,
            "seconds": done.seconds if done else None,
            "mean_predictor": done.mean_predictor if done else None,
            "attempts": entry.attempts,
            "linked": bool(done and done.linked),
        }

    def save(self) -> None:
        """Write the record of a study that no one is at work on."""
        self._at_work = None
        self.ledger.refresh()
        record.write(self.spec.root, self.record())

    def update(self, *, last: bool = False) -> None:
        """Write the record and show it, if anything has changed."""
        started = time.monotonic()
        if not last and started < self._next_write:
            return
        self.ledger.refresh()
        study = self.record()
        state = [(c["state"], c["attempts"], c["epochs"]) for c in study["cells"]]
        if last or state != self._last:
            self._last = state
            record.write(self.spec.root, study)
        self.display.show(study, self._time_left(study))
        took = time.monotonic() - started
        self._next_write = time.monotonic() + max(POLL_S, took / WRITING_SHARE)

    def _time_left(self, study: Mapping[str, Any]) -> float | None:
        """From the seconds that finished runs took for their cost."""
        rates = [
            entry.done.seconds / entry.planned.cost
            for entry in self.ledger.entries()
            if entry.done and entry.done.seconds and entry.planned
        ]
        if self.spec.searched:
            seconds = [cell["seconds"] for cell in study["cells"] if cell["seconds"]]
            left = sum(not _over(entry) for entry in self.ledger.entries())
            return statistics.fmean(seconds) * left / self.workers if seconds else None
        if not rates:
            return None
        costs = (e.planned.cost for e in self.ledger.entries() if not _over(e) and e.planned)
        return statistics.median(rates) * sum(costs) / self.workers

    # Workers

    def work_here(self, runner: Runner, stop: Stop) -> None:
        """Run everything in this process: for a debugger, and where processes cannot be had."""
        watch = _Told(runner, self)
        self.update(last=True)
        try:
            working.work(self.ledger, watch, stop)
        except Interrupted:
            stop.signum = stop.signum or 2

    def work_apart(self, url: str, workers: int, stop: Stop) -> None:
        """Keep worker processes at work until nothing is queued or running."""
        self.workers = workers
        pool = Pool(self.spec, url, workers)
        barren = 0
        try:
            while not stop.wanted:
                for slot, code, memory_killed in pool.ended():
                    if code == 0:  # it found nothing more to do
                        self.ledger.reap(slot, INTERRUPTED, "interrupted")
                        continue
                    kind, reason = process.how_it_died(code, memory_killed=memory_killed)
                    taken = self.ledger.reap(slot, kind, reason)
                    barren = 0 if taken else barren + 1
                    if not taken:
                        self.display.say(f"{reason}, with no run in hand; see {pool.log(0)}")
                    if barren >= STARTS_WITHOUT_CLAIM:
                        raise BadInput(
                            f"study={self.spec.name}: workers cannot start ({reason}); the reason "
                            f"is at the end of {pool.log(0)}"
                        )
                self.ledger.refresh()
                if not self.ledger.busy() and not self.ledger.settle():
                    break
                pool.fill(self.ledger.waiting())
                self.update()
                time.sleep(POLL_S)
        finally:
            for slot in pool.close():
                self.ledger.reap(slot, INTERRUPTED, "interrupted")

    def close(self, stop: Stop) -> int:
        """Write the last record, say how the study stands, and give the exit status."""
        self.update(last=True)
        self.save()
        study = self.record()
        entries = self.ledger.entries()
        ran = [e for e in entries if _over(e) and e.key not in self._before]
        resumed = sum(bool(e.done and e.done.resumed_epoch) for e in ran)
        skipped = len(self._before)
        self.display.say(f"{self.spec.name}: {progress_line(study)}")
        self.display.say(f"this session: {len(ran)} ended, {resumed} of them resumed; "
                         f"{skipped} skipped as done before")  # fmt: skip
        for cell in study["cells"]:
            if cell["state"] in ("failed", "diverged"):
                self.display.say(
                    f"  {cell['state']}: {cell['cell']} seed={cell['seed']}: {cell['reason']}"
                )
        self.display.say(f"best: {best_line(study)}")
        if stop.wanted:
            raise Interrupted(stop.signum or 2)
        tracking.log_cell_means(Path(self.spec.root) / self.spec.name)
        return 1 if any(c["state"] in ("failed", "diverged") for c in study["cells"]) else 0


class _Told:
    """The runner of an engine that works in its own process: shows the record after each run."""

    def __init__(self, runner: Runner, engine: Engine) -> None:
        self._runner, self._engine = runner, engine
        self.plan, self.find = runner.plan, runner.find

    def run(self, overrides: list[str], on_epoch: Any) -> Done:
        """Run, between two looks at the ledger."""
        self._engine.update()
        return self._runner.run(overrides, on_epoch)


class Pool:
    """Worker processes, each with its share of the cores; children of this process, none deeper."""

    def __init__(self, spec: Spec, url: str, size: int) -> None:
        self.spec, self.size = spec, size
        threads = str(max(1, hardware.cores() // size))
        self._environment = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, threads),
            working.STORAGE_VARIABLE: url,
            working.PARENT_VARIABLE: str(os.getpid()),
            "PYTHONFAULTHANDLER": "1",  # where in the code a crash was, in the worker's log
        }
        self._children: dict[int, tuple[subprocess.Popen[bytes], dict[str, str | int]]] = {}
        self._memory_kills = process.memory_kills()

    def log(self, index: int) -> Path:
        """Where a worker's words go."""
        return Path(self.spec.root) / self.spec.name / f"worker-{index}.log"

    def fill(self, waiting: int) -> None:
        """Start workers for what is queued, up to the pool's size."""
        for index in range(self.size):
            if waiting <= 0:
                return
            if index not in self._children:
                self._start(index)
            waiting -= 1

    def _start(self, index: int) -> None:
        command = [sys.executable, "-m", "img2gps.study.worker", self.spec.name, str(index)]
        with self.log(index).open("ab") as log:
            child = subprocess.Popen(  # noqa: S603
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C reaches the engine, which tells the workers
            )
        self._children[index] = child, process.identity(child.pid)

    def ended(self) -> list[tuple[dict[str, str | int], int, bool]]:
        """Workers that are gone: who, exit code, and whether the kernel killed for memory since."""
        gone = []
        for index, (child, who) in list(self._children.items()):
            code = child.poll()
            if code is not None:
                del self._children[index]
                kills = process.memory_kills()
                gone.append((who, code, kills > self._memory_kills))
                self._memory_kills = kills
        return gone

    def close(self) -> list[dict[str, str | int]]:
        """Stop all workers, those that do not listen by force; who they were."""
        for child, _ in self._children.values():
            child.terminate()
        end = time.monotonic() + PATIENCE_S
        for child, _ in self._children.values():
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        who = [who for _, who in self._children.values()]
        self._children.clear()
        return who
