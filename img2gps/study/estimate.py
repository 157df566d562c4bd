"""The cost of a study and the differences that it can show: `hydra.sweeper.dry_run=true`."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from img2gps.analysis.stats.comparisons import resample
from img2gps.analysis.stats.detection import detectable_in
from img2gps.analysis.stats.luck import TYPICAL_RELATIVE
from img2gps.config.schema import TrainedPart
from img2gps.core import hardware
from img2gps.core.counted import counted
from img2gps.runs.names import without_fold
from img2gps.study import search
from img2gps.study.display import duration
from img2gps.study.otherwise import precision_hint
from img2gps.study.runner import TrainRunner
from img2gps.study.space import Axis, Params, Space, cell_id
from img2gps.study.spec import RunRef, Spec
from img2gps.training import weights

if TYPE_CHECKING:
    from img2gps.runs.plan import RunPlan

WARM_UP_STEPS, TIMED_STEPS = 1, 3
FROZEN_RUN_S = 0.7  # a head on features that are computed already, files and ledger included
VALIDATION_SHARE = 1 / 3  # of a training step's time: forward only
RECORD_BYTES = 100_000  # config, history, predictions, result
DRAWN = 400  # studies; a power of 80 % is then known to 2 points
RESAMPLES = 300  # of each
MOST_CELLS = 20  # of a study that is drawn; more cells hardly change what is detectable
MOST_SPOTS = 100  # of a study that is drawn
# How strongly two models' squared errors on the same photos are correlated.
CORRELATIONS = (0.5, 0.8)


@dataclass(frozen=True)
class Estimate:
    """Cost of the runs that are not done yet."""

    cells: int  # all folds of one together
    runs: int
    done: int
    epochs: int
    seconds: float
    disk_bytes: float
    n_val: int
    mean_predictor_m: float
    threads: int
    hint: str = ""  # how to link runs that are finished otherwise
    first_looks_s: float = 0.0  # of a race
    splits: tuple[str, ...] = ()  # how the validation photos of each split are spread

    def lines(self, spec: Spec, workers: int) -> list[str]:
        """Return the estimate as lines for a person."""
        searched = ", before any is pruned" if spec.searched and spec.pruner != "none" else ""
        seeds = len(spec.seeds)
        most = "at most " if spec.raced else ""
        folds = ""
        if self.runs > self.cells * seeds:
            alike = self.runs == self.cells * seeds * len(spec.folds)
            folds = f" x {len(spec.folds)} folds" if alike else " with their folds"
        return [
            f"study {spec.name}: {counted(self.cells, 'cell')} x {counted(seeds, 'seed')}{folds} = "
            f"{most}{counted(self.runs, 'run')}"
            if not spec.searched
            else f"study {spec.name}: {self._trials(spec)}",
            *([spec.left_out] if spec.left_out else []),
            f"done before: {self.done}; to run: {self.runs - self.done}",
            *([self.hint] if self.hint else []),
            *([self._first_looks(spec, workers)] if spec.raced else []),
            f"epochs: {self.epochs}{searched}",
            f"time: about {duration(self.seconds / max(1, workers))}{searched}, from timed steps "
            f"with {counted(max(1, workers), 'worker')} of {counted(self.threads, 'thread')}",
            f"disk: about {self.disk_bytes / 1e6:.0f} MB below {spec.root}/{spec.name}",
            self._differences(seeds),
            *self.splits,
        ]

    def _differences(self, seeds: int) -> str:
        low, high = detectable(self.mean_predictor_m, self.n_val, self.cells, seeds)
        between = f"between two of {counted(self.cells, 'cell')} with {counted(seeds, 'seed')}"
        if math.isinf(high):
            return (
                f"differences: {counted(self.n_val, 'validation photo')} cannot show any {between}"
            )
        return (
            f"differences: {self.n_val} validation photos can show {low:.0f} to {high:.0f} m "
            f"{between} (power 80 %) where errors are like the mean predictor's, "
            f"{self.mean_predictor_m:.1f} m, and smaller ones where cells do better"
        )

    def _trials(self, spec: Spec) -> str:
        trials = f"{counted(spec.n_trials, 'trial')} ({spec.kind})"
        return trials + (f", at most {counted(self.runs, 'run')}" if spec.repeated else "")

    def _first_looks(self, spec: Spec, workers: int) -> str:
        took = duration(self.first_looks_s / max(1, workers))
        return (
            f"race: one run of each cell first, about {took}; then only cells in doubt go on "
            f"(margin {spec.race.margin_m:g} m)"
        )


def detectable(rmse_m: float, n_photos: int, cells: int, seeds: int) -> tuple[float, float]:
    """Return the smallest difference of two RMSE that a study is likely to show, in metres.

    Studies of equally good cells are drawn whose errors are normal in east and north, and judged by
    the test behind the marks of the report: by how much must the other cells be worse to leave the
    confidence set? The squared errors of two cells on the same photos have a correlation of 0.8 for
    the lower figure, and of 0.5 for the higher one. Infinity where no difference would show.

    >>> [round(x) for x in detectable(70.0, 60, cells=2, seeds=3)]
    [11, 14]
    """
    if n_photos < 2:
        return math.inf, math.inf
    shape = min(max(cells, 2), MOST_CELLS), seeds, n_photos
    high, low = (rmse_m * _typical(shape, correlation) for correlation in CORRELATIONS)
    return low, high


def _typical(shape: tuple[int, int, int], correlation: float) -> float:
    """Return the detectable difference of drawn studies (c, s, p), as part of the RMSE."""
    rng = np.random.default_rng(0)
    drawn = (_errors(rng, shape, correlation) for _ in range(DRAWN))
    studies = [resample(error, np.arange(error.shape[2]), n=RESAMPLES) for error in drawn]
    worse = np.where(np.arange(shape[0]) > 0, 0.5, -0.5)  # about the same mean
    return detectable_in(studies, worse, shape[0] - 1)


def _errors(
    rng: np.random.Generator, shape: tuple[int, int, int], correlation: float
) -> NDArray[np.float64]:
    """Draw errors of a study (c, s, p) whose RMSE is 1 but for the luck of the runs.

    Of many photos, some are averaged, which changes nothing but the time that this takes.
    """
    cells, seeds, photos = shape
    averaged = math.ceil(photos / MOST_SPOTS)
    drawn = 2, math.ceil(photos / averaged), averaged  # east and north
    alike = math.sqrt(correlation)  # of the errors themselves
    shared = rng.standard_normal((1, *drawn))
    own = rng.standard_normal((cells, *drawn))
    both = math.sqrt(alike) * shared + math.sqrt(1 - alike) * own
    error = np.sqrt((both**2).sum(axis=1).mean(axis=2) / 2)[:, None]
    return np.asarray(error * (1 + TYPICAL_RELATIVE * rng.standard_normal((cells, seeds, 1))))


def report(spec: Spec, workers: int) -> list[str]:
    """Return the estimate as lines. Builds the data set if there is none, and trains nothing."""
    logger = logging.getLogger(weights.__name__)
    before = logger.level
    logger.setLevel(logging.ERROR)  # the study itself will warn of missing weights
    try:
        return estimate(spec, workers).lines(spec, workers)
    finally:
        logger.setLevel(before)


def estimate(spec: Spec, workers: int) -> Estimate:
    """Plan every run as the engine would, and time a few training steps of each kind of run."""
    runner = TrainRunner(spec)
    points = _listed(spec.space) if spec.searched else search.cells(spec)
    plans = [
        runner.plan_run(spec.overrides_of(params, seed)) for params in points for seed in spec.seeds
    ]
    done = {} if spec.searched else runner.find([_ref(plan) for plan in plans])
    left = [plan for plan in plans if plan.run_id not in done]
    threads = max(1, hardware.cores() // max(1, workers))
    step_s = {
        kind: seconds_a_photo(plan, plan.config.threads or threads)
        for kind, plan in {_kind(plan): plan for plan in left if not _is_frozen(plan)}.items()
    }
    size = {
        name: _checkpoint_bytes(plan) + RECORD_BYTES
        for name, plan in {plan.config.model.name: plan for plan in left}.items()
    }
    trials = spec.n_trials * len(spec.seeds) * max(1, len(spec.folds))  # of a search, in runs
    scale = trials / len(left) if spec.searched else 1.0
    return Estimate(
        cells=len({without_fold(cell_id(params)) for params in points}),
        runs=trials if spec.searched else len(plans),
        done=len(plans) - len(left),
        epochs=round(scale * sum(plan.config.epochs for plan in left)),
        seconds=scale * sum(_seconds(plan, step_s) for plan in left),
        disk_bytes=scale * sum(size[plan.config.model.name] for plan in left),
        n_val=_validated(plans),
        mean_predictor_m=statistics.fmean(_mean_predictor(plans)),
        threads=max(plan.config.threads or threads for plan in plans),
        hint="" if spec.searched else precision_hint(spec, runner, [_ref(plan) for plan in left]),
        first_looks_s=sum(_seconds(p, step_s) for p in left if _is_first(p, plans)),
        splits=tuple(_splits(plans)),
    )


def _splits(plans: Sequence[RunPlan]) -> list[str]:
    """Return how the validation photos of each split are spread, with a warning where needed.

    Folds are left out, because together they validate every photo.
    """
    from img2gps.photos.resemblance import resemblance

    kinds = {(id(plan.dataset), id(plan.split)): plan for plan in plans}  # shared, see OpenData
    lines = []
    for plan in kinds.values():
        config = plan.config.split
        found = resemblance(plan.dataset.manifest, plan.split)
        if found is not None and not config.kind.endswith("kfold"):
            lines.append(f"split {config.kind}, seed {config.seed}: {found.line()}")
            lines += [f"warning: {warning}" for warning in found.warnings(config)]
    return lines


def _is_first(plan: RunPlan, plans: Sequence[RunPlan]) -> bool:
    """Whether a run has the first seed and fold, with which a race begins."""
    first = plans[0].config
    return (plan.config.seed, plan.config.split.fold) == (first.seed, first.split.fold)


def _validated(plans: list[RunPlan]) -> int:
    """Return on how many photos cells are compared; folds count together, as in the report."""
    folds: dict[tuple[int, str], dict[int, int]] = {}
    for plan in plans:
        kind = id(plan.dataset), repr(replace(plan.config.split, fold=0))
        folds.setdefault(kind, {})[plan.config.split.fold] = len(plan.split.val)
    return min(sum(photos.values()) for photos in folds.values())


def _kind(plan: RunPlan) -> tuple[object, ...]:
    """Return what the time of a training step depends on."""
    config = plan.config
    model = config.model.name, config.model.train
    return *model, config.image_size, config.batch_size, plan.precision


def _is_frozen(plan: RunPlan) -> bool:
    return plan.config.model.train is TrainedPart.head


def _seconds(plan: RunPlan, step_s: Mapping[tuple[object, ...], float]) -> float:
    """Return the seconds of a run. Those of frozen features are taken as computed before."""
    return FROZEN_RUN_S if _is_frozen(plan) else _photos(plan) * step_s[_kind(plan)]


def _photos(plan: RunPlan) -> float:
    """Return the photos that a run trains on, in all epochs; a validation photo counts less."""
    each = len(plan.split.train) + 2 * VALIDATION_SHARE * len(plan.split.val)
    return plan.config.max_epochs * each


def _listed(space: Space) -> list[Params]:
    """Return every combination of a search's listed values, intervals at their lower ends."""
    fixed = (a if a.listed else Axis(a.name, (a.interval[0],), prefix=a.prefix) for a in space.axes)
    return replace(space, axes=tuple(fixed)).grid()


def _ref(plan: RunPlan) -> RunRef:
    path = f"{plan.config.study}/{plan.run_id}"
    return RunRef(plan.run_id, path, identity=plan.identity)


def _mean_predictor(plans: list[RunPlan]) -> list[float]:
    """Return the RMSE of the mean predictor on each validation part."""
    from img2gps.runs.predictions import PredictionTable

    kinds = {(id(p.dataset), id(p.split)): p for p in plans}  # shared by runs, see OpenData
    return [PredictionTable(p.dataset, p.split).mean_predictor_rmse_m() for p in kinds.values()]


def seconds_a_photo(plan: RunPlan, threads: int) -> float:
    """Return the time of a training step (forward, backward, update) for each of its photos."""
    import torch

    from img2gps.training import model
    from img2gps.training.step import TimedStep

    config, n = plan.config, min(plan.config.batch_size, len(plan.split.train))
    cuda = torch.cuda.is_available() and config.trainer.accelerator in ("auto", "gpu", "cuda")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        regressor = model.build(config.model, plan.weights)
        step = TimedStep(regressor, n, config.image_size, "cuda" if cuda else "cpu")
        times = [step.seconds(plan.precision) for _ in range(WARM_UP_STEPS + TIMED_STEPS)]
    finally:
        torch.set_num_threads(before)
    return float(np.median(times[WARM_UP_STEPS:])) / n


def _checkpoint_bytes(plan: RunPlan) -> float:
    """Return the size of the weights in float32, with Adam's two moments if they are kept."""
    from img2gps.training import model

    parameters = model.count_parameters(model.build(plan.config.model, plan.weights))
    return 4.0 * parameters * (3 if plan.config.runs.keep_optimizer else 1)
