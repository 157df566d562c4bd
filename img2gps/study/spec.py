"""What a study is, in plain values: written into its ledger and read by every worker."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import Any, Protocol, Self

from img2gps.analysis.winner import FOLD_AXIS
from img2gps.runs.race import Rules
from img2gps.runs.states import RunState
from img2gps.study.budget import Budget
from img2gps.study.space import Params, Space

# Environment variables
STORAGE_VARIABLE = "IMG2GPS_LEDGER"  # the ledger's address, which may hold a password
PARENT_VARIABLE = "IMG2GPS_PARENT"  # the engine's process, for its workers
PLACES_VARIABLE = "IMG2GPS_PLACES"  # the folders of the engine's machine, for its workers
RUNNER_VARIABLE = "IMG2GPS_RUNNER"  # for tests: another runner, as module:class

# Folders as each machine has them; those in the ledger are of the machine that planned last.
PLACES = ("root", "results", "config_dir", "searchpath")
ENUMERATED = ("grid", "race")  # kinds of studies whose cells are known before anything runs
SAMPLERS = (*ENUMERATED, "random", "tpe", "gp")


@dataclass(frozen=True)
class Limits:
    """When a run is given up, and how long to wait for a silent worker."""

    max_failures: int = 2  # attempts that raised or crashed
    max_preemptions: int = 10  # attempts whose worker was killed or lost
    heartbeat_s: float = 10.0
    grace_s: float = 60.0  # of silence, after which a worker of another machine counts as lost
    storage_patience_s: float = 300.0  # with a ledger that cannot be reached
    max_silence_s: float = 3600.0  # without a batch or any other sign of progress
    max_run_minutes: float | None = None  # of one attempt


@dataclass(frozen=True)
class Confirm:
    """How many of a search's best cells are run again, and with how many fresh seeds each."""

    top: int = 0
    seeds: int = 5


@dataclass(frozen=True)
class Spec:
    """One study.

    Attributes:
        kind: `grid`, `race`, or the name of the sampler that searches.
        monitor: the metric that pruners and tables use; the first of several aims.
        aims: of a study with several aims, `minimize` or `maximize` by name.
        overrides: Hydra overrides that all runs share, `study=NAME` among them.
        base: the resolved configuration without what is varied and without what cannot change a
            result. The study refuses to go on when it changes.
        identity: a cell and what its run id is made of, to tell what has changed.
        usual: the base configuration's own values of the knobs that are varied.
        sampler, pruner: a preset's name, or a mapping with `_target_`.
        warm_start: studies whose finished runs the sampler begins with.
        devices: on which each run trains.
        first_rung: epochs before a pruner may judge.
        weights: weights as resolved at the study's start, by model.
    """

    name: str
    kind: str
    space: Space
    root: str
    results: str | None = None
    seeds: tuple[int, ...] = (0,)
    monitor: str = "val/rmse_m"
    direction: str = "minimize"
    aims: dict[str, str] = field(default_factory=dict)
    question: str = ""
    n_trials: int = 0
    sampler: Any = "grid"
    budget: Budget = field(default_factory=Budget)
    confirm: Confirm = Confirm()
    warm_start: tuple[str, ...] = ()
    race: Rules = field(default_factory=Rules)
    pruner: Any = "none"
    max_epochs: int = 0
    devices: int = 1
    first_rung: int = 1
    overrides: tuple[str, ...] = ()
    base: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    usual: Params = field(default_factory=dict)
    select: dict[str, Any] = field(default_factory=dict)
    named_cells: dict[str, Params] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    figures: tuple[dict[str, Any], ...] = ()
    order: tuple[str, ...] = ("seed", "cost", "base")
    limits: Limits = Limits()
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)
    config_dir: str = ""
    config_name: str = ""
    searchpath: tuple[str, ...] = ()
    command: str = ""
    created_at: str = ""
    commit: str | None = None  # of the code that began the study
    store: str = ""  # the URL of the store that `root` is the local copy of

    @property
    def places(self) -> dict[str, Any]:
        """The folders that this machine uses."""
        return {name: getattr(self, name) for name in PLACES}

    @property
    def searched(self) -> bool:
        """Whether a sampler chooses the cells."""
        return self.kind not in ENUMERATED

    @property
    def drawn(self) -> bool:
        """Whether the cells are no list that a person wrote."""
        return self.searched or not all(axis.listed for axis in self.space.axes)

    @property
    def directions(self) -> dict[str, str]:
        """Every aim with its direction; most studies have one."""
        return self.aims or {self.monitor: self.direction}

    @property
    def folds(self) -> tuple[Any, ...]:
        """The folds that every trial of a search is validated on; empty without a k-fold split."""
        return next((axis.values for axis in self.space.axes if axis.name == FOLD_AXIS), ())

    @property
    def repeated(self) -> bool:
        """Whether a trial of a search is several runs."""
        return self.searched and (len(self.seeds) > 1 or len(self.folds) > 1)

    def folds_of(self, params: Params) -> list[Params]:
        """Return a searched cell with each of its folds; as it is where it has none."""
        if FOLD_AXIS not in params:
            return [params]
        return [{**params, FOLD_AXIS: fold} for fold in self.folds]

    def units(self, params: Params) -> list[tuple[Params, int]]:
        """Return the knobs and the seed of each run of a trial: all folds, then the next seed."""
        return [(own, seed) for seed in self.seeds for own in self.folds_of(params)]

    @property
    def left_out(self) -> str:
        """Which cells the constraints leave out, in one line; "" if none."""
        said = " and ".join(self.space.require)
        if said and self.drawn:
            return f"require ({said}): cells that do not meet it are never drawn"
        if not (cells := self.space.left_out()):
            return ""
        count = "1 cell," if len(cells) == 1 else f"{len(cells)} cells, the first being"
        return f"left out by require ({said}): {count} {cells[0]}"

    @property
    def raced(self) -> bool:
        """Whether the cells race, so that further runs depend on the results so far."""
        return self.kind == "race"

    def overrides_of(self, params: Params, seed: int | None = None) -> list[str]:
        """Return the overrides that one run has beside those that all runs share."""
        own = self.space.overrides(params)
        return own if seed is None else [*own, f"seed={seed}"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned; keys of other versions are passed over."""
        known = {item.name for item in fields(cls)}
        given = {key: value for key, value in plain.items() if key in known}
        for key in ("seeds", "overrides", "order", "searchpath", "figures", "warm_start"):
            given[key] = tuple(plain.get(key, ()))
        given["space"] = Space.from_dict(plain["space"])
        given["limits"] = Limits(**plain["limits"])
        given["budget"] = Budget(**plain.get("budget", {}))
        given["confirm"] = Confirm(**plain.get("confirm", {}))
        given["race"] = Rules(**plain.get("race", {}))
        return cls(**given)


@dataclass(frozen=True)
class RunRef:
    """A run by name, whether it was run or not; `path` is relative to the runs root."""

    run_id: str
    path: str
    cost: float = 1.0  # relative to other runs
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """How a run ended, as far as the ledger keeps it."""

    run_id: str
    path: str
    state: RunState
    reason: str = ""
    value: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    mean_predictor: float | None = None
    resumed_epoch: int = 0
    linked: bool = False  # the run lies in another study's folder
    skipped: bool = False  # the run had ended before
    aims: dict[str, float | None] = field(default_factory=dict)  # where there are several
    n_val: int | None = None

    def values(self, spec: Spec) -> list[float] | None:
        """Return the figure of each aim; None where one of them is not known."""
        known = self.aims if spec.aims else {spec.monitor: self.value}
        found = [known.get(aim) for aim in spec.directions]
        finite = [value for value in found if value is not None and math.isfinite(value)]
        return finite if len(finite) == len(found) else None

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `asdict` returned; keys of other versions are passed over."""
        known = {item.name for item in fields(cls)}
        given = {key: value for key, value in plain.items() if key in known}
        return cls(**{**given, "state": RunState(plain["state"])})


class EpochHook(Protocol):
    """Called with the epoch (from 1) and its metrics; raises `runs.Pruned` to end the run."""

    def __call__(self, epoch: int, metrics: Mapping[str, float], /) -> None:
        """Take in one epoch."""


class Runner(Protocol):
    """Names, finds and makes the runs of a study. The real one trains; tests use faster ones.

    `overrides` are those of one run, without those that all runs of the study share.
    """

    weights: dict[str, dict[str, Any]]

    def identify(self, overrides: list[str]) -> RunRef:
        """Name the run without running it."""

    def find(self, runs: Iterable[RunRef]) -> dict[str, Done]:
        """Return those runs that have a final result in some study's folder, by run id."""

    def run(self, overrides: list[str], on_epoch: EpochHook) -> Done:
        """Run it, or go on with it."""


def make_runner(spec: Spec) -> Runner:
    """Return the runner of a study."""
    name = os.environ.get(RUNNER_VARIABLE, "img2gps.study.runner:TrainRunner")
    module, _, kind = name.partition(":")
    made: Runner = getattr(import_module(module), kind)(spec)
    return made
