"""Seconds that a study needs before its first run begins: planning a grid, and planning it again.

Each way opens the ledger, composes and names every run, looks for finished ones in all studies'
folders, and writes what is new. The imports of torch and Lightning are not counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra

from benchmarks.harness import Row, Settings
from img2gps.core.paths import package_folder
from img2gps.runs.records import RunResult, write_result
from img2gps.runs.states import RunState
from img2gps.study.ledger import Ledger
from img2gps.study.locking import study_lock
from img2gps.study.planning import plan_study
from img2gps.study.runner import TrainRunner
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Spec
from img2gps.study.storage import default_url, open_storage

TITLE = "Planning"
MUST_S = 5.0
OTHER_STUDIES = 20  # in the same runs folder


def study(root: Path, runs: int) -> Spec:
    """A grid of `runs` runs: two models, two optimizers, learning rates, and five seeds."""
    rates = tuple(1e-5 * (i + 1) for i in range(runs // 20))
    axes = (
        Axis("model", ("resnet18", "resnet50")),
        Axis("optimizer", ("adam", "sgd")),
        Axis("lr", rates),
    )
    return Spec(
        "bench", "grid", Space(axes), str(root), seeds=(0, 1, 2, 3, 4),
        overrides=("study=bench", "data=quad_tiny", "weights=none", "logger=csv", "threads=1",
                   "precision=fp32", "trainer.progress_bar=false", f"runs.root={root}"),
        config_dir=str(package_folder("conf")), config_name="train",
    )  # fmt: skip


def seconds(spec: Spec) -> list[float]:
    """Plan the study as the engine does; seconds on the clock and of processor time."""
    GlobalHydra.instance().clear()
    started, used = time.perf_counter(), time.process_time()
    with study_lock(Path(spec.root), spec.name):
        ledger = Ledger.create(open_storage(default_url(spec.root, spec.name)), spec)
        plan_study(ledger, spec)
    return [time.perf_counter() - started, time.process_time() - used]


def finish(spec: Spec) -> None:
    """Leave the result of every run in another study's folder, and many studies without them."""
    runner = TrainRunner(spec)
    for params in spec.space.grid():
        for seed in spec.seeds:
            ref = runner.identify(spec.overrides_of(params, seed))
            folder = Path(spec.root, "elsewhere", ref.run_id)
            metrics: dict[str, float | None] = {spec.monitor: 60.0}
            write_result(folder, RunResult(ref.run_id, "elsewhere", RunState.finished, "", metrics))
    for i in range(OTHER_STUDIES):
        (Path(spec.root) / f"other-{i}").mkdir()


def one_round(runs: int) -> dict[str, list[float]]:
    """Plan once in each way."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as other:
        spec = study(Path(name), runs)
        TrainRunner(spec).identify(spec.overrides_of(spec.space.first(), 0))  # imports, cache
        first, again = seconds(spec), seconds(spec)
        linked = study(Path(other), runs)
        finish(linked)
        return {"first": first, "again": again, "finished": seconds(linked)}


def measure(settings: Settings) -> dict[str, Any]:
    """Plan once; again, with every run queued; and anew, with every run finished elsewhere."""
    runs = 20 if settings.quick else 1000
    found: dict[str, list[list[float]]] = {"first": [], "again": [], "finished": []}
    rounds = 1 if settings.quick else settings.rounds or 3
    for number in range(1, rounds + 1):
        one = settings.part(f"round {number} of {rounds}", lambda: one_round(runs))
        for way, times in one.items():
            found[way].append(times)
    return {"runs": runs, "seconds": found}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """The medians of each way."""
    told = {
        "first": "planning a grid of {} runs",
        "again": "planning it again, every run queued",
        "finished": "planning it, every run finished in another study",
    }
    found = []
    for way, what in told.items():
        clock, processor = map(statistics.median, zip(*measured["seconds"][way], strict=True))
        found.append(
            Row(
                what.format(f"{measured['runs']:,}"),
                f"{processor:.1f} s of processor time, {clock:.1f} s on the clock",
                f"<= {MUST_S:.0f} s of processor time",
                processor <= MUST_S,
            )
        )
    return found
