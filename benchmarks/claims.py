"""Claims per second of many workers at once, from a ledger of 10,000 runs in PostgreSQL.

    IMG2GPS_LEDGER=postgresql://USER@HOST/DATABASE python -m benchmarks claims

Workers claim a run, report it at once, and claim the next. They are threads with a connection to
the ledger each, in a few processes, because 64 processes would only measure their own memory. Also
measured are planning so many runs, and what a worker asks the database that finds nothing queued.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import event

from benchmarks.harness import Row, Settings
from benchmarks.ledger import cell, finished
from img2gps.core.errors import BadInput
from img2gps.runs.states import RunState
from img2gps.study.ledger import Claim, Ledger
from img2gps.study.space import Axis, Space
from img2gps.study.spec import STORAGE_VARIABLE, Done, Spec
from img2gps.study.storage import open_storage

TITLE = "Claims"
PROCESSES = 2  # that the workers are spread over


def planned(url: str, name: str, queued: int, ended: int = 0) -> dict[str, float]:
    """Plan a study whose runs need no name; return the seconds that its ledger took."""
    spec = Spec(name, "grid", Space((Axis("lr", (0.1,)),)), tempfile.gettempdir())
    ledger = Ledger.create(open_storage(url), spec)
    with suppress(KeyError):  # of a benchmark that was stopped
        ledger.delete()
        ledger = Ledger.create(open_storage(url), spec)
    ledger.save(spec)
    started, used = time.perf_counter(), time.process_time()
    ledger.enqueue(finished(i) for i in range(ended))
    ledger.enqueue(cell(i) for i in range(ended, ended + queued))
    return {
        "clock_s": time.perf_counter() - started,
        "processor_s": time.process_time() - used,
    }


def claims(url: str, name: str, workers: int, seconds: float) -> dict[str, float]:
    """Let workers claim for so long; return what they did, with their mean wait for a claim."""
    processes = min(PROCESSES, workers)
    share = [workers // processes + (i < workers % processes) for i in range(processes)]
    words = [sys.executable, "-m", "benchmarks.claims", name]
    started = [
        subprocess.Popen([*words, str(threads), str(seconds)], text=True,
                         env={**os.environ, STORAGE_VARIABLE: url},
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for threads in share
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    told = [json.loads(process.communicate("go\n")[0]) for process in started]
    keys = [key for one in told for key in one["keys"]]
    if len(keys) != len(set(keys)):
        raise RuntimeError("a run was claimed twice")
    count = max(len(keys), 1)
    return {
        "workers": workers,
        "claims": len(keys),
        "per_second": len(keys) / seconds,
        "wait_ms": 1e3 * sum(one["waited_s"] for one in told) / count,
        "statements": sum(one["statements"] for one in told) / count,
        "processor_ms": 1e3 * sum(one["processor_s"] for one in told) / count,
    }


class Claimer:
    """One process of workers, which claim as fast as they can."""

    def __init__(self, url: str, name: str, threads: int) -> None:
        self._ledgers = [Ledger(open_storage(url), name) for _ in range(threads)]
        self.keys: list[str] = []
        self.waited_s = 0.0
        self.statements = 0
        first = self._ledgers[0]
        first.refresh()
        for ledger in self._ledgers:
            for trial in first._trials[len(ledger._trials) :]:  # reading them takes each seconds
                ledger._take_in(trial)
            count_statements(ledger, self._count)

    def _count(self) -> None:
        self.statements += 1

    def work(self, seconds: float) -> None:
        """Claim and finish runs in every thread until the time is over."""
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._claim, args=(own, end)) for own in self._ledgers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _claim(self, ledger: Ledger, end: float) -> None:
        while time.monotonic() < end:
            started = time.monotonic()
            if (claim := ledger.claim()) is None:
                return
            self.waited_s += time.monotonic() - started
            ledger.finish(claim, done(claim))
            self.keys.append(claim.key)


def done(claim: Claim) -> Done:
    """The result of a run that did nothing."""
    assert claim.ref is not None
    return Done(claim.ref.run_id, claim.ref.path, RunState.finished, "", 60.0, 15, 200.0, 89.0)


def count_statements(ledger: Ledger, count: Any) -> None:
    """Call `count` for each statement that a ledger sends to its database."""
    assert ledger._database is not None
    event.listen(ledger._database.engine, "before_cursor_execute", lambda *_: count())


def idle(url: str, name: str, ended: int, running: int = 0) -> dict[str, float]:
    """What one look costs a worker that finds nothing queued, while others still run."""
    planned(url, name, queued=running, ended=ended)
    ledger = Ledger(open_storage(url), name)
    for _ in range(running):
        ledger.claim()
    ledger.identity = {**ledger.identity, "started": "later"}  # now as another worker
    statements: list[int] = []
    count_statements(ledger, lambda: statements.append(1))
    looks, started, used = 20, time.perf_counter(), time.process_time()
    for _ in range(looks):
        assert ledger.claim() is None
        ledger.reap()
        ledger.settle()
        ledger.busy()
    clock, processor = time.perf_counter() - started, time.process_time() - used
    states = [trial.state for trial in ledger._trials]
    return {
        "runs": len(states),
        "running": states.count(TrialState.RUNNING),
        "statements": len(statements) / looks,
        "clock_ms": 1e3 * clock / looks,
        "processor_ms": 1e3 * processor / looks,
    }


def measure(settings: Settings) -> dict[str, Any]:
    """Plan, let 1 to 64 workers claim, and look at ledgers with nothing queued."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.sqlite" if settings.quick else _postgresql()
        runs, seconds = (20, 1.0) if settings.quick else (10_000, 30.0)
        many = (1, 2) if settings.quick else (1, 64)
        part = settings.part
        planning = part(f"planning {runs} runs", lambda: planned(url, "claims", runs))
        claimed = [
            part(f"{workers} workers", partial(claims, url, "claims", workers, seconds))
            for workers in many
        ]
        sizes = (10, 20) if settings.quick else (1000, 10_000)
        looks = [
            part(f"looks at {size} runs", partial(idle, url, "idle", size, 8)) for size in sizes
        ]
    return {
        "runs": runs,
        "seconds": seconds,
        "planning": planning,
        "claims": claimed,
        "looks": looks,
    }


def _postgresql() -> str:
    url = os.environ.get(STORAGE_VARIABLE, "")
    if not url.startswith("postgres"):
        raise BadInput(
            f"{STORAGE_VARIABLE}: give an empty database, postgresql://USER@HOST/DATABASE"
        )
    return url


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """What was claimed in a second, and what it cost."""
    planning, runs = measured["planning"], f"{measured['runs']:,}"
    return [
        Row(
            f"writing {runs} runs into the ledger",
            f"{planning['processor_s']:.1f} s of processor time, {planning['clock_s']:.1f} s on "
            "the clock",
        ),
        *(
            Row(
                f"{one['workers']} workers, ledger of {runs} runs",
                f"{one['per_second']:.1f} claims/s; {one['statements']:.0f} statements and "
                f"{one['processor_ms']:.0f} ms of processor time each",
            )
            for one in measured["claims"]
        ),
        *(
            Row(
                f"a look at a ledger of {one['runs']:,} runs of which {one['running']} run",
                f"{one['statements']:.0f} statements, {one['processor_ms']:.1f} ms of processor "
                "time",
            )
            for one in measured["looks"]
        ),
    ]


def main() -> None:
    """Be one process of workers: say when it is ready, wait for a line, and print what it did."""
    name, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    claimer = Claimer(os.environ[STORAGE_VARIABLE], name, threads)
    print("ready", flush=True)
    sys.stdin.readline()
    used = time.process_time()
    claimer.work(seconds)
    print(
        json.dumps(
            {
                "keys": claimer.keys,
                "waited_s": claimer.waited_s,
                "statements": claimer.statements,
                "processor_s": time.process_time() - used,
            }
        )
    )


if __name__ == "__main__":
    main()
