"""Plan a study whose workers something else starts, submit them or write how, and leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from img2gps.core.advice import next_step
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.runs.fetching import send
from img2gps.study import kubernetes, manifests, ray_workers, remote, skypilot, slurm
from img2gps.study.display import Display
from img2gps.study.engine import plan_alone
from img2gps.study.kubernetes import Pods
from img2gps.study.ray_workers import Actors
from img2gps.study.skypilot import Machines
from img2gps.study.slurm import Resources
from img2gps.study.spec import Spec

LOCAL = "local"
KINDS = {"slurm": Resources, "ray": Actors, "kubernetes": Pods, "skypilot": Machines}
KEY = "hydra.sweeper.launcher"

Asked = Resources | Actors | Pods | Machines


def read_launcher(given: Any) -> Asked | None:
    """Return what workers ask for by `hydra.sweeper.launcher`; None if they are local.

    The option is a name, or a mapping with `kind` and what a worker asks for.

    Raises:
        BadInput: an unknown launcher or key, or a value that cannot be asked for.
    """
    wanted = dict(given) if isinstance(given, Mapping) else {"kind": given}
    kind = wanted.pop("kind", None)
    if kind != LOCAL and kind not in KINDS:
        raise BadInput(f"{KEY}={kind}: no such launcher; one of {', '.join([LOCAL, *KINDS])}")
    types = get_type_hints(KINDS[kind]) if kind in KINDS else {}
    for name, value in wanted.items():
        if name not in types:
            there = ", ".join(types) or f"none for {kind}"
            raise BadInput(f"{KEY}.{name}: no such key; there are: {there}")
        wanted[name] = _checked(name, value, types[name])
    if kind == LOCAL:
        return None
    needed = [item.name for item in fields(KINDS[kind]) if item.default is MISSING]
    for name in needed:
        if not wanted.get(name):
            example = ", ".join([f"kind: {kind}", *(f"{key}: NAME" for key in needed)])
            raise BadInput(f"{KEY}.{name}: is needed; give '{KEY}={{{example}}}'")
    asked: Asked = KINDS[kind](**wanted)
    if isinstance(asked, Resources):
        _check_minutes(asked.minutes)
    return asked


def _checked(name: str, value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise BadInput(f"{KEY}.{name}={value}: give a list of sbatch's options")
        return tuple(value)
    if kind in (str, str | None):
        if not isinstance(value, str):
            raise BadInput(f"{KEY}.{name}={value}: give text, in quotes if it is a number")
    elif type(value) is not int or value < 1:
        raise BadInput(f"{KEY}.{name}={value}: give a whole number, above 0")
    return value


def _check_minutes(minutes: int | None) -> None:
    if minutes is not None and 60 * minutes <= slurm.WARNED_S:
        least = slurm.WARNED_S // 60 + 1
        raise BadInput(f"{KEY}.minutes={minutes}: too short to train and to leave; give {least} "
                       "or more")  # fmt: skip


def launch(spec: Spec, url: str, asked: Asked, workers: int) -> None:
    """Plan the study, submit its workers or write how to, and say how to go on.

    Raises:
        BadInput: the study cannot be planned or submitted.
    """
    if isinstance(asked, Resources):
        _submit_to_slurm(spec, url, asked, workers)
    elif isinstance(asked, Actors):
        _submit_to_ray(spec, url, asked, workers)
    else:
        _write_manifest(spec, url, asked, workers)


def _submit_to_slurm(spec: Spec, url: str, resources: Resources, workers: int) -> None:
    """Have Slurm run as many workers as are missing."""
    root = Path(spec.root)

    def submit(missing: int) -> str:
        number = slurm.submit(root, spec.name, url, missing, resources)
        pattern = slurm.LOGS.replace("%A", number).replace("%a", "*")
        logs = remote.logs(root, spec.name, pattern)
        return f"submitted {counted(missing, 'worker')} as Slurm's job {number}; logs: {logs}"

    there = slurm.alive(root, spec.name)
    _submit_missing(spec, url, workers, there, "in Slurm's queue", submit)


def _submit_to_ray(spec: Spec, url: str, asked: Actors, workers: int) -> None:
    """Have Ray run as many workers as are missing."""
    root = Path(spec.root)

    def submit(missing: int) -> str:
        address, waiting = ray_workers.submit(root, spec.name, url, missing, asked)
        logs = remote.logs(root, spec.name, ray_workers.LOGS.format("*"))
        said = f"submitted {counted(missing, 'worker')} to Ray at {address}; logs: {logs}"
        if not waiting:
            return said
        needs = f"each needs {counted(asked.cpus or 1, 'free core')}"
        return f"{said}\nnot started yet: {counted(waiting, 'worker')}; {needs}"

    there = ray_workers.alive(root, spec.name, asked.cluster)
    _submit_missing(spec, url, workers, there, "on Ray", submit)


def _submit_missing(
    spec: Spec, url: str, workers: int, there: int, where: str, submit: Callable[[int], str]
) -> None:
    """Plan the study and submit the workers that are not `there` yet, and say what was done.

    Its callers count `there` first, so that nothing is planned where no scheduler answers.
    """
    display = Display()
    left = plan_alone(spec, url, display)
    missing = min(workers, left) - there
    if not left:
        display.say("nothing is left to run")
    elif missing > 0:
        display.say(submit(missing))
    if there:
        display.say(f"{where} before: {counted(there, 'worker')} of this study")
    display.say(_next(spec, left))


def _write_manifest(spec: Spec, url: str, asked: Pods | Machines, workers: int) -> None:
    """Write the manifest of the workers that are missing, and print the commands for it."""
    display, root = Display(), Path(spec.root)
    manifests.check_ledger(url)
    manifests.check_shared(root, asked.volume)
    left = plan_alone(spec, url, display)
    there = _pods(spec, display) if isinstance(asked, Pods) else 0
    missing = min(max(1, workers), left) - there
    if there:
        display.say(f"on Kubernetes before: {counted(there, 'worker')} of this study")
    if left and missing > 0:
        _write(spec, asked, missing, display)
        return
    if not left:
        display.say("nothing is left to run")
    display.say(_next(spec, left))


def _pods(spec: Spec, display: Display) -> int:
    """Count the study's workers on Kubernetes; none where the cluster cannot be asked."""
    try:
        return kubernetes.alive(Path(spec.root), spec.name)
    except BadInput as error:
        display.say(f"note: workers that were submitted before are not counted ({error})")
        return 0


def _write(spec: Spec, asked: Pods | Machines, count: int, display: Display) -> None:
    root = Path(spec.root)
    if isinstance(asked, Pods):
        file, content = kubernetes.FILE, kubernetes.manifest(root, spec.name, count, asked)
        path = root / spec.name / file
        commands = kubernetes.commands(path, content, manifests.store_variables(root))
    else:
        file, content = skypilot.FILE, skypilot.manifest(root, spec.name, asked)
        path = root / spec.name / file
        commands = skypilot.commands(path, content, count)
    manifests.write(path, content)
    send(root, [f"{spec.name}/{file}"])  # so that other machines know where the workers are
    display.say(f"wrote {path} for {counted(count, 'worker')}, which nothing has submitted yet")
    for purpose, command in commands.items():
        display.say(f"{purpose}:\n  {command}")


def _next(spec: Spec, left: int) -> str:
    if left:
        return next_step(f"img2gps studies show {spec.name}", "how far the workers are", spec.root)
    return next_step(f"img2gps report {spec.name}", "every cell with its interval", spec.root)
