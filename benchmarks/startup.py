"""How long the commands take that do not train, and how soon the first batch is trained."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness import ROOT, Row, Settings, watch

TITLE = "Start-up"
MOST_S = 1.0
TRAIN = (sys.executable, "-m", "img2gps.train")
CLI = (sys.executable, "-c", "from img2gps.cli.main import main; main()")
TORCH = (sys.executable, "-c", "import torch, pytorch_lightning, torchmetrics, torchvision")


def commands() -> dict[str, Sequence[str]]:
    """Every `--help`, and what else has to answer at once."""
    found = sorted(path.stem for path in (ROOT / "img2gps" / "cli" / "commands").glob("[!_]*.py"))
    return {
        "img2gps.train --help": (*TRAIN, "--help"),
        "img2gps.train --cfg job": (*TRAIN, "--cfg", "job"),
        "img2gps --help": (*CLI, "--help"),
        **{f"img2gps {name} --help": (*CLI, name, "--help") for name in found},
        "img2gps studies": (*CLI, "studies"),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """Seconds of each, in turn; and of a run up to its first epoch's end against the imports."""
    rounds = 1 if settings.quick else settings.rounds or 5
    chosen = dict(list(commands().items())[:3]) if settings.quick else commands()
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    first: dict[str, list[float]] = {"imports": [], "run": []}
    with tempfile.TemporaryDirectory() as folder:
        env = {"PWD": folder}
        tiny = [
            *TRAIN, "data=quad_tiny", "data.n=24", "split.n_val=8", "image_size=64", "weights=none",
            "max_epochs=1", "baselines=false", "logger=csv", "trainer.progress_bar=false",
            f"threads={settings.threads}", "force=true",
        ]  # fmt: skip
        watch(tiny, env, settings.threads)  # renders the photos
        for _ in range(rounds):
            for name, command in chosen.items():
                started = time.perf_counter()
                subprocess.run(command, cwd=folder, capture_output=True, check=True)
                seconds[name].append(time.perf_counter() - started)
            first["imports"].append(watch(TORCH, env, settings.threads).seconds)
            first["run"].append(watch(tiny, env, settings.threads).seconds)
    return {"seconds": seconds, "first": first}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """The slowest command, and what a run needs beyond the imports."""
    medians = {name: statistics.median(times) for name, times in measured["seconds"].items()}
    slowest = max(medians, key=lambda name: medians[name])
    first = {name: statistics.median(times) for name, times in measured["first"].items()}
    return [
        Row(
            f"slowest of {len(medians)} commands that do not train",
            f"{medians[slowest]:.2f} s, `{slowest}`",
            f"< {MOST_S:.0f} s",
            medians[slowest] < MOST_S,
        ),
        Row(
            "a whole run of one epoch on 16 photos",
            f"{first['run']:.1f} s, of which importing torch, torchvision, Lightning and "
            f"torchmetrics takes {first['imports']:.1f} s",
        ),
    ]
