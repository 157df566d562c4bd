"""Hydra's side of a study: from `-m ...` to a `Spec` that the engine runs.

`hydra_plugins/img2gps_sweeper.py` has the subclass that Hydra finds. Hydra loads every sweeper for
each command, even for `--help`, so Optuna is not imported before `sweep` is called.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from img2gps.core.errors import BadInput
from img2gps.core.signals import say_when_interrupted
from img2gps.core.stores import url_of
from img2gps.runs.race import Rules
from img2gps.runs.records import now
from img2gps.study.grammar import as_lines, parse_axes
from img2gps.study.notify import telling, without_target
from img2gps.study.options import (
    LIMITS,
    SweeperConfig,
    check_options,
    read_budget,
    read_confirm,
    read_require,
    read_warm_start,
)
from img2gps.study.space import Axis, Params, Space, space
from img2gps.study.spec import Limits, Spec

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

    from img2gps.config.schema import Config

DEFAULT_STUDY = "default"  # of conf/train.yaml: the user gave no name
# These cannot change a result, so a study goes on when they change.
NOT_IDENTITY = ("study", "seed", "runs", "logger", "threads", "force", "baselines", "monitor",
                "weights_required", "checkpoint_minutes", "data.cache", "data.root", "data.custom",
                "trainer.progress_bar", "trainer.accelerator", "trainer.devices",
                "trainer.strategy")  # fmt: skip
NULLED = ("data.custom",)  # of these, keys that stay in a study's base configuration, as null


class BaseSweeper(Sweeper):
    """Runs a study."""

    def __init__(self, **options: Any) -> None:
        """Take the fields of `SweeperConfig`, whose types Hydra has checked."""
        plain: Any = OmegaConf.to_container(OmegaConf.create(options), resolve=True)
        self.options = SweeperConfig(**plain)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra has composed."""
        self.config: DictConfig = config

    def sweep(self, arguments: list[str]) -> None:
        """Run the study that the command line and the study file ask for.

        Raises:
            BadInput: the study cannot be run as asked.
            SystemExit: with status 1 if a run failed or diverged.
        """
        from img2gps.study import engine, estimate, storage
        from img2gps.study.display import Display
        from img2gps.study.launching import launch, read_launcher
        from img2gps.study.selection import SIZE, SIZES_APART

        asked = read_launcher(self.options.launcher)
        spec = self.spec(arguments)
        if SIZE in spec.space.names:
            Display().say(f"{SIZES_APART}, so this study will have no common winner")
        if self.options.dry_run:
            say_when_interrupted("interrupted; a dry run leaves nothing to go on from")
            display = Display()
            display.say("dry run: plans all runs and times some training steps, but trains nothing")
            for line in estimate.report(spec, self.options.workers):
                display.say(line)
            return
        url = self.options.storage or storage.default_url(spec.root, spec.name)
        if asked is not None:
            launch(spec, url, asked, self.options.workers)
            return
        with telling(self.options.notify, spec.root, spec.name):
            status = engine.run_study(spec, url, workers=self.options.workers)
        if status:
            sys.exit(status)

    def spec(self, arguments: Sequence[str]) -> Spec:
        """Return the study that the command line and the study file ask for."""
        from img2gps.analysis.winner import read_rule
        from img2gps.runs.plan import check_devices, check_machine
        from img2gps.study.composing import Composer, references
        from img2gps.study.search import check_race, first_rung

        options = self.options
        check_options(options)
        draft = self._draft(arguments)
        composer = Composer(draft)
        config = composer.load(draft.overrides_of(draft.space.first()))
        _check_config(config, options.direction)
        check_machine(config)
        if options.launcher == "local":
            check_devices(config, max(1, options.workers))
        composed = composer.compose([])
        draft = _aiming(draft, config.aims)
        base = base_config(config, draft.space, references(composed))
        if draft.raced:
            check_race(draft, draft.monitor, options.select.get("by"))
        name = config.study if config.study != DEFAULT_STUDY else adhoc_name(base, config)
        return replace(
            draft,
            name=name,
            root=config.runs.root,
            store=url_of(config.runs.root) or "",
            results=config.runs.results,
            seeds=draft.seeds or _own_seed(composed, config),
            max_epochs=config.max_epochs,
            devices=config.trainer.devices,
            first_rung=options.first_rung or first_rung(config.scheduler, config.max_epochs),
            overrides=(*draft.overrides, f"study={name}"),
            base=base,
            usual=_usual(composed, draft.space),
            select=vars(read_rule(options.select, draft.monitor, options.direction)),
        )

    def _draft(self, arguments: Sequence[str]) -> Spec:
        """Return what can be said of the study before its configuration is composed."""
        from img2gps.study.storage import masked

        options, hydra = self.options, self.config.hydra
        axes, fixed = parse_axes([*as_lines(options.params), *arguments])
        seeds, axes = _seeds(options.seeds, axes, fixed)
        cells, named = _named(options.cells)
        _check_knobs([axis.name for axis in axes] + [key for cell in cells for key in cell])
        return Spec(
            name=DEFAULT_STUDY,
            kind=_kind(options.sampler),
            space=space(axes, cells, options.when, read_require(options.require)),
            root="",
            seeds=seeds,
            direction=options.direction,
            question=options.question,
            n_trials=options.n_trials or 0,
            sampler=options.sampler,
            confirm=read_confirm(options.confirm),
            warm_start=read_warm_start(options.warm_start),
            budget=read_budget(options.budget),
            race=Rules(options.margin_m, options.give_up_below),
            pruner=options.pruner,
            overrides=tuple(fixed),
            named_cells={**named, **options.named_cells},
            reference=options.reference,
            figures=tuple(options.figures),
            order=tuple(options.order),
            limits=Limits(**{key: getattr(options, key) for key in LIMITS}),
            config_dir=_config_dir(hydra),
            config_name=hydra.job.config_name,
            searchpath=_searchpath(hydra),
            command=shlex.join(
                ["python", "-m", "img2gps.train", *map(masked, without_target(sys.argv[1:]))]
            ),
            created_at=now(),
        )


def _check_config(config: Config, direction: str) -> None:
    from img2gps.analysis.winner import HIGHER_IS_BETTER

    if config.force:
        raise BadInput(
            "force=true: a study never repeats a finished run; repeat single runs, without -m"
        )
    first = config.aims[0]
    if HIGHER_IS_BETTER.fullmatch(first) and direction == "minimize":
        raise BadInput(f"monitor={first}: more is better; give hydra.sweeper.direction=maximize")


def _aiming(spec: Spec, aims: Sequence[str]) -> Spec:
    """Return the study with its aims; the direction of the first is the study's own."""
    from img2gps.analysis.winner import direction_of

    first, *others = aims
    if not others:
        return replace(spec, monitor=first)
    if spec.pruner != "none":
        raise BadInput(
            f"monitor=[{','.join(aims)}]: a pruner judges runs by one aim; give one, or "
            "hydra.sweeper.pruner=none"
        )
    directions = {first: spec.direction, **{aim: direction_of(aim) for aim in others}}
    return replace(spec, monitor=first, aims=directions)


def _check_knobs(knobs: Sequence[str]) -> None:
    """Refuse to vary what cannot change a result: every cell would have a twin."""
    idle = [name for name in NOT_IDENTITY if name not in ("data.root", "data.custom", "seed")]
    for knob in knobs:
        if knob == "sweeps":
            raise BadInput("sweeps: one study at a time; give one name, sweeps=NAME")
        if any(knob == name or knob.startswith(f"{name}.") for name in idle):
            raise BadInput(
                f"{knob}: cannot change a result, so it cannot be varied; give it one value"
            )


def _kind(sampler: Any) -> str:
    if isinstance(sampler, Mapping):
        return str(sampler.get("_target_", "?")).rpartition(".")[2]
    return str(sampler)


def _named(cells: Sequence[Mapping[str, Any]]) -> tuple[list[Params], dict[str, Params]]:
    """Return the listed cells without their `name`s, and the cell of each name."""
    if not all(isinstance(cell, Mapping) for cell in cells):
        raise BadInput(
            "hydra.sweeper.cells: a list of {knob: value, ...}, with name: TEXT if wanted"
        )
    plain = [{key: value for key, value in cell.items() if key != "name"} for cell in cells]
    named = {str(c["name"]): p for c, p in zip(cells, plain, strict=True) if "name" in c}
    return plain, named


def _seeds(
    given: Sequence[int] | None, axes: list[Axis], fixed: Sequence[str]
) -> tuple[tuple[int, ...], list[Axis]]:
    """Return the seeds and the other axes: `seed=0,1` means `hydra.sweeper.seeds=[0,1]`.

    Without any seed the configuration's own is meant; `seed=0` takes one of a study's.
    """
    if any(word.lstrip("+").startswith("seed=") for word in fixed):
        given = ()
    swept = [axis for axis in axes if axis.name == "seed"]
    if swept and not swept[0].listed:
        raise BadInput("seed: an interval of seeds has no end; list them, seed=0,1,2")
    seeds = tuple(swept[0].values) if swept else tuple(given or ())
    return tuple(dict.fromkeys(seeds)), [axis for axis in axes if axis.name != "seed"]


def _own_seed(composed: DictConfig, config: Config) -> tuple[int, ...]:
    if OmegaConf.is_interpolation(composed, "seed"):
        raise BadInput(
            "seed: refers to another key, and a study's runs are told apart by their seed; give "
            "numbers, hydra.sweeper.seeds=[0,1,2]"
        )
    return (config.seed,)


def base_config(config: Config, varied: Space, references: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved configuration without what is varied or cannot change a result.

    Values that refer to the seed or to a varied knob differ from run to run and stay references.
    """
    from img2gps.config.compose import config_to_dict
    from img2gps.config.newer import as_older

    base = as_older(config, config_to_dict(config))
    from img2gps.study.composing import refers_to

    varying = ("seed", *varied.names)
    kept = {k: v for k, v in references.items() if refers_to(k, v, varying)}
    removed = (*NOT_IDENTITY, *varied.names)
    for key in (*kept, *removed):
        *groups, name = key.split(".")
        node: Any = base
        for group in groups:
            node = node.get(group) or {}
        if key in removed and key not in NULLED:
            node.pop(name, None)
        elif name in node:
            node[name] = None if key in removed else kept[key]
    return base


def _usual(cfg: DictConfig, varied: Space) -> Params:
    """Return the configuration's own values of the varied knobs; of a group its choice's name."""
    usual = {}
    for name in varied.names:
        value = OmegaConf.select(cfg, name, throw_on_missing=False)
        if isinstance(value, DictConfig):
            value = value.get("name") or value.get("kind")
        usual[name] = value if isinstance(value, int | float | str | None) else str(value)
    return usual


def adhoc_name(base: Mapping[str, Any], config: Config) -> str:
    """Return a study name that stays the same when the same command has more values."""
    where = [config.data.root, config.data.custom] if config.data.custom else [config.data.root]
    text = json.dumps([base, *where], sort_keys=True, default=str)
    return f"adhoc-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _config_dir(hydra: DictConfig) -> str:
    for source in hydra.runtime.config_sources:
        if source.provider == "main":
            return str(Path(source.path).resolve())
    raise BadInput("no configuration folder; start a study by python -m img2gps.train -m")


def _searchpath(hydra: DictConfig) -> tuple[str, ...]:
    """Return `--config-dir` and hydra.searchpath, which the workers must search too."""
    own = ("hydra", "main", "schema")
    found = [s for s in hydra.runtime.config_sources if s.provider not in own]
    return tuple(f"{source.schema}://{source.path}" for source in found if source.path)
