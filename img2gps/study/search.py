"""Optuna's samplers, which choose the next values, and pruners, which cut runs short.

A preset is one word. Any other sampler or pruner is a mapping with `_target_`.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from img2gps.analysis.winner import FOLD_AXIS, RMSE
from img2gps.config.schema import SchedulerConfig, SchedulerName
from img2gps.core.errors import BadInput
from img2gps.runs.folder import Pruned
from img2gps.runs.names import without_fold
from img2gps.study.ledger import Claim, Ledger
from img2gps.study.process import Stop
from img2gps.study.require import meets
from img2gps.study.space import Axis, Params, cell_id
from img2gps.study.spec import SAMPLERS, EpochHook, Spec
from img2gps.study.storage import quiet

PRUNERS = ("none", "hyperband", "successive_halving")
REDUCTION = 2  # of the runs at each rung; 15 epochs leave room for no more
DRAWS = 20  # times the cells wanted, before a race gives up finding cells that are allowed
STARTUP_TRIALS = 10  # drawn at random, before a model of the results is of any use


def sampler(spec: Spec, trial: int, attempt: int = 0) -> BaseSampler:
    """Return the sampler that draws the values of one trial.

    A preset's seed follows from the study and the trial. So one worker repeats its search, and no
    two trials draw alike, whichever engine or worker draws them. A further `attempt` is made where
    a draw does not meet the study's constraints.
    """
    text = f"{spec.name}/{spec.seeds[0]}/{trial}/{attempt}"  # as published replays
    seed = zlib.crc32(text.encode())
    match spec.sampler:
        case "grid" | "race" | "random":
            return RandomSampler(seed=seed)
        case "tpe":
            # constant_liar: runs that other workers have under way count as bad ones.
            return TPESampler(
                seed=seed,
                multivariate=True,
                group=True,  # conditional knobs: one model for each set of knobs
                constant_liar=True,
                n_startup_trials=STARTUP_TRIALS,
            )
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    made: BaseSampler = _instantiate("sampler", spec.sampler, BaseSampler, SAMPLERS)
    if trial:
        made.reseed_rng()  # otherwise all workers and sessions would draw alike
    return made


def pruner(spec: Spec) -> BasePruner:
    """Return the pruner; the presets first judge after `spec.first_rung` epochs."""
    match spec.pruner:
        case "none":
            return NopPruner()
        case "successive_halving":
            return SuccessiveHalvingPruner(min_resource=spec.first_rung, reduction_factor=REDUCTION)
        case "hyperband":
            return HyperbandPruner(
                min_resource=spec.first_rung,
                max_resource=spec.max_epochs,
                reduction_factor=REDUCTION,
            )
    made: BasePruner = _instantiate("pruner", spec.pruner, BasePruner, PRUNERS)
    return made


def check(spec: Spec) -> None:
    """Make sampler and pruner once, so that errors come before anything runs."""
    quiet()
    sampler(spec, 0)
    pruner(spec)


def check_race(spec: Spec, monitor: str, compared: str | None) -> None:
    """Check that a race has something to compare, and something to give.

    Args:
        spec: the race.
        monitor: its first aim.
        compared: the aim that `hydra.sweeper.select.by` marks; needed where there are several.

    Raises:
        BadInput: it has one cell, nothing beyond a first look, or another metric than RMSE.
    """
    key = "hydra.sweeper"
    if spec.aims and compared != monitor:
        raise BadInput(
            f"monitor=[{','.join(spec.aims)}]: a race compares its cells by one aim; mark it with "
            f"+{key}.select.by={monitor}, and the page shows the others, too"
        )
    if monitor != RMSE:
        raise BadInput(f"monitor={monitor}: a race compares squared errors; give monitor={RMSE}")
    if any(not axis.listed for axis in spec.space.axes) and not spec.n_trials:
        raise BadInput(f"{key}.n_trials: a race over an interval needs a number of cells to draw")
    points = cells(spec)
    raced = {without_fold(cell_id(point)) for point in points}
    if len(raced) < 2:
        raise BadInput(f"{key}.sampler=race: there is one cell; vary a knob, or give sampler=grid")
    if len(spec.seeds) < 2 and len(points) == len(raced):
        raise BadInput(
            f"{key}.seeds={list(spec.seeds)}: a race gives more seeds to the cells in doubt; give "
            f"at least two, such as {key}.seeds=[0,1,2,3,4], or vary split.fold"
        )


def first_rung(scheduler: SchedulerConfig, max_epochs: int) -> int:
    """Return the number of epochs before a run may be judged by its curve.

    With steps, one epoch after the first drop, because until then the noise of the high rate hides
    what the run will reach. Doubled, that is after the second drop too (5, 10 -> rungs 6, 12).
    With a cosine, after half of the epochs; with a constant rate, after a quarter.
    """
    match scheduler.name:
        case SchedulerName.step:
            rung = scheduler.step_size + 1
        case SchedulerName.cosine:
            rung = math.ceil(max_epochs / 2)
        case SchedulerName.none:
            rung = math.ceil(max_epochs / 4)
    return scheduler.warmup_epochs + rung


def _instantiate(key: str, target: Any, kind: type[Any], presets: tuple[str, ...]) -> Any:
    if not isinstance(target, Mapping) or "_target_" not in target:
        raise BadInput(
            f"hydra.sweeper.{key}={target}: no such {key}; one of {', '.join(presets)}, or a "
            f"mapping with _target_, such as optuna.{key}s.NAME"
        )
    from hydra.utils import instantiate

    try:
        made = instantiate(dict(target))
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise BadInput(f"hydra.sweeper.{key}: cannot be made ({reason}); check it") from error
    if not isinstance(made, kind):
        raise BadInput(
            f"hydra.sweeper.{key}._target_={target['_target_']}: not a {kind.__name__} of Optuna's"
        )
    return made


def cells(spec: Spec) -> list[Params]:
    """Return the cells of a study whose cells are known before anything runs.

    A race over intervals draws `n_trials` points, which are the same each time.
    """
    if not spec.raced or not spec.n_trials:
        return spec.space.grid()
    drawn = (draw(spec, _study(spec, n).ask()) for n in range(DRAWS * spec.n_trials))
    points = itertools.islice((p for p in drawn if meets(p, spec.space.require)), spec.n_trials)
    found = list({cell_id(point): point for point in points}.values())
    if not found:
        raise BadInput(
            f"hydra.sweeper.require: none of {DRAWS * spec.n_trials} drawn cells meets "
            f"{' and '.join(spec.space.require)}; loosen it"
        )
    return found


def _study(spec: Spec, number: int) -> optuna.Study:
    return optuna.create_study(sampler=sampler(spec, number))


def draw(spec: Spec, trial: optuna.Trial) -> Params:
    """Draw the values of one trial, each knob after those that decide whether it exists."""
    params: Params = {}
    for axis in spec.space.by_dependence():
        if spec.space.active(axis.name, params):
            fold = spec.searched and axis.name == FOLD_AXIS  # a trial has them all
            params[axis.name] = axis.values[0] if fold else _suggest(trial, axis)
    return {axis.name: params[axis.name] for axis in spec.space.axes if axis.name in params}


def _suggest(trial: optuna.Trial, axis: Axis) -> Any:
    if axis.listed:
        drawn = trial.suggest_categorical(axis.name, _choices(axis))
        return axis.values[drawn] if _by_position(axis) else drawn
    low, high = axis.interval
    if axis.whole:
        return trial.suggest_int(axis.name, int(low), int(high), log=axis.log)
    return trial.suggest_float(axis.name, low, high, log=axis.log)


def distribution(axis: Axis) -> BaseDistribution:
    """Return what the values of an axis are drawn from."""
    if axis.listed:
        return CategoricalDistribution(_choices(axis))
    low, high = axis.interval
    if axis.whole:
        return IntDistribution(int(low), int(high), log=axis.log)
    return FloatDistribution(low, high, log=axis.log)


def choice_of(axis: Axis, value: Any) -> Any:
    """Return a value of an axis as Optuna knows it."""
    return axis.values.index(value) if axis.listed and _by_position(axis) else value


def _choices(axis: Axis) -> Sequence[Any]:
    return range(len(axis.values)) if _by_position(axis) else axis.values


def _by_position(axis: Axis) -> bool:
    """Whether values are drawn by their position, because Optuna's choices must be scalars."""
    return any(isinstance(value, list | tuple | dict) for value in axis.values)


def epoch_hook(
    ledger: Ledger, claim: Claim, monitor: str, last_epoch: int, stop: Stop
) -> EpochHook:
    """Return a hook that reports each epoch's metric, and ends the run when the pruner says so.

    It never ends a run after `last_epoch`, because pruning would save nothing then, nor one that
    confirms what the search has found: without its unlucky seeds a cell would look better. The hook
    raises `runs.Pruned`, and `ledger.Lost` when the trial does not belong to this worker any more.
    """
    confirms = bool(ledger.spec.confirm.top) and claim.seed not in ledger.spec.seeds
    pruning = not isinstance(ledger.study.pruner, NopPruner) and not confirms

    def hook(epoch: int, metrics: Mapping[str, float]) -> None:
        with stop.protected():
            ledger.check(claim)
            if monitor not in metrics:
                known = ", ".join(sorted(metrics))
                raise BadInput(f"monitor={monitor}: not among the metrics; one of: {known}")
            ledger.report(claim, epoch, metrics[monitor])
            if pruning and epoch < last_epoch and claim.trial.should_prune():
                raise Pruned(f"by {type(ledger.study.pruner).__name__} after epoch {epoch}")

    return hook
