"""The processes that train one run together, each on a device and with a share of every batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from img2gps.training.devices import kind_and_count

LONGEST_WAIT = timedelta(days=7)  # for each other: the first process may wait for a ledger
LOOPBACK = "lo"  # Linux's name of the network interface that stays inside the machine
INTERFACE_VARIABLE = "GLOO_SOCKET_IFNAME"


class Share(NamedTuple):
    """What one process does with a batch.

    Attributes:
        photos: the photos that it computes.
        scale: of its mean loss, so that the mean over all processes is that of the whole batch.
        counted: those of its photos that count in the metrics: none where the first process
            computes the same ones.
    """

    photos: slice
    scale: float = 1.0
    counted: slice = slice(None)

    @property
    def is_divided(self) -> bool:
        """Whether each process has photos of its own."""
        return self.photos != slice(None)


WHOLE = Share(slice(None))


@dataclass(frozen=True)
class Team:
    """One process among those that train a run. The first one, of rank 0, leads; others help."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files and talks to the ledger and to loggers."""
        return self.rank == 0

    def share(self, photos: int) -> Share:
        """Return this process's share of a batch of so many photos.

        Shares differ by one photo at most. A batch with fewer photos than processes is not
        divided, because a network cannot be expected to take an empty batch.

        >>> Team(1, 2).share(5)
        Share(photos=slice(2, 5, None), scale=1.2, counted=slice(None, None, None))
        """
        if self.size == 1:
            return WHOLE
        if photos < self.size:
            return WHOLE if self.leads else Share(slice(None), counted=slice(0))
        first, end = (photos * rank // self.size for rank in (self.rank, self.rank + 1))
        return Share(slice(first, end), self.size * (end - first) / photos)

    def gather(self, own: Any) -> list[Any]:
        """Return what each process has, in the order of their ranks."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, own)
        return found


@contextmanager
def connected(team: Team, meeting: Path, accelerator: str) -> Iterator[None]:
    """Connect this process with the others, which find each other through the file `meeting`.

    All are on this machine, so no port is open to others.
    """
    if sys.platform == "linux":
        os.environ.setdefault(INTERFACE_VARIABLE, LOOPBACK)
    on_gpus = kind_and_count(accelerator)[0] == "cuda"
    dist.init_process_group(
        # NCCL cannot send what is not on a GPU, such as the rows of a batch.
        "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
        store=dist.FileStore(str(meeting), team.size),  # type: ignore[attr-defined]  # no hints
        rank=team.rank,
        world_size=team.size,
        timeout=LONGEST_WAIT,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


ALONE = Team()


class TeamEnvironment(LightningEnvironment):
    """Tells Lightning of a team whose processes are there already."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self._team = team
        self.set_global_rank(team.rank)

    @property
    def creates_processes_externally(self) -> bool:
        """Whether Lightning has no process to start."""
        return True

    def world_size(self) -> int:
        """Return the number of processes."""
        return self._team.size

    def local_rank(self) -> int:
        """Return this process's number on this machine."""
        return self._team.rank

    def node_rank(self) -> int:
        """Return this machine's number: there is one machine."""
        return 0


class TeamStrategy(DDPStrategy):
    """Lightning's data parallel training by processes that are there already."""

    def __init__(self, *, find_unused_parameters: bool) -> None:
        # Buffers are the same everywhere, because batch normalisation sees the whole batch.
        super().__init__(broadcast_buffers=False, find_unused_parameters=find_unused_parameters)

    def _configure_launcher(self) -> None:
        """Start nothing, and leave the number of threads alone."""
