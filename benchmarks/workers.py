"""A study with N workers of one core each against one worker with N cores.

The same four runs (two depths, two seeds) through the real engine, in turn.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, Settings, ratios, spread, watch

TITLE = "Workers and cores"


def study(workers: int, threads: int, root: Path, settings: Settings) -> float:
    """Seconds of the whole study, and the memory of all its processes in MB."""
    size, n, models = (64, 24, "resnet18") if settings.quick else (224, 156, "resnet18,resnet50")
    return watch(
        [sys.executable, "-m", "img2gps.train", "-m", f"model={models}", "seed=0,1",
         f"hydra.sweeper.workers={workers}", f"threads={threads}", f"runs.root={root}",
         "study=bench", f"data.n={n}", "split.n_val=12", f"image_size={size}", "max_epochs=2",
         "weights=none", "logger=csv", "baselines=false", "trainer.progress_bar=false",
         "runs.results=null"],
        {"PWD": str(root.parent)}, threads,
    ).seconds  # fmt: skip


def one_round(n: int, scratch: Path, settings: Settings) -> dict[str, float]:
    """Seconds of the study in each way."""
    scratch.mkdir()
    many = study(n, 1, scratch / "many", settings)
    return {"many": many, "one": study(1, n, scratch / "one", settings)}


def measure(settings: Settings) -> dict[str, Any]:
    """Both ways in turn, after one that fills the dataset cache."""
    n = max(2, settings.threads)
    seconds: dict[str, list[float]] = {"many": [], "one": []}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        study(1, n, scratch / "warm", settings)
        for turn in range(1 if settings.quick else settings.rounds or 2):
            found = settings.part(
                f"round {turn + 1} of each way",
                partial(one_round, n, scratch / str(turn), settings),
            )
            for way, taken in found.items():
                seconds[way].append(taken)
    return {"n": n, "seconds": seconds, "ratio": ratios(seconds["one"], seconds["many"])}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Which way is faster."""
    n, seconds = measured["n"], measured["seconds"]
    return [
        Row(
            f"study of 4 runs, 1 worker x {n} cores / {n} workers x 1 core",
            f"{spread(measured['ratio'])}; {statistics.median(seconds['one']):.0f} s and "
            f"{statistics.median(seconds['many']):.0f} s",
        )
    ]
