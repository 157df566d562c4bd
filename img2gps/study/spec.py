"""What a study is, in plain values: written into its ledger, read by every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from img2gps.study.space import Params, Space

DEFAULT_RUNNER = "img2gps.study.runner:TrainRunner"


@dataclass(frozen=True)
class Limits:
    """When a cell is given up, and how long a silent worker is waited for."""

    max_failures: int = 2  # attempts that raised or crashed
    max_preemptions: int = 10  # attempts whose worker was killed or lost
    heartbeat_s: float = 10.0
    grace_s: float = 60.0  # of silence, after which another machine's worker counts as lost


@dataclass(frozen=True)
class Spec:
    """One study.

    Attributes:
        kind: `grid`, or the name of the sampler that searches.
        overrides: Hydra overrides that every run shares, `study=NAME` among them.
        base: the resolved configuration without what is varied and without what cannot change a
            result; the study refuses to go on when it changes.
        identity: a cell, and what its run id is made of, to say what has changed.
        usual: the base configuration's own values of the knobs that are varied.
        sampler, pruner: a preset's name, or a mapping with `_target_`.
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
    question: str = ""
    n_trials: int = 0
    sampler: Any = "grid"
    pruner: Any = "none"
    max_epochs: int = 0
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
    runner: str = DEFAULT_RUNNER

    @property
    def searched(self) -> bool:
        """Whether a sampler chooses the cells."""
        return self.kind != "grid"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Spec:
        """The inverse of `to_dict`."""
        lists = ("seeds", "overrides", "order", "searchpath", "figures")
        return cls(
            **{
                **plain,
                **{key: tuple(plain[key]) for key in lists if key in plain},
                "space": Space.from_dict(plain["space"]),
                "limits": Limits(**plain["limits"]),
            }
        )


@dataclass(frozen=True)
class Planned:
    """One run before it is run: its id, its folder relative to the runs root, its relative cost."""

    run_id: str
    path: str
    cost: float = 1.0
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """How a run ended: what the ledger keeps of it."""

    run_id: str
    path: str
    state: str
    reason: str = ""
    value: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    mean_predictor: float | None = None
    resumed_epoch: int = 0
    linked: bool = False  # it lies in another study's folder
    skipped: bool = False  # it was finished before


class EpochHook(Protocol):
    """Called with the epoch (from 1) and its metrics; raises `runs.Pruned` to end the run."""

    def __call__(self, epoch: int, metrics: Mapping[str, float], /) -> None:
        """Take in one epoch."""


class Runner(Protocol):
    """What a study runs. The real one trains; tests have faster ones."""

    def plan(self, overrides: list[str]) -> Planned:
        """Name the run without running it."""

    def find(self, planned: Planned) -> Done | None:
        """The run, if it is finished or diverged in any study's folder or among the results."""

    def run(self, overrides: list[str], on_epoch: EpochHook) -> Done:
        """Run it, or go on with it."""


def make_runner(spec: Spec) -> Runner:
    """The runner that the study names as `module:function`, called with the study."""
    from importlib import import_module

    module, _, name = spec.runner.partition(":")
    made: Runner = getattr(import_module(module), name)(spec)
    return made
