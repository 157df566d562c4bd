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
from img2gps.study import manifests
from img2gps.study.spec import STORAGE_VARIABLE

FILE = "skypilot.yaml"  # in the study's folder


@dataclass(frozen=True)
class Machines:
    """What each worker asks SkyPilot for; None leaves it to SkyPilot's defaults.

    Attributes:
        volume: SkyPilot's volume with the photos and the runs.
        gpus: kind and number of GPUs, such as A100:1.
        setup: the shell commands that install img2gps.
    """

    volume: str
    cpus: int | None = None
    gpus: str | None = None
    memory_gb: int | None = None
    setup: str | None = None


def manifest(root: Path, study: str, machines: Machines) -> dict[str, Any]:
    """Return the task of one worker."""
    folder = str(manifests.shared_folder(root))
    asked = {
        "cpus": None if machines.cpus is None else f"{machines.cpus}+",
        "memory": None if machines.memory_gb is None else f"{machines.memory_gb}+",
        "accelerators": machines.gpus,
    }
    install = f"pip install 'img2gps[postgres]=={img2gps.__version__}'"
    start = f"cd {shlex.quote(folder)} && exec {shlex.join(manifests.worker(root, study))}"
    return {
        "name": manifests.unique_name(study),
        "resources": {name: value for name, value in asked.items() if value is not None},
        "volumes": {folder: machines.volume},
        "envs": {"XDG_CACHE_HOME": f"{folder}/.cache"},  # shared by all workers
        "secrets": {STORAGE_VARIABLE: None},  # given with the command
        "setup": machines.setup or install,
        "run": start,
    }


def commands(path: Path, task: dict[str, Any], workers: int) -> dict[str, str]:
    """Return the commands for what a person does with the task, by purpose."""
    name, file = task["name"], shlex.quote(str(path))
    numbers = f"for i in $(seq {workers}); do"
    return {
        "submit": (
            f"{numbers} sky jobs launch --yes --detach-run --name {name}-$i "
            f"--secret {STORAGE_VARIABLE} {file}; done"
        ),
        "watch": "sky jobs queue",
        "stop": f"{numbers} sky jobs cancel --yes --name {name}-$i; done",
    }
