"""Workers as pods of Kubernetes: the manifest of a Job and the commands that go with it.

The Job is indexed, so that a worker that ends for good does not end the others; this needs
Kubernetes 1.29 or later: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.core.stores import url_of
from img2gps.study import manifests, remote
from img2gps.study.spec import STORAGE_VARIABLE

FILE = "kubernetes.yaml"  # in the study's folder
SECRET = "img2gps"  # noqa: S105  # its name; it holds the ledger's address
STUDY_LABEL = "app.kubernetes.io/instance"
CONTAINER, VOLUME, SCRATCH = "worker", "shared", "scratch"
SCRATCH_FOLDER = "/scratch"  # of each pod, where its runs are made if a store keeps them
NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"
RETRIES = 10  # of a worker that is killed
FINAL_STATUS = (1, 2)  # of workers that another try would not help: a run failed, or bad input
PARTING_S = 120  # which a worker has to give its run back


@dataclass(frozen=True)
class Pods:
    """What each worker asks Kubernetes for; None leaves it to the cluster's defaults.

    Attributes:
        image: the container image that has img2gps.
        volume: the PersistentVolumeClaim with the photos and, unless a store has them, the runs.
    """

    image: str
    volume: str | None = None
    cpus: int | None = None
    gpus: int | None = None
    memory_gb: int | None = None


def manifest(root: Path, study: str, workers: int, pods: Pods) -> dict[str, Any]:
    """Return the Job of a study's workers."""
    name = manifests.unique_name(study)
    labels = {"app.kubernetes.io/name": "img2gps", STUDY_LABEL: manifests.label(study)}
    failures = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailIndex",
         "onExitCodes": {"containerName": CONTAINER, "operator": "In",
                         "values": list(FINAL_STATUS)}},
    ]  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": workers,
            "parallelism": workers,
            "backoffLimitPerIndex": RETRIES,
            "podFailurePolicy": {"rules": failures},
            "template": {"metadata": {"labels": labels}, "spec": _pod(root, study, pods)},
        },
    }


def commands(path: Path, job: dict[str, Any], store_variables: Sequence[str]) -> dict[str, str]:
    """Return the commands for what a person does with the manifest, by purpose."""
    file = shlex.quote(str(path))
    ours = f"-l {_selector(job['metadata']['labels'][STUDY_LABEL])}"
    secrets = "|".join([STORAGE_VARIABLE, "WANDB_API_KEY", *store_variables])
    return {
        f"once, with the ledger's address in {STORAGE_VARIABLE}": (
            f"printenv | grep -E '^({secrets})=' | "
            f"kubectl create secret generic {SECRET} --from-env-file=/dev/stdin"
        ),
        "submit": f"kubectl apply -f {file}",
        "watch": f"kubectl get pods --watch {ours}",
        "stop": f"kubectl delete jobs {ours}",
    }


def cancel(root: Path, study: str) -> int:
    """Delete the Jobs of a study, whose workers give their runs back; return how many there were.

    Raises:
        BadInput: a manifest was written, and `kubectl` is not here or fails.
    """
    if not (root / study / FILE).is_file():
        return 0
    return len(_kubectl(["delete", "jobs"], study, "--wait=false"))


def alive(root: Path, study: str) -> int:
    """Return how many pods of a study run or wait to be started; 0 if no manifest was written.

    Raises:
        BadInput: a manifest was written, and `kubectl` is not here or fails.
    """
    if not (root / study / FILE).is_file():
        return 0
    return len(_kubectl(["get", "pods"], study, f"--field-selector={NOT_ENDED}"))


def _kubectl(words: list[str], study: str, *options: str) -> list[str]:
    """Return the names of what a command of `kubectl` concerns among a study's objects."""
    words = ["kubectl", *words, "-l", _selector(manifests.label(study))]
    try:
        done = subprocess.run(  # noqa: S603
            [*words, *options, "--output=name"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise BadInput(
            f"kubectl: no such command; give `{shlex.join(words)}` where the cluster is reached"
        ) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"exit status {done.returncode}"
        raise BadInput(f"`{shlex.join(words)}` failed: {why}")
    return done.stdout.split()


def _selector(label: str) -> str:
    return f"{STUDY_LABEL}={label}"


def _pod(root: Path, study: str, pods: Pods) -> dict[str, Any]:
    folder = str(manifests.shared_folder())
    stored = url_of(root) is not None
    # Caches on the volume are shared; the name is for libraries that ask who they run as.
    caches = SCRATCH_FOLDER if stored else f"{folder}/.cache"
    environment = {"XDG_CACHE_HOME": caches, "USER": "img2gps"}
    if pods.cpus is not None:  # the kernel limits a container's time and still shows it all cores
        environment["OMP_NUM_THREADS"] = str(pods.cpus)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": pods.image,
        "command": ["img2gps", *remote.words(root, study)],
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": _resources(pods),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [],
    }
    volumes: list[dict[str, Any]] = []
    if pods.volume:
        container["workingDir"] = folder
        container["volumeMounts"].append({"name": VOLUME, "mountPath": folder})
        volumes.append({"name": VOLUME, "persistentVolumeClaim": {"claimName": pods.volume}})
    if stored:
        container["volumeMounts"].append({"name": SCRATCH, "mountPath": SCRATCH_FOLDER})
        volumes.append({"name": SCRATCH, "emptyDir": {}})
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": PARTING_S,
        "securityContext": _user(),
        "containers": [container],
        "volumes": volumes,
    }


def _user() -> dict[str, Any]:
    """Let workers write as the user who plans the study, who owns its folder on the volume."""
    user, group = os.getuid(), os.getgid()
    return {"runAsUser": user, "runAsGroup": group, "fsGroup": group} if user else {}


def _resources(pods: Pods) -> dict[str, Any]:
    asked = {
        "cpu": pods.cpus,
        "memory": None if pods.memory_gb is None else f"{pods.memory_gb}Gi",
        "nvidia.com/gpu": pods.gpus,
    }
    given = {name: str(value) for name, value in asked.items() if value is not None}
    return {"requests": given, "limits": given} if given else {}
