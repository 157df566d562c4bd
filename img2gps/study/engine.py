"""The engine: plans a study, keeps its workers at work, and writes its record.

Any number of engines, on any number of machines that share the ledger, may work on one study: all
that they agree on is in the ledger. The engine itself holds nothing that a kill could lose.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2gps import tracking
from img2gps.core.errors import BadInput
from img2gps.core.signals import Interrupted
from img2gps.runs import study_record as record
from img2gps.study import process, search
from img2gps.study import worker as working
from img2gps.study.display import Display, best_line, progress_line
from img2gps.study.ledger import INTERRUPTED, Entry, Ledger
from img2gps.study.planning import over, plan, planning
from img2gps.study.pool import Pool
from img2gps.study.process import Stop
from img2gps.study.spec import Done, Planned, Runner, Spec
from img2gps.study.storage import open_storage

POLL_S = 0.25
WRITING_SHARE = 0.05  # of the time at most, in writing the record of a large study
STARTS_WITHOUT_CLAIM = 3  # workers that die before they have claimed a run: something is wrong


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
    if spec.pruner in search.PRUNERS[1:] and spec.first_rung >= spec.max_epochs:
        display.say(
            f"note: {spec.pruner} first judges after epoch {spec.first_rung}, so it cuts no run of "
            f"{spec.max_epochs} epochs short"
        )
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
        self._before = {entry.key for entry in ledger.entries() if over(entry)}
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
            "reference": spec.reference,
            "figures": list(spec.figures),
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
            left = sum(not over(entry) for entry in self.ledger.entries())
            return statistics.fmean(seconds) * left / self.workers if seconds else None
        if not rates:
            return None
        costs = (e.planned.cost for e in self.ledger.entries() if not over(e) and e.planned)
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
                if pool.empty:  # no worker is there to notice a run whose own died as it began
                    self.ledger.reap()
                pool.fill(self.ledger.waiting(), self.ledger.running())
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
        ran = [e for e in entries if over(e) and e.key not in self._before]
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
