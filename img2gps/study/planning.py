"""Planning a study: bringing its ledger to what its spec asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.hardware import code
from img2gps.core.nested import flat
from img2gps.runs.states import RunState
from img2gps.study import search
from img2gps.study.differences import differences
from img2gps.study.ledger import Ledger
from img2gps.study.otherwise import precision_hint
from img2gps.study.space import cell_id, name_of
from img2gps.study.spec import Done, Runner, Spec, make_runner
from img2gps.study.trials import SLOT, NewRun, key_of
from img2gps.study.warm import observations

_ALONE = {"top": 1}  # older studies do not say how many cells answer
_OTHER_DATA = (
    "study={study}: started with {what}: the photos, the weights or the machine's precision have "
    "changed; undo that, or give study=NAME for a new study"
)


@dataclass(frozen=True)
class Changes:
    """What planning found and changed; counts are runs."""

    total: int
    ended: int  # before
    linked: int  # found finished in other studies
    taken_back: int  # from workers that are gone
    hints: list[str] = field(default_factory=list)  # what to know before it begins
    runs: list[NewRun] = field(default_factory=list)  # all that the spec asks for

    def line(self, study: str, *, most: bool = False) -> str:
        """Return one line for the person who started the study; `most` runs are not all made."""
        counts = {
            "done before": self.ended,
            "found finished in other studies and linked": self.linked,
            "taken back from an interrupted session": self.taken_back,
        }
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        runs = f"at most {self.total} runs" if most else f"{self.total} runs"
        return ", ".join([f"study {study}: {runs}", *parts])


def plan_study(ledger: Ledger, spec: Spec) -> tuple[Changes, Runner]:
    """Add to the ledger what the spec asks for; what is there already stays.

    Raises:
        BadInput: the study was started with another configuration, or on other data.
    """
    ledger.refresh()
    commit = code()["commit"]
    hints = []
    if ledger.begun:
        spec = same_study(ledger.spec, spec)
        if spec.commit and commit and commit != spec.commit:
            hints.append(
                f"note: study={spec.name} was begun by commit {spec.commit[:10]} of this code, and "
                f"this is {commit[:10]}; its runs are of the same recipe"
            )
    runner = make_runner(spec)
    spec = _same_data(spec, runner)
    ended = sum(entry.state.has_ended for entry in ledger.entries())
    runs = _slots(spec) if spec.searched else _grid(ledger, spec, runner)
    hints += _warm_up(ledger, spec, runner)
    ledger.save(replace(spec, weights=runner.weights, commit=spec.commit or commit))
    taken_back = len(ledger.reap())
    new = [run for run in runs if ledger.known(run.key) is None]
    added = [] if spec.raced else ledger.enqueue(runs)  # a race queues its runs itself
    ledger.settle()
    linked = sum(run.done is not None for run in added)
    if hint := precision_hint(spec, runner, [run.ref for run in new if run.ref and not run.done]):
        hints.append(hint)
    total = len(runs) if spec.raced else len(ledger.keys())
    if spec.repeated:
        total = max(total, spec.n_trials * len(spec.seeds) * max(1, len(spec.folds)))
    return Changes(total, ended, linked, taken_back, hints, runs), runner


def _warm_up(ledger: Ledger, spec: Spec, runner: Runner) -> list[str]:
    """Take in what older studies have found, each study once; return a line on each.

    Raises:
        BadInput: an older study has nothing that can be used.
    """
    new = [name for name in spec.warm_start if name not in ledger.warm]
    found = {name: observations(spec, runner, name) for name in new}
    if found:
        ledger.warm_up(found)
    lines = []
    for name in spec.warm_start:
        own = ledger.warm[name]
        runs, cells = sum(len(one.runs) for one in own), counted(len(own), "cell")
        lines.append(f"the sampler begins with {counted(runs, 'run')} of {cells} of {name}")
    return lines


def _same_data(spec: Spec, runner: Runner) -> Spec:
    """Check that one run's identity is as it was when the study started; the first time, note it.

    `_grid` compares the run ids of all cells.
    """
    point = spec.space.first()
    ref = runner.identify(spec.overrides_of(point))
    for params in spec.space.corners() if spec.searched else ():
        # Fails before anything runs if something is missing; resolves the study's weights.
        runner.identify(spec.overrides_of(params))
    before = spec.identity
    if before.get("cell") == cell_id(point):
        changed = differences(before["identity"], ref.identity)
        if changed:
            raise BadInput(_OTHER_DATA.format(study=spec.name, what="; ".join(changed)[:300]))
    return replace(spec, identity={"cell": cell_id(point), "identity": ref.identity})


def _where(spec: Spec) -> str:
    return spec.store or "a folder that machines share"


def same_study(before: Spec, after: Spec) -> Spec:
    """Return the spec asked for now, provided that it is the same study as the ledger's.

    Raises:
        BadInput: it is another study; the message names what differs and the remedy.
    """
    remedy = f"give study=NAME for a new study (runs that it shares with {before.name} are linked)"
    if before.store != after.store:
        raise BadInput(
            f"study={before.name}: keeps its runs in {_where(before)} (now {_where(after)}); give "
            "the same runs.root, or study=NAME for a new study"
        )
    for key in ("kind", "monitor", "direction"):
        old, new = getattr(before, key), getattr(after, key)
        if old != new:
            raise BadInput(f"study={before.name}: started with {key}={old} (now {new}); {remedy}")
    rule = {**_ALONE, **before.select}
    kept = {key: {**_ALONE, **after.select}.get(key) for key in rule}
    if before.aims != after.aims:
        old, new = ",".join(before.directions), ",".join(after.directions)
        raise BadInput(f"study={before.name}: started with monitor=[{old}] (now [{new}]); {remedy}")
    if changed := differences({"select": rule}, {"select": kept}):
        raise BadInput(
            f"study={before.name}: started with {'; '.join(changed)}: the rule that selects the "
            f"winner is fixed before anything runs; {remedy}"
        )
    if before.raced and before.race.margin_m != after.race.margin_m:
        raise BadInput(
            f"study={before.name}: started with margin_m={before.race.margin_m:g} "
            f"(now {after.race.margin_m:g}); {remedy}"
        )
    if set(before.space.names) != set(after.space.names):
        old, new = ",".join(before.space.names), ",".join(after.space.names)
        raise BadInput(f"study={before.name}: started varying {old}, now {new}; {remedy}")
    # A knob that was added since the study began is no change: the run ids tell if it matters.
    known = flat(before.base)
    base = {key: value for key, value in flat(after.base).items() if key in known}
    if changed := differences(known, base):
        raise BadInput(f"study={before.name}: started with {'; '.join(changed)}; {remedy}")
    if before.searched and json.dumps(before.space.to_dict()) != json.dumps(after.space.to_dict()):
        raise BadInput(f"study={before.name}: its search space has changed; {remedy}")
    return replace(
        after,
        weights=before.weights,
        identity=before.identity,
        created_at=before.created_at,
        commit=before.commit,
    )


def _slots(spec: Spec) -> list[NewRun]:
    """Return as many empty slots as trials were asked for; the sampler fills them."""
    return [NewRun(SLOT.format(i), None, spec.seeds[0]) for i in range(spec.n_trials)]


def _grid(ledger: Ledger, spec: Spec, runner: Runner) -> list[NewRun]:
    """Return every cell with every seed, in the study's order, with results that exist already."""
    runs = [
        NewRun(
            key_of(params, seed),
            params,
            seed,
            name_of(params, spec.named_cells),
            runner.identify(spec.overrides_of(params, seed)),
        )
        for params in search.cells(spec)
        for seed in spec.seeds
    ]
    for run in runs:
        known = ledger.known(run.key)
        if known and known.ref and run.ref and known.ref.run_id != run.ref.run_id:
            what = f"{run.key} as run {known.ref.run_id} (now {run.ref.run_id})"
            raise BadInput(_OTHER_DATA.format(study=spec.name, what=what))
    new = [run.ref for run in runs if run.ref and ledger.known(run.key) is None]
    found = runner.find(new)
    for done in found.values():
        if done.state is RunState.finished:
            _check_aims(spec, done)
    runs = [replace(run, done=found.get(run.ref.run_id)) if run.ref else run for run in runs]
    return sorted(runs, key=_order(spec))


def _check_aims(spec: Spec, done: Done) -> None:
    known = done.aims if spec.aims else {spec.monitor: done.value}
    if missing := [aim for aim in spec.directions if known.get(aim) is None]:
        raise BadInput(
            f"monitor={missing[0]}: run {done.run_id}, which is finished, has no such metric; "
            "monitor one that it has, such as val/rmse_m"
        )


def _order(spec: Spec) -> Callable[[NewRun], tuple[float, ...]]:
    """Return the sort key of `spec.order`.

    `seed` completes one seed of all cells first. `cost` puts cheap runs first. `base` puts those
    first that differ from the base configuration in few knobs, because they are likely to be good.
    """
    usual = spec.usual

    def parts(run: NewRun) -> dict[str, float]:
        params = run.params or {}
        return {
            "seed": spec.seeds.index(run.seed),
            "cost": run.ref.cost if run.ref else 0.0,
            "base": sum(params[name] != usual.get(name, params[name]) for name in params),
        }

    return lambda run: tuple(parts(run)[name] for name in spec.order)
