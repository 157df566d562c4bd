"""What Weights & Biases costs a run without an account, beside what any run imports.

Processor time is measured, that of W&B's own process included, because other programs hardly
change it, and as a ratio, because processors differ by more than a factor of two.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Row, Settings, ratios, spread
from benchmarks.startup import TORCH

TITLE = "Logging without an account"
MOST = 0.4  # of the imports
RUN = """
import sys
from pathlib import Path
import pandas  # a run has it anyway
from img2gps import tracking
from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.runs.records import RunResult
from img2gps.runs.states import RunState
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
(folder / "config.yaml").write_text("lr: 0.001")
tracker = tracking.open_tracker(LoggerConfig(LoggerKind(sys.argv[2])), folder, {}, None)
for epoch in range(1, 16):
    tracker.epoch(epoch, {"val/rmse_m": 60.0})
tracker.finish(RunResult(folder.name, "s", RunState.finished), 0)
"""


def _processor_s(command: Sequence[str], home: str) -> float:
    """Run a command; seconds of the processor, those of its ended children included."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    before = os.times()
    subprocess.run(
        command, check=True, capture_output=True, stdin=subprocess.DEVNULL, cwd=home,
        env={**kept, "HOME": home, "NETRC": str(Path(home, "none")), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def measure(settings: Settings) -> dict[str, Any]:
    """Seconds of the processor of a run's logging with W&B and without it, and of the imports."""
    rounds = 1 if settings.quick else settings.rounds or 7
    seconds: dict[str, list[float]] = {"wandb": [], "csv": [], "imports": []}
    for _ in range(rounds):
        for kind in ("wandb", "csv"):
            with tempfile.TemporaryDirectory() as home:
                command = [sys.executable, "-c", RUN, f"{home}/s/0123456789", kind]
                seconds[kind].append(_processor_s(command, home))
        with tempfile.TemporaryDirectory() as home:
            seconds["imports"].append(_processor_s(TORCH, home))
    return {"seconds": seconds}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """What W&B adds to a run, as a part of what any run imports."""
    seconds = measured["seconds"]
    added = [a - b for a, b in zip(seconds["wandb"], seconds["csv"], strict=True)]
    ratio = ratios(added, seconds["imports"])
    return [
        Row(
            "processor time that W&B adds to a run without an account / importing torch, "
            "torchvision, Lightning and torchmetrics",
            f"{spread(ratio)}; {statistics.median(added):.1f} s and "
            f"{statistics.median(seconds['imports']):.1f} s",
            f"<= {MOST}",
            ratio["median"] <= MOST,
        )
    ]
