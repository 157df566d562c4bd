"""Configurations of a study's runs: composed once for each set of groups, not for each run.

Composing and checking a configuration takes a quarter of a second. A plain value cannot change
which groups Hydra composes, so it is set on what was composed before. A value of exactly the
declared type needs no conversion either, so it replaces the old one in the checked configuration,
whose range checks run again. Everything else, and everything that goes wrong, is composed anew:
results and messages are those of a single run with the same overrides.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from img2gps.config.compose import HYDRA_DEFAULTS, load_config, register_sweeps
from img2gps.config.schema import Config
from img2gps.core.nested import flat
from img2gps.core.stores import as_typed
from img2gps.study.spec import Spec

CHECKED_WHOLE = ("data", "model", "runs")  # groups that are rearranged when they are checked
_CONSTANT = re.compile(r"\$\{oc\.env:[^${}]*\}")  # an interpolation that refers to no key


class Composer:
    """Composes and checks the configurations of one study's runs."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._composed: dict[tuple[str, ...], _Composed] = {}

    def load(self, own: Sequence[str]) -> Config:
        """Return the checked configuration of the study's overrides and a run's own ones.

        Raises:
            BadInput: an unknown key, a wrong type or an impossible value.
        """
        try:
            groups, values = self._divide(own)
            return self._compose_once(groups).config(values)
        except Exception:  # the line below raises it again, in the words of a single run
            return load_config(self.compose(own))

    def compose(self, own: Sequence[str]) -> DictConfig:
        """Return what Hydra composes from the study's overrides and a run's own ones."""
        searched = ",".join(self.spec.searchpath)
        path = [f"hydra.searchpath=[{searched}]"] if searched else []
        overrides = [*path, *self.spec.overrides, *self._root(), *own]
        if GlobalHydra.instance().is_initialized():  # by the command line that plans the study
            return compose(self.spec.config_name, overrides)
        register_sweeps()
        with initialize_config_dir(self.spec.config_dir, **HYDRA_DEFAULTS):
            return compose(self.spec.config_name, overrides)

    def _root(self) -> list[str]:
        """Return where this machine keeps the runs, whatever the command that began the study."""
        if not self.spec.root:  # the study is being made
            return []
        quoted = as_typed(self.spec.root).replace("\\", "\\\\").replace('"', '\\"')
        return [f'runs.root="{quoted}"']

    def _compose_once(self, own: tuple[str, ...]) -> _Composed:
        if own not in self._composed:
            self._composed[own] = _Composed(self.compose(own))
        return self._composed[own]

    def _divide(self, own: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Return the overrides that Hydra must compose, and plain values to set afterwards."""
        composed: list[str] = []
        values: dict[str, Any] = {}
        for line in own:
            override = _parsed(line)
            name = override.key_or_group
            if override.type is not OverrideType.CHANGE or isinstance(override.value(), dict):
                # It may build on the values before it, so these are composed with it.
                composed, values = list(own[: own.index(line) + 1]), {}
            elif "${" in line or not ("." in name or name in self._compose_once(()).leaves):
                composed.append(line)
            else:
                values[name] = override.value()
        return tuple(composed), values


class _Composed:
    """One composed configuration, and the last checked one that was made from it."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        self.leaves = _leaves(cfg, resolve=False)
        self._refers = bool(references(cfg))
        if not self._refers:
            self.leaves = _leaves(cfg, resolve=True)
        self._checked: tuple[dict[str, Any], Config] | None = None

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the checked configuration with these values."""
        if unknown := values.keys() - self.leaves.keys():
            raise KeyError(min(unknown))
        leaves = {**self.leaves, **values}
        if self._refers:
            leaves = _leaves(self._with(values), resolve=True)
        if self._checked is not None and leaves.keys() == self._checked[0].keys():
            before, config = self._checked
            changes = {k: v for k, v in leaves.items() if not _same(v, before[k])}
            if (changed := _changed(config, changes)) is not None:
                changed.check_trainable()
                return changed
        config = load_config(self._with(values))
        self._checked = leaves, config
        return config

    def _with(self, values: Mapping[str, Any]) -> DictConfig:
        cfg = copy.deepcopy(self._cfg)
        for key, value in values.items():
            OmegaConf.update(cfg, key, value)
        return cfg


def references(cfg: DictConfig) -> dict[str, Any]:
    """Return the values that refer to other keys, unresolved."""
    leaves = _leaves(cfg, resolve=False)
    return {key: leaf for key, leaf in leaves.items() if "${" in _CONSTANT.sub("", str(leaf))}


def refers_to(key: str, value: Any, names: Sequence[str]) -> bool:
    """Return whether the value of a key refers to one of these keys, by its path or relatively.

    >>> refers_to("scheduler.eta_min", "${..lr}", ["lr"]), refers_to("lr", "${seed}", ["lr"])
    (True, False)
    """
    for dots, name in re.findall(r"\$\{(\.*)([^${}:]+)\}", str(value)):
        above = key.split(".")[: -len(dots)] if dots else []
        if ".".join([*above, name]) in names:
            return True
    return False


def _leaves(cfg: DictConfig, *, resolve: bool) -> dict[str, Any]:
    container: Any = OmegaConf.to_container(cfg, resolve=resolve)
    return flat(container)


def _same(one: object, other: object) -> bool:
    return repr(one) == repr(other)  # 1, 1.0 and true are equal to Python


@cache
def _parsed(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


def _changed(config: Config, changes: Mapping[str, Any]) -> Config | None:
    """Return the configuration with these values, checked; None if one needs a conversion."""
    owners: dict[str, dict[str, Any]] = {"": {}}
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        owner: Any = getattr(config, group, None) if group else config
        if group in CHECKED_WHOLE or not hasattr(owner, "__dataclass_fields__"):
            return None
        hint = _declared(owner.__class__).get(name)
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        if isinstance(hint, type) and issubclass(hint, Enum) and value in hint.__members__:
            value = hint[value]
        elif type(value) not in kinds:
            return None
        owners.setdefault(group, {})[name] = value
    root = owners.pop("")
    groups = {group: replace(getattr(config, group), **new) for group, new in owners.items()}
    return replace(config, **root, **groups)


@cache
def _declared(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)
