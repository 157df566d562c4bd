"""Workers as actors of a Ray cluster that is already running: submitted, counted and ended.

Every worker is a detached actor, which outlives the command and runs `img2gps worker` as a process.
Ray starts an actor that dies again, if need be on another machine. Of Ray, this needs the core
alone: https://docs.ray.io/en/latest/ray-core/actors/named-actors.html
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from img2gps.core.errors import BadInput
from img2gps.study import remote
from img2gps.study.spec import STORAGE_VARIABLE

SUBMITTED = "ray.address"  # in the study's folder, the cluster that has its workers
LOGS = "ray-{}.log"  # by the actor's name, which is unique in the cluster
RUNNING_ONE = "auto"  # Ray's word for the cluster of which this machine is part
RESTARTS = 10  # of a worker that dies, or whose machine does
FINAL_STATUS = (0, 1, 2)  # all has ended, a run failed, or bad input: another try would not help
ANSWER_S = 10.0  # in which an actor answers, unless it waits for room
PASSED_ON = (
    "IMG2GPS_",
    "WANDB_",
    "MLFLOW_",
    "AWS_",
)  # beginnings of variables that workers need, too


@dataclass(frozen=True)
class Actors:
    """What each worker asks Ray for; None leaves it to Ray's defaults.

    Attributes:
        address: the cluster, as HOST:PORT or ray://HOST:PORT. Without it, `RAY_ADDRESS` names the
            cluster, or it is the one of which this machine is part.
        cpus: which are also the threads that a worker may use; None is 1.
    """

    address: str | None = None
    cpus: int | None = None
    gpus: int | None = None
    memory_gb: int | None = None

    @property
    def cluster(self) -> str:
        """The address by which Ray is asked for its cluster."""
        return self.address or os.environ.get("RAY_ADDRESS") or RUNNING_ONE

    def options(self) -> dict[str, Any]:
        """Return them as options of an actor."""
        asked = {
            "num_cpus": self.cpus or 1,  # Ray's own default would put all actors on one core
            "num_gpus": self.gpus,
            "memory": None if self.memory_gb is None else self.memory_gb * 2**30,
        }
        return {name: value for name, value in asked.items() if value is not None}


class WorkerActor:
    """One worker process, on the machine on which Ray has started this actor."""

    def __init__(
        self, words: Sequence[str], folder: str, log: str, variables: Mapping[str, str]
    ) -> None:
        self._leaving = False
        with Path(log).open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "img2gps", *words],
                cwd=folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        threading.Thread(target=self._watch, daemon=True).start()

    def pid(self) -> int:
        """Return the number of the worker's process."""
        return self._process.pid

    def leave(self) -> None:
        """Ask the worker to give its run back and to end; the actor ends with it."""
        self._leaving = True
        self._process.terminate()

    def _watch(self) -> None:
        """End this actor when its worker has ended: for good, or so that Ray starts it again."""
        import ray

        status = self._process.wait()
        if self._leaving or status in FINAL_STATUS:
            ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
        else:
            os._exit(1)


def alive(root: Path, study: str, cluster: str) -> int:
    """Return how many workers of a study the cluster runs or will run."""
    with _connected(root, study, cluster):
        return len(_names())


def submit(root: Path, study: str, url: str, count: int, asked: Actors) -> tuple[str, int]:
    """Submit workers for a study that is planned.

    Returns:
        The cluster's address, and how many of the workers have not started yet.

    Raises:
        BadInput: Ray cannot be reached, or no worker can start.
    """
    import ray

    words = remote.words(root, study)
    variables = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
    # Given as an argument, because Ray shows the variables of an actor's `runtime_env` to others.
    variables[STORAGE_VARIABLE] = url
    with _connected(root, study, asked.cluster) as address:
        remote.note_submitted(root, study, SUBMITTED, f"{address}\n")
        actors: list[Any] = []
        for name in _free_names(count):
            made = ray.remote(WorkerActor).options(
                name=name,
                lifetime="detached",
                max_restarts=RESTARTS,
                get_if_exists=True,  # the same command elsewhere may have been faster
                **asked.options(),
            )
            log = str(remote.log_path(root, study, LOGS.format(name)))
            actors.append(made.remote(words, str(Path.cwd()), log, variables))
        return address, _not_started([actor.pid.remote() for actor in actors])


def awaited(root: Path, study: str) -> bool:
    """Return whether a study has workers on the cluster to which some were submitted.

    A machine that cannot ask the cluster awaits none.
    """
    if (cluster := _submitted_to(root, study)) is None:
        return False
    try:
        return alive(root, study, cluster) > 0
    except BadInput:
        return False


def cancel(root: Path, study: str) -> int:
    """End the workers of a study, which give their runs back; return how many there were.

    Raises:
        BadInput: the cluster to which workers were submitted cannot be reached.
    """
    if (cluster := _submitted_to(root, study)) is None:
        return 0
    with _connected(root, study, cluster):
        import ray

        names = _names()
        actors: list[Any] = [ray.get_actor(name) for name in names]
        asked: dict[Any, Any] = {actor.leave.remote(): actor for actor in actors}
        _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
        for call in silent:  # it waits for room and has no process, or it hangs
            ray.kill(asked[call])
    return len(names)


def _submitted_to(root: Path, study: str) -> str | None:
    path = root / study / SUBMITTED
    addresses = path.read_text(encoding="utf-8").split() if path.is_file() else []
    return addresses[-1] if addresses else None


@contextmanager
def _connected(root: Path, study: str, cluster: str) -> Iterator[str]:
    """Connect to a cluster, where the study has a namespace of its own; yield the address.

    Raises:
        BadInput: Ray is not installed, there is no such cluster, or it refuses this process.
    """
    try:
        import ray
    except ImportError as error:
        raise BadInput(
            "hydra.sweeper.launcher=ray: Ray is not installed; run `pip install 'img2gps[ray]'`"
        ) from error
    _check_reachable(cluster)
    try:
        ray.init(
            cluster,
            namespace=remote.name_of(root, study),
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except Exception as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        if cluster == RUNNING_ONE:
            raise _no_cluster(cluster, reason) from error
        raise BadInput(
            f"hydra.sweeper.launcher=ray: the cluster at {cluster} does not let this command in "
            f"({reason}); it needs the cluster's token (RAY_AUTH_TOKEN), if there is one, and the "
            "cluster's versions of Ray and Python"
        ) from error
    try:
        client = cluster.startswith("ray://")
        yield cluster if client else ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


def _check_reachable(cluster: str) -> None:
    """Refuse an address at which nobody answers, for which Ray itself would wait for minutes."""
    if cluster == RUNNING_ONE:
        return
    try:
        parts = urlsplit(cluster if "://" in cluster else f"ray://{cluster}")
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=ANSWER_S):
            pass
    except (OSError, ValueError) as error:
        raise _no_cluster(cluster, str(error)) from error


def _no_cluster(cluster: str, reason: str) -> BadInput:
    name = "of this machine" if cluster == RUNNING_ONE else f"at {cluster}"
    return BadInput(
        f"hydra.sweeper.launcher=ray: no cluster {name} ({reason}); start one by `ray start "
        "--head`, name another by RAY_ADDRESS, or leave the launcher out to use this machine alone"
    )


def _names() -> list[str]:
    """Return the names of the study's actors that have not ended."""
    import ray

    return sorted(ray.util.list_named_actors())


def _free_names(count: int) -> list[str]:
    """Return names that no worker of the study has; those of workers that have ended are free."""
    taken = set(_names())
    names = (f"worker-{number}" for number in range(1, len(taken) + count + 1))
    return [name for name in names if name not in taken][:count]


def _not_started(calls: list[Any]) -> int:
    """Return how many of the actors have not started, as a rule because Ray has no room for them.

    Raises:
        BadInput: an actor cannot start.
    """
    import ray

    answered, silent = ray.wait(calls, num_returns=len(calls), timeout=ANSWER_S)
    try:
        ray.get(answered)
    except ray.exceptions.RayError as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"hydra.sweeper.launcher=ray: a worker does not start ({said[-1][:200]}); the cluster "
            "needs img2gps in the Python that runs `ray start`, and this folder at the same path"
        ) from error
    return len(silent)
