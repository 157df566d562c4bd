"""Overhead of a study per trial: claim, note, heartbeat, tell, record; the objective is empty.

    python benchmarks/ledger.py [--sizes 1000 10000] [--trials 100] [--storage URL]

Trials are measured in a ledger that already holds 1,000 and 10,000 finished ones, in one process,
with the record (study.json) written as the engine writes it.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import optuna
from rich.console import Console

from img2gps.runs.states import RunState
from img2gps.study.display import Display
from img2gps.study.engine import Engine
from img2gps.study.ledger import Ledger
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Done, RunRef, Spec
from img2gps.study.storage import default_url, open_storage
from img2gps.study.trials import NewRun, key_of

MUST_S = 0.1
MUST_RATIO = 2.0


def cell(i: int) -> NewRun:
    """The i-th cell of an endless grid."""
    params = {"model": "resnet18", "lr": 1e-6 * (i + 1), "batch_size": 16}
    ref = RunRef(f"{i:010x}", f"bench/{i:010x}")
    return NewRun(key_of(params, 0), params, 0, ref=ref)


def finished(i: int) -> NewRun:
    """The same cell with its result."""
    done = Done(f"{i:010x}", f"bench/{i:010x}", RunState.finished, "", 60.0, 15, 200.0, 89.0)
    return replace(cell(i), done=done)


def measure(size: int, trials: int, storage: str | None) -> dict[str, float]:
    """Median and 95th percentile seconds of one trial in a ledger of `size` finished ones."""
    with tempfile.TemporaryDirectory() as root:
        spec = Spec("bench", "grid", Space((Axis("lr", (0.1,)),)), root)
        url = storage or default_url(root, spec.name)
        ledger = Ledger.create(open_storage(url), spec)
        ledger.save(spec)
        ledger.enqueue(finished(i) for i in range(size))
        ledger.enqueue(cell(i) for i in range(size, size + trials))

        started = time.perf_counter()
        ledger = Ledger(open_storage(url), spec.name)
        ledger.refresh()
        opening = time.perf_counter() - started
        engine = Engine(ledger, Display(Console(file=io.StringIO())))
        engine.update(last=True)
        seconds = []
        for _ in range(trials):
            started = time.perf_counter()
            claim = ledger.claim()
            if claim is None or claim.ref is None:
                raise RuntimeError("the queue is empty too early")
            ledger.check(claim)
            run_id, path = claim.ref.run_id, claim.ref.path
            ledger.finish(claim, Done(run_id, path, RunState.finished, "", 60.0, 15, 200.0, 89.0))
            engine.update()
            seconds.append(time.perf_counter() - started)
    return {
        "finished": size,
        "opening_s": opening,
        "mean_s": statistics.fmean(seconds),
        "median_s": statistics.median(seconds),
        "p95_s": statistics.quantiles(seconds, n=20)[-1],
    }


def main() -> None:
    """Measure, print a table and the verdict as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--storage", help="an Optuna URL instead of a journal file")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = [measure(size, args.trials, args.storage) for size in args.sizes]
    for row in rows:
        print(
            f"{row['finished']:>6} finished: {1e3 * row['mean_s']:.1f} ms a trial on average "
            f"(median {1e3 * row['median_s']:.1f}, 95th percentile {1e3 * row['p95_s']:.1f}); "
            f"opening {row['opening_s']:.2f} s"
        )
    ratio = rows[-1]["mean_s"] / rows[0]["mean_s"]
    reached = rows[0]["mean_s"] < MUST_S and ratio <= MUST_RATIO
    print(
        f"{rows[-1]['finished']} against {rows[0]['finished']}: {ratio:.2f} x; reached: {reached}"
    )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(
            json.dumps({"rows": rows, "ratio": ratio, "reached": reached}, indent=1)
        )


if __name__ == "__main__":
    main()
