"""Workers that something else than this command starts: planned and submitted here, then left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from img2gps.core.advice import next_step
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.study import slurm
from img2gps.study.display import Display
from img2gps.study.engine import plan_alone
from img2gps.study.slurm import Resources
from img2gps.study.spec import Spec

LOCAL, SLURM = "local", "slurm"
LAUNCHERS = (LOCAL, SLURM)
KEY = "hydra.sweeper.launcher"


def read_launcher(given: Any) -> tuple[str, Resources]:
    """Read `hydra.sweeper.launcher`, a name or a mapping with `kind` and what a worker asks for.

    Raises:
        BadInput: an unknown launcher or key, or a value that cannot be asked for.
    """
    wanted = dict(given) if isinstance(given, Mapping) else {"kind": given}
    kind = wanted.pop("kind", None)
    if kind not in LAUNCHERS:
        raise BadInput(f"{KEY}={kind}: no such launcher; one of {', '.join(LAUNCHERS)}")
    known = [item.name for item in fields(Resources)] if kind == SLURM else []
    for name, value in wanted.items():
        if name not in known:
            there = ", ".join(known) or f"none for {kind}"
            raise BadInput(f"{KEY}.{name}: no such key; there are: {there}")
        if name == "options":
            if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                raise BadInput(f"{KEY}.options={value}: give a list of sbatch's options")
            wanted[name] = tuple(value)
        elif value is not None and (type(value) is not int or value < 1):
            raise BadInput(f"{KEY}.{name}={value}: give a whole number, above 0")
    minutes = wanted.get("minutes")
    if minutes is not None and 60 * minutes <= slurm.WARNED_S:
        least = slurm.WARNED_S // 60 + 1
        raise BadInput(f"{KEY}.minutes={minutes}: too short to train and to leave; give {least} "
                       "or more")  # fmt: skip
    return kind, Resources(**wanted)


def launch(spec: Spec, url: str, resources: Resources, workers: int) -> None:
    """Plan the study, have Slurm run as many workers as are missing, and say how to go on.

    Raises:
        BadInput: the study cannot be planned, or Slurm refuses.
    """
    display, root = Display(), Path(spec.root)
    there = slurm.alive(root, spec.name)  # first, because without Slurm nothing is planned
    left = plan_alone(spec, url, display)
    missing = min(workers, left) - there
    if not left:
        display.say("nothing is left to run")
    elif missing > 0:
        number = slurm.submit(root, spec.name, url, missing, resources)
        logs = root / spec.name / slurm.LOGS.replace("%A", number).replace("%a", "*")
        display.say(f"submitted {counted(missing, 'worker')} as Slurm's job {number}; logs: {logs}")
    if there:
        display.say(f"in Slurm's queue before: {counted(there, 'worker')} of this study")
    done = f"img2gps report {spec.name}", "every cell with its interval"
    watch = f"img2gps studies show {spec.name}", "how far the workers are"
    display.say(next_step(*(watch if left else done), spec.root))
