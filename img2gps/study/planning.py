"""Bringing a ledger to what a study asks for: what is new, what is done, what must be refused."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.study.ledger import Entry, Ledger, PlannedCell, key_of
from img2gps.study.space import Params, cell_id, name_of
from img2gps.study.spec import Runner, Spec, make_runner

LOCK = ".engine.lock"
_OTHER_DATA = (
    "study={study}: begun with {what}: the photos, the weights or the machine's precision have "
    "changed; undo that, or give study=NAME for a new study"
)


@contextmanager
def planning(root: Path, study: str) -> Iterator[None]:
    """One engine plans at a time, on machines that share the runs folder."""
    folder = root / study
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"runs.root={root}: {folder} cannot be made ({error.strerror}); give another runs.root"
        ) from error
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Plan:
    """What planning found."""

    total: int
    new: int
    linked: int
    taken_back: int
    finished: int

    def line(self, spec: Spec) -> str:
        """In one line, for the person who started it."""
        parts = [f"study {spec.name}: {self.total} runs"]
        if self.finished:
            parts.append(f"{self.finished} done before")
        if self.linked:
            parts.append(f"{self.linked} found finished in other studies and linked")
        if self.taken_back:
            parts.append(f"{self.taken_back} taken back from an interrupted session")
        return ", ".join(parts)


def plan(ledger: Ledger, spec: Spec) -> tuple[Plan, Runner]:
    """Bring the ledger to what the study asks for; what is there already stays.

    Raises:
        BadInput: the study was begun with another configuration, or on other data.
    """
    ledger.refresh()
    if ledger.begun:
        spec = same_study(ledger.spec, spec)
    runner = make_runner(spec)
    spec = _same_data(spec, runner)
    finished = sum(over(entry) for entry in ledger.entries())
    cells = _slots(spec) if spec.searched else _grid(ledger, spec, runner)
    ledger.save(replace(spec, weights=getattr(runner, "weights", {})))
    taken = len(ledger.reap())
    new = ledger.plan(cells)
    ledger.settle()
    linked = sum(cell.done is not None for cell in new)
    return Plan(len(ledger.keys()), len(new), linked, taken, finished), runner


def _same_data(spec: Spec, runner: Runner) -> Spec:
    """Compare what one run's id is made of with what it was; the first time, note it.

    A grid's cells are compared by their run ids as well: see `_grid`.
    """
    point = spec.space.first()
    planned = runner.plan([*spec.overrides, *spec.space.overrides(point)])
    for params in spec.space.corners() if spec.searched else ():
        # What cannot be had is said now, and weights are resolved for the whole study.
        runner.plan([*spec.overrides, *spec.space.overrides(params)])
    before = spec.identity
    if before.get("cell") == cell_id(point):
        changed = differences(before["identity"], planned.identity)
        if changed:
            raise BadInput(_OTHER_DATA.format(study=spec.name, what="; ".join(changed)[:300]))
    return replace(spec, identity={"cell": cell_id(point), "identity": planned.identity})


def same_study(before: Spec, after: Spec) -> Spec:
    """The study as asked for now, if it is still the one in the ledger.

    Raises:
        BadInput: naming what differs and the remedy.
    """
    remedy = f"give study=NAME for a new study (runs that it shares with {before.name} are linked)"
    for key in ("kind", "monitor", "direction"):
        old, new = getattr(before, key), getattr(after, key)
        if old != new:
            raise BadInput(f"study={before.name}: begun with {key}={old} (now {new}); {remedy}")
    kept = {key: after.select.get(key) for key in before.select}
    if changed := differences({"select": before.select}, {"select": kept}):
        raise BadInput(
            f"study={before.name}: begun with {'; '.join(changed)}: how the winner is selected is "
            f"written down before anything runs; {remedy}"
        )
    if set(before.space.names) != set(after.space.names):
        old, new = ",".join(before.space.names), ",".join(after.space.names)
        raise BadInput(f"study={before.name}: begun varying {old}, now {new}; {remedy}")
    changed = differences(before.base, after.base)
    if changed:
        raise BadInput(f"study={before.name}: begun with {'; '.join(changed)}; {remedy}")
    if before.searched and json.dumps(before.space.to_dict()) != json.dumps(after.space.to_dict()):
        raise BadInput(f"study={before.name}: its search space has changed; {remedy}")
    return replace(
        after, weights=before.weights, identity=before.identity, created_at=before.created_at
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`key=old (now new)` for every value that differs between two nested mappings."""
    old, new = dict(_flat(before)), dict(_flat(after))
    absent = "absent"
    return [
        f"{key}={old.get(key, absent)} (now {new.get(key, absent)})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent)
    ]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _slots(spec: Spec) -> list[PlannedCell]:
    """As many trials as were asked for, which the sampler fills; one seed each."""
    return [PlannedCell(f"trial {i}", None, spec.seeds[0]) for i in range(spec.n_trials)]


def _grid(ledger: Ledger, spec: Spec, runner: Runner) -> list[PlannedCell]:
    """Every cell with every seed, in the study's order; those finished elsewhere come with how."""
    cells = []
    for params in spec.space.grid():
        for seed in spec.seeds:
            key = key_of(params, seed)
            overrides = [*spec.overrides, *spec.space.overrides(params), f"seed={seed}"]
            planned = runner.plan(overrides)
            known = ledger.known(key)
            if known and known.planned and known.planned.run_id != planned.run_id:
                what = f"{key} as run {known.planned.run_id} (now {planned.run_id})"
                raise BadInput(_OTHER_DATA.format(study=spec.name, what=what))
            done = runner.find(planned) if known is None else None
            if done is not None and done.state == "finished" and done.value is None:
                raise BadInput(
                    f"monitor={spec.monitor}: run {done.run_id}, which is finished, has no such "
                    "metric; monitor one that it has, such as val/rmse_m"
                )
            name = name_of(params, spec.named_cells)
            cells.append(PlannedCell(key, params, seed, name, planned, done))
    return sorted(cells, key=_order(spec))


def _order(spec: Spec) -> Callable[[PlannedCell], tuple[float, ...]]:
    """Sort key of `spec.order`.

    `seed` completes one seed of all cells first, `cost` puts cheap runs first, `base` those that
    differ from the base configuration in few knobs, which are likely to be good.
    """
    usual = spec.usual

    def parts(cell: PlannedCell) -> dict[str, float]:
        params: Params = cell.params or {}
        return {
            "seed": spec.seeds.index(cell.seed),
            "cost": cell.planned.cost if cell.planned else 0.0,
            "base": sum(params[name] != usual.get(name, params[name]) for name in params),
        }

    return lambda cell: tuple(parts(cell)[name] for name in spec.order)


def over(entry: Entry) -> bool:
    """Whether a run has ended, in whatever way."""
    return entry.state not in ("queued", "running")
