"""Processor time of a run around its batches: from the claim of a cell to its result.

A warm worker makes runs of one epoch on cached data, one after the other. What the batches of
training and validation take is subtracted. Processor time is measured, because other programs
hardly change it.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra

from benchmarks.harness import Row, Settings
from img2gps.core.load import wait_passively
from img2gps.core.paths import package_folder
from img2gps.study.ledger import Ledger
from img2gps.study.locking import study_lock
from img2gps.study.planning import plan_study
from img2gps.study.process import Stop
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Spec, make_runner
from img2gps.study.storage import default_url, open_storage
from img2gps.study.worker import Worker
from img2gps.training import loop
from img2gps.training.module import GeoRegression

TITLE = "A run around its batches"
MOST_S = 0.35
RUNS = 100
WARM_UP = 2  # runs, which import, open the data and compute the baselines
KINDS = {
    "ResNet-18 at 32 pixels": ("model=resnet18",),
    "a linear head on frozen features": ("model=efficientnet_lite0", "model.train=head",
                                         "weights=imagenet", "head=linear"),
}  # fmt: skip


def study(root: Path, runs: int, words: tuple[str, ...]) -> Spec:
    """A grid over the learning rate, of runs as short as they get."""
    rates = Axis("lr", tuple(1e-5 * (i + 1) for i in range(runs)))
    common = ("study=bench", "data=quad_tiny", "data.n=48", "split.n_val=12", "image_size=32",
              "max_epochs=1", "weights=none", "logger=csv", "threads=1", "precision=fp32",
              "trainer.progress_bar=false", "runs.results=null", f"runs.root={root}")  # fmt: skip
    return Spec(
        "bench", "grid", Space((rates,)), str(root), seeds=(0,), overrides=(*common, *words),
        config_dir=str(package_folder("conf")), config_name="train",
    )  # fmt: skip


class Batches:
    """Adds up the processor time between a batch's first hook and its last."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0

    def start(self, *_: Any) -> None:
        """Note when a batch begins."""
        self._began = time.process_time()

    def end(self, *_: Any) -> None:
        """Add what it took."""
        self.seconds += time.process_time() - self._began


@contextmanager
def batches() -> Iterator[Batches]:
    """Watch the batches of all runs in this process."""
    watched = Batches()
    hooks = {
        f"on_{phase}_batch_{moment}": getattr(watched, moment)
        for phase in ("train", "validation")
        for moment in ("start", "end")
    }
    before = {name: getattr(GeoRegression, name) for name in hooks}
    for name, hook in hooks.items():
        setattr(GeoRegression, name, lambda _, *args, hook=hook, **__: hook(*args))
    try:
        yield watched
    finally:
        for name, hook in before.items():
            setattr(GeoRegression, name, hook)


def work(runs: int, words: tuple[str, ...]) -> dict[str, list[float]]:
    """Make the runs as a worker does; seconds of each run's parts."""
    wait_passively()
    GlobalHydra.instance().clear()
    logging.getLogger(loop.__name__).setLevel(logging.ERROR)  # each run would tell of the load
    with tempfile.TemporaryDirectory() as name, batches() as watched:
        spec = study(Path(name), runs + WARM_UP, words)
        url = default_url(spec.root, spec.name)
        with study_lock(Path(spec.root), spec.name):
            plan_study(Ledger.create(open_storage(url), spec), spec)
        ledger = Ledger(open_storage(url), spec.name)
        worker = Worker(ledger, make_runner(ledger.spec), Stop())
        found: dict[str, list[float]] = {"processor": [], "batches": [], "clock": []}
        for _ in range(runs + WARM_UP):
            watched.seconds = 0.0
            used, began = time.process_time(), time.perf_counter()
            claim = ledger.claim()
            assert claim is not None
            worker.attempt(claim)
            found["processor"].append(time.process_time() - used)
            found["batches"].append(watched.seconds)
            found["clock"].append(time.perf_counter() - began)
        ledger.refresh()
        wrong = [entry.reason for entry in ledger.entries() if not entry.state.is_final]
    if wrong:
        raise RuntimeError(f"{len(wrong)} runs have not finished: {wrong[0]}")
    return {name: seconds[WARM_UP:] for name, seconds in found.items()}


def measure(settings: Settings) -> dict[str, Any]:
    """Runs of each kind."""
    runs = 2 if settings.quick else RUNS
    kinds = dict(list(KINDS.items())[:1]) if settings.quick else KINDS
    return {
        kind: settings.part(f"{runs} runs, {kind}", partial(work, runs, words))
        for kind, words in kinds.items()
    }


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Return the median and what nine of ten runs stay below."""
    out = []
    for kind, seconds in measured.items():
        around = [a - b for a, b in zip(seconds["processor"], seconds["batches"], strict=True)]
        median, ninth = statistics.median(around), sorted(around)[int(0.9 * (len(around) - 1))]
        out.append(
            Row(
                f"processor time of a run around its batches, {kind}",
                f"{median:.2f} s (9 of 10 below {ninth:.2f} s, {len(around)} runs); the batches "
                f"{statistics.median(seconds['batches']):.2f} s",
                f"<= {MOST_S} s",
                median <= MOST_S,
            )
        )
    return out
