"""What a study will cost and can show, before anything runs: `hydra.sweeper.dry_run=true`."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from img2gps.core import hardware
from img2gps.study.display import duration
from img2gps.study.runner import TrainRunner
from img2gps.study.space import Axis, Params, Space
from img2gps.study.spec import Planned, Spec

if TYPE_CHECKING:
    from img2gps.runs.plan import RunPlan

WARM_UP_STEPS, TIMED_STEPS = 1, 3
VALIDATION_SHARE = 1 / 3  # of a training step's time: forward only
RECORD_BYTES = 100_000  # config, history, predictions, result
# Two-sided 5 %, power 80 %: 1.96 + 0.84 standard errors.
DETECTED_ERRORS = 2.80
# How far two models' squared errors on the same photos go together.
CORRELATIONS = (0.5, 0.8)


@dataclass(frozen=True)
class Estimate:
    """Sums over the runs that are not done yet."""

    cells: int
    runs: int
    done: int
    epochs: int
    seconds: float
    disk_bytes: float
    n_val: int
    mean_predictor_m: float

    def lines(self, spec: Spec, workers: int) -> list[str]:
        """For a person."""
        searched = ", before any is pruned" if spec.searched and spec.pruner != "none" else ""
        low, high = detectable(self.mean_predictor_m, self.n_val)
        threads = hardware.cores() // max(1, workers)
        return [
            f"study {spec.name}: {self.cells} cells x {len(spec.seeds)} seeds = {self.runs} runs"
            if not spec.searched
            else f"study {spec.name}: {self.runs} trials ({spec.kind})",
            f"done before: {self.done}; to run: {self.runs - self.done}",
            f"epochs: {self.epochs}{searched}",
            f"time: about {duration(self.seconds / max(1, workers))}{searched}, from timed steps "
            f"with {max(1, workers)} workers of {max(1, threads)} threads",
            f"disk: about {self.disk_bytes / 1e6:.0f} MB below {spec.root}/{spec.name}",
            f"differences: {self.n_val} validation photos can show {low:.0f} to {high:.0f} m "
            f"between two cells (power 80 %) where errors are like the mean predictor's, "
            f"{self.mean_predictor_m:.1f} m; smaller ones stay open, whatever the seeds",
        ]


def detectable(rmse_m: float, n_photos: int) -> tuple[float, float]:
    """Smallest difference of two RMSE that `n_photos` are likely to show, in metres: low and high.

    For errors that are normal in east and north the squared error has a standard deviation equal to
    its mean, so the RMSE has the standard error rmse / (2 sqrt(n)); of a difference of two on the
    same photos it is that x sqrt(2 (1 - r)), with r the correlation of the squared errors, here
    0.8 and 0.5.

    >>> [round(x) for x in detectable(70.0, 60)]
    [8, 13]
    """
    one = rmse_m / (2 * math.sqrt(n_photos))
    high, low = (DETECTED_ERRORS * one * math.sqrt(2 * (1 - r)) for r in CORRELATIONS)
    return low, high


def report(spec: Spec, workers: int) -> list[str]:
    """The estimate in lines. Builds the data set if it is not there; trains nothing."""
    return estimate(spec, workers).lines(spec, workers)


def estimate(spec: Spec, workers: int) -> Estimate:
    """Plan every run as the engine would, and time a few training steps of each kind of run."""
    runner = TrainRunner(spec)
    points = _typical(spec.space) if spec.searched else spec.space.grid()
    seeds = spec.seeds[:1] if spec.searched else spec.seeds
    plans = [
        runner.plan_fully([*spec.overrides, *spec.space.overrides(params), f"seed={seed}"])
        for params in points
        for seed in seeds
    ]
    done = [] if spec.searched else [p for p in plans if runner.find(_planned(p)) is not None]
    left = [plan for plan in plans if plan not in done]
    timed: dict[tuple[object, ...], float] = {}
    weights: dict[str, float] = {}
    threads = max(1, hardware.cores() // max(1, workers))
    seconds, disk = [], []
    for plan in left:
        config = plan.config
        key = (config.model.name, config.image_size, config.batch_size, plan.precision)
        if key not in timed:
            timed[key] = seconds_a_photo(plan, config.threads or threads)
        photos = len(plan.split.train) + 2 * VALIDATION_SHARE * len(plan.split.val)
        seconds.append(config.max_epochs * photos * timed[key])
        if config.model.name not in weights:
            weights[config.model.name] = _checkpoint_bytes(plan)
        disk.append(weights[config.model.name] + RECORD_BYTES)
    scale = spec.n_trials / len(left) if spec.searched else 1.0
    return Estimate(
        cells=len(points),
        runs=spec.n_trials if spec.searched else len(plans),
        done=len(done),
        epochs=round(scale * sum(plan.config.max_epochs for plan in left)),
        seconds=scale * sum(seconds),
        disk_bytes=scale * sum(disk),
        n_val=min(len(plan.split.val) for plan in plans),
        mean_predictor_m=statistics.fmean(_mean_predictor(plans)),
    )


def _typical(space: Space) -> list[Params]:
    """Every combination of a search's listed values, intervals at their lower ends."""
    fixed = (a if a.listed else Axis(a.name, (a.interval[0],), prefix=a.prefix) for a in space.axes)
    return replace(space, axes=tuple(fixed)).grid()


def _planned(plan: RunPlan) -> Planned:
    return Planned(plan.run_id, f"{plan.config.study}/{plan.run_id}")


def _mean_predictor(plans: Iterable[RunPlan]) -> list[float]:
    """RMSE of the mean predictor on each kind of validation part."""
    from img2gps.runs.predictions import PredictionTable

    kinds = {(id(p.dataset), str(p.config.split)): p for p in plans}
    return [PredictionTable(p.dataset, p.split).mean_predictor_rmse_m() for p in kinds.values()]


def seconds_a_photo(plan: RunPlan, threads: int) -> float:
    """Time of a training step (forward, backward, update) by the number of its photos."""
    import torch

    from img2gps.config.schema import Precision
    from img2gps.training import model

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        config = plan.config
        size = config.image_size
        n = min(config.batch_size, len(plan.split.train))
        cuda = torch.cuda.is_available() and config.trainer.accelerator in ("auto", "gpu", "cuda")
        device = torch.device("cuda" if cuda else "cpu")
        regressor = model.build(config.model, plan.weights).to(device)
        regressor.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.Adam(regressor.parameters(), fused=True)
        images = torch.rand(n, 3, size, size).to(device, memory_format=torch.channels_last)
        bf16 = plan.precision is Precision.bf16
        times = []
        for _ in range(WARM_UP_STEPS + TIMED_STEPS):
            started = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = regressor(images).float().square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # waits for a GPU to have done it
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return float(np.median(times[WARM_UP_STEPS:])) / n


def _checkpoint_bytes(plan: RunPlan) -> float:
    """Weights in float32, and Adam's two moments where they are kept."""
    from img2gps.training import model

    parameters = model.count_parameters(model.build(plan.config.model, plan.weights))
    return 4.0 * parameters * (3 if plan.config.runs.keep_optimizer else 1)
