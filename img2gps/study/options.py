"""The options of a study, `hydra.sweeper.*`, and what is checked of them before anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from img2gps.analysis import declared
from img2gps.core.errors import BadInput
from img2gps.study import notify
from img2gps.study.budget import Budget
from img2gps.study.spec import ENUMERATED, SAMPLERS, Confirm, Limits

ORDERS = ("seed", "cost", "base")
LIMITS = tuple(item.name for item in fields(Limits))


def _unset(kind: type) -> dict[str, Any]:
    """Return the keys of an option, none of them set; Hydra accepts no others without a `+`."""
    return dict.fromkeys(item.name for item in fields(kind))


@dataclass
class SweeperConfig:
    """`hydra.sweeper.*`, set by a study file or on the command line; see docs/sweeps.md."""

    _target_: str = "hydra_plugins.img2gps_sweeper.StudySweeper"
    _recursive_: bool = False  # workers make a sampler of its _target_, not Hydra
    question: str = ""
    params: dict[str, Any] = field(default_factory=dict)  # knob: values, in Hydra's sweep grammar
    cells: list[Any] = field(default_factory=list)  # points that are not a product
    when: dict[str, Any] = field(default_factory=dict)  # knob: {other knob: value or values}
    require: Any = field(default_factory=list)  # "batch_size * lr <= 0.1", or a list of such
    seeds: list[int] | None = None  # null = the configuration's seed
    sampler: Any = "grid"  # grid | race | random | tpe | gp | {_target_: ...}
    confirm: dict[str, Any] = field(default_factory=lambda: _unset(Confirm))  # of a search
    warm_start: Any = field(default_factory=list)  # of a search: a study, or a list of them
    budget: dict[str, Any] = field(default_factory=lambda: _unset(Budget))
    margin_m: float = 0.0  # of a race: differences up to this do not matter
    give_up_below: float = 0.2  # of a race: the chance of more, below which it ends undecided
    n_trials: int | None = None  # of a searched study
    pruner: Any = "none"  # none | hyperband | successive_halving | {_target_: ...}
    first_rung: int | None = None  # epochs before a pruner judges; null = after the first drop
    direction: str = "minimize"
    order: list[str] = field(default_factory=lambda: list(ORDERS))
    named_cells: dict[str, Any] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)  # a published table to show beside
    figures: list[Any] = field(default_factory=list)  # figures besides those of every report
    select: dict[str, Any] = field(default_factory=dict)
    workers: int = 1  # processes; 0 = in this one
    launcher: Any = "local"  # local | slurm | ray | {kind: slurm, minutes: ...}, or another kind
    storage: str | None = None  # any Optuna URL; null = a journal file in the study's folder
    max_failures: int = 2
    max_preemptions: int = 10
    heartbeat_s: float = 10.0
    grace_s: float = 60.0
    storage_patience_s: float = 300.0
    max_silence_s: float = 3600.0
    max_run_minutes: float | None = None
    notify: str | None = None  # a web address or a command, told when the command ends
    dry_run: bool = False  # print the cost and run nothing


def read_require(given: Any) -> list[str]:
    """Read `hydra.sweeper.require`, one constraint or a list of them.

    Raises:
        BadInput: something else than text.
    """
    lines = [given] if isinstance(given, str) else given
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadInput(
            f"hydra.sweeper.require={given}: give a constraint such as 'batch_size * lr <= 0.1', "
            "or a list of them"
        )
    return lines


def read_warm_start(given: Any) -> tuple[str, ...]:
    """Read `hydra.sweeper.warm_start`, the name of one study or a list of them.

    Raises:
        BadInput: something else than names.
    """
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise BadInput(f"hydra.sweeper.warm_start={given}: give the names of studies, [A,B]")
    return tuple(dict.fromkeys(names))


def read_budget(given: Mapping[str, Any]) -> Budget:
    """Read `hydra.sweeper.budget`.

    Raises:
        BadInput: an unknown limit, or one that is not a number above 0.
    """
    known = [item.name for item in fields(Budget)]
    for name, value in given.items():
        if name not in known:
            raise BadInput(f"hydra.sweeper.budget.{name}: no such limit; one of {', '.join(known)}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and (name == "minutes" or float(value).is_integer())):
            kind = "minutes" if name == "minutes" else "a whole number"
            raise BadInput(f"hydra.sweeper.budget.{name}={value}: give {kind}, above 0")
    return Budget(**given)


def read_confirm(given: Mapping[str, Any]) -> Confirm:
    """Read `hydra.sweeper.confirm`.

    Raises:
        BadInput: an unknown key, or a count that is none.
    """
    given = {name: value for name, value in given.items() if value is not None}
    known = [item.name for item in fields(Confirm)]
    for name, value in given.items():
        if name not in known:
            raise BadInput(f"hydra.sweeper.confirm.{name}: no such key; one of {', '.join(known)}")
        if type(value) is not int or value < 1:
            raise BadInput(f"hydra.sweeper.confirm.{name}={value}: give a whole number, above 0")
    return replace(Confirm(top=3), **given) if given else Confirm()


def _check_race(options: SweeperConfig) -> None:
    key = "hydra.sweeper"
    if not 0 <= options.margin_m < math.inf:
        raise BadInput(f"{key}.margin_m={options.margin_m}: give metres, 0 or more")
    if not 0 <= options.give_up_below < 1:
        raise BadInput(
            f"{key}.give_up_below={options.give_up_below}: give a probability from 0 to below 1"
        )
    if options.direction != "minimize":
        raise BadInput(f"{key}.direction={options.direction}: a race looks for the lowest error")


def check_options(options: SweeperConfig) -> None:
    """Check the values that do not depend on the configuration.

    Raises:
        BadInput: an option that no study can have, with the remedy.
    """
    key = "hydra.sweeper"
    notify.check(options.notify)
    read_budget(options.budget)
    searched = options.sampler not in ENUMERATED
    raced = options.sampler == "race"
    if raced:
        _check_race(options)
    elif options.margin_m:
        raise BadInput(f"{key}.margin_m={options.margin_m}: only a race has a margin; give "
                       f"{key}.sampler=race or leave it out")  # fmt: skip
    if isinstance(options.sampler, str) and options.sampler not in SAMPLERS:
        raise BadInput(f"{key}.sampler={options.sampler}: no such sampler; one of "
                       f"{', '.join(SAMPLERS)}, or a mapping with _target_")  # fmt: skip
    if searched and not (options.n_trials or 0) > 0:
        raise BadInput(f"{key}.n_trials: a search needs an end; give {key}.n_trials=NUMBER")
    if read_confirm(options.confirm).top and not searched:
        raise BadInput(f"{key}.confirm: confirms a search; give a grid or a race more "
                       f"{key}.seeds")  # fmt: skip
    if read_warm_start(options.warm_start) and not searched:
        raise BadInput(f"{key}.warm_start: is for searches; a grid and a race link every run that "
                       "is finished in another study by themselves, so leave it out")  # fmt: skip
    if options.sampler == "grid" and options.n_trials:
        raise BadInput(f"{key}.n_trials={options.n_trials}: a grid runs every cell; give "
                       f"{key}.sampler=random or leave n_trials out")  # fmt: skip
    if searched and options.cells:
        raise BadInput(f"{key}.cells: a search draws its own; use params, or {key}.sampler=grid")
    if options.direction not in ("minimize", "maximize"):
        raise BadInput(f"{key}.direction={options.direction}: give minimize or maximize")
    if options.first_rung is not None and options.first_rung < 1:
        raise BadInput(f"{key}.first_rung={options.first_rung}: give 1 or more epochs")
    declared.Reference.from_dict(options.reference)
    declared.figures(options.figures)
    if options.workers < 0:
        raise BadInput(f"{key}.workers={options.workers}: give 0 (this process) or more")
    for name in ("max_failures", "max_preemptions"):
        if getattr(options, name) < 1:
            raise BadInput(f"{key}.{name}={getattr(options, name)}: give 1 or more attempts")
    if not 0 < options.heartbeat_s < options.grace_s:
        raise BadInput(f"{key}.heartbeat_s={options.heartbeat_s}: must lie between 0 and grace_s")
    if options.storage_patience_s < 0:
        raise BadInput(f"{key}.storage_patience_s={options.storage_patience_s}: give 0 or more")
    for name in ("max_silence_s", "max_run_minutes"):
        if (limit := getattr(options, name)) is not None and not limit > 0:
            raise BadInput(f"{key}.{name}={limit}: give a time above 0")
    unknown = set(options.order) - set(ORDERS)
    if unknown:
        raise BadInput(f"{key}.order: no such order {min(unknown)}; a list of {', '.join(ORDERS)}")
