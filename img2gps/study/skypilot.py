"""Workers as managed jobs of SkyPilot: the file of one task and the commands that go with it.

Every worker is a job of its own, which SkyPilot starts again when its machine is taken away:
https://docs.skypilot.co/en/latest/reference/yaml-spec.html
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import img2gps
from img2gps.core.stores import url_of
from img2gps.study import manifests, remote
from img2gps.study.spec import STORAGE_VARIABLE

FILE = "skypilot.yaml"  # in the study's folder


@dataclass(frozen=True)
class Machines:
    """What each worker asks SkyPilot for; None leaves it to SkyPilot's defaults.

    Attributes:
        volume: SkyPilot's volume with the photos and, unless a store has them, the runs.
        gpus: kind and number of GPUs, such as A100:1.
        setup: the shell commands that install img2gps.
    """

    volume: str | None = None
    cpus: int | None = None
    gpus: str | None = None
    memory_gb: int | None = None
    setup: str | None = None


def manifest(root: Path, study: str, machines: Machines) -> dict[str, Any]:
    """Return the task of one worker."""
    folder = str(manifests.shared_folder())
    stored = url_of(root) is not None
    asked = {
        "cpus": None if machines.cpus is None else f"{machines.cpus}+",
        "memory": None if machines.memory_gb is None else f"{machines.memory_gb}+",
        "accelerators": machines.gpus,
    }
    extras = "postgres,object-store" if stored else "postgres"
    install = f"pip install 'img2gps[{extras}]=={img2gps.__version__}'"
    enter = f"cd {shlex.quote(folder)} && " if machines.volume else ""
    start = f"{enter}exec {shlex.join(['img2gps', *remote.words(root, study)])}"
    task = {
        "name": manifests.unique_name(study),
        "resources": {name: value for name, value in asked.items() if value is not None},
        "volumes": {folder: machines.volume} if machines.volume else {},
        "envs": {} if stored else {"XDG_CACHE_HOME": f"{folder}/.cache"},  # shared by all workers
        # Their values are given with the command.
        "secrets": dict.fromkeys([STORAGE_VARIABLE, *manifests.store_variables(root)]),
        "setup": machines.setup or install,
        "run": start,
    }
    return {key: value for key, value in task.items() if value or key == "resources"}


def commands(path: Path, task: dict[str, Any], workers: int) -> dict[str, str]:
    """Return the commands for what a person does with the task, by purpose."""
    name, file = task["name"], shlex.quote(str(path))
    numbers = f"for i in $(seq {workers}); do"
    secrets = " ".join(f"--secret {variable}" for variable in task["secrets"])
    return {
        "submit": (
            f"{numbers} sky jobs launch --yes --detach-run --name {name}-$i {secrets} {file}; done"
        ),
        "watch": "sky jobs queue",
        "stop": f"{numbers} sky jobs cancel --yes --name {name}-$i; done",
    }
