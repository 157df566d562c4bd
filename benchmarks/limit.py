"""Training batches of a run against a bare loop over tensors in memory, and what else an epoch has.

The run is `img2gps.train.run`; after each of its epochs the bare loop does as many batches in the
same process, at the same precision, memory layout and allocator settings. The first epoch of both
warms up and is not counted.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.harness import Row, Settings, config, ratios, spread
from img2gps import train
from img2gps.training import devices, model
from img2gps.training.weights import ResolvedWeights

TITLE = "Training batches against a bare loop"
BATCH = 16
MOST = 1.03  # times the bare loop
CASES = (("resnet18", "bf16"), ("resnet50", "bf16"), ("resnet18", "fp32"))


class BareLoop:
    """Forward, backward, step: nothing else."""

    def __init__(self, name: str, precision: str, batches: int, size: int) -> None:
        chosen = config(f"model={name}").model
        self.model = model.build(chosen, ResolvedWeights("none", "none"))
        self.model.to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-4, fused=True)
        self.bf16 = precision == "bf16"
        draw = torch.Generator().manual_seed(0)
        self.batches = [
            (
                torch.randn(BATCH, 3, size, size, generator=draw).to(
                    memory_format=torch.channels_last
                ),
                torch.randn(BATCH, 2, generator=draw),
            )
            for _ in range(batches)
        ]

    def epoch(self) -> float:
        """Seconds of all batches."""
        started = time.perf_counter()
        for images, targets in self.batches:
            self.step(self.model, images, targets)
        return time.perf_counter() - started

    def step(self, net: nn.Module, images: Tensor, targets: Tensor) -> None:
        """One batch."""
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = functional.mse_loss(net(images), targets)
        torch.autograd.backward(loss)
        self.optimizer.step()


def compare(
    name: str, precision: str, *, batches: int, rounds: int, size: int, settings: Settings
) -> dict[str, Any]:
    """Seconds of each part of an epoch, and the ratio to the bare loop."""
    bare = BareLoop(name, precision, batches, size)
    times: dict[str, list[float]] = {"ours": [], "limit": [], "validation": [], "between": []}
    ended: list[float] = []

    def after(_: int, row: Mapping[str, float]) -> None:
        if ended:  # since the last epoch: its checkpoint, this epoch, and nothing else
            times["between"].append(time.perf_counter() - ended[-1] - row["seconds"])
        times["ours"].append(row["train_seconds"])
        times["validation"].append(row["seconds"] - row["train_seconds"])
        times["limit"].append(bare.epoch())
        ended.append(time.perf_counter())

    root = Path(tempfile.mkdtemp())
    n, n_val = (40, 8) if settings.quick else (330, 60)
    try:
        train.run(
            config(
                f"data.n={n}",
                f"split.n_val={n_val}",
                f"trainer.limit_train_batches={batches}",
                f"model={name}",
                f"batch_size={BATCH}",
                f"max_epochs={rounds + 1}",
                f"image_size={size}",
                f"precision={precision}",
                f"threads={settings.threads}",
                "weights=none",
                "logger=none",
                "baselines=false",
                "trainer.progress_bar=false",
                "runs.results=null",
                f"runs.root={root}",
            ),
            on_epoch=after,
        )  # fmt: skip
    finally:
        shutil.rmtree(root, ignore_errors=True)
    counted = {key: values[1:] if key != "between" else values for key, values in times.items()}
    return {
        "model": name,
        "precision": precision,
        "batches": batches,
        "seconds": counted,
        "ratio": ratios(counted["ours"], counted["limit"]),
        "images_per_s": BATCH * batches / statistics.median(counted["ours"]),
        "limit_images_per_s": BATCH * batches / statistics.median(counted["limit"]),
        "validation_s": statistics.median(counted["validation"]),
        "checkpoint_s": statistics.median(counted["between"]),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """All cases."""
    if settings.quick:
        sizes = {"batches": 2, "rounds": 2, "size": 32}
    else:
        sizes = {"batches": 12, "rounds": settings.rounds or 5, "size": 224}
    cases = [case for case in CASES if case[1] == "fp32" or devices.native_bf16()]
    torch.set_num_threads(settings.threads)
    return {
        "cases": [
            settings.part(
                f"{name} {precision}",
                partial(compare, name, precision, **sizes, settings=settings),
            )
            for name, precision in (cases[:1] if settings.quick else cases)
        ]
    }


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Ratio, then the parts of an epoch that the ratio leaves out."""
    out = []
    for case in measured["cases"]:
        ratio = case["ratio"]
        out.append(
            Row(
                f"training batches / bare loop, {case['model']} {case['precision']}",
                f"{spread(ratio, 3)}; {case['images_per_s']:.1f} images/s, the bare loop "
                f"{case['limit_images_per_s']:.1f}; validating 2 x 60 photos "
                f"{case['validation_s']:.2f} s, checkpoint {case['checkpoint_s']:.2f} s an epoch",
                f"<= {MOST}",
                ratio["median"] <= MOST,
            )
        )
    return out
