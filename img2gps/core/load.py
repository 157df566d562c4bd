"""How busy the machine is with other programs, and how OpenMP threads wait for each other."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

SHORTEST_S = 0.2  # a shorter interval says little, as the kernel counts in 10 ms
WATCHED_S = 0.3  # to see whether the machine is idle
SLACK_CORES = 0.3  # that other programs may take without a remark
OWN_POLICY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
PATIENCE = "1000"  # looks of a waiting thread before it sleeps, some 20 to 50 microseconds


def wait_passively() -> None:
    """Let OpenMP threads sleep while they wait for each other, unless the user has decided it.

    Threads that spin instead take the core from the one that they wait for as soon as another
    program needs a core. GNU's OpenMP still looks for a moment, since most waits are shorter than
    falling asleep and waking up. OpenMP reads this once: call this before torch is imported.
    """
    if not any(name in os.environ for name in OWN_POLICY):
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = PATIENCE


def usable_cores() -> int:
    """Return the CPU cores that this process may use by its affinity."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class CpuTime:
    """Processor seconds so far: of all programs on the cores that we may use, and of this one."""

    at: float
    everybody: float
    own: float

    @classmethod
    def now(cls) -> CpuTime | None:
        """Return the present state, or None if this system does not tell."""
        try:
            lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        ticks = 0
        for line in lines:
            name, *fields = line.split()
            if name in mine:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
                ticks += user + nice + system + irq + softirq + steal
        own = os.times()
        spent = own.user + own.system + own.children_user + own.children_system
        return cls(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), spent)

    def taken_by_others(self) -> float | None:
        """Return how many cores other programs have kept busy since; None if that is unknown."""
        after = CpuTime.now()
        if after is None or after.at - self.at < SHORTEST_S:
            return None
        others = (after.everybody - self.everybody) - (after.own - self.own)
        return max(0.0, others / (after.at - self.at))


def is_idle() -> bool:
    """Watch the other programs for a moment and return whether they leave us the cores.

    A system that does not tell counts as idle.
    """
    before = CpuTime.now()
    if before is None:
        return True
    time.sleep(WATCHED_S)
    taken = before.taken_by_others()
    return taken is None or taken <= SLACK_CORES
