"""Processes: their names, whether one is alive, how one ended, and dying with one's parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
HELPER_LOST = 88  # exit status of a process that ended because one that it trained with had ended
MEANING = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGABRT: "aborted by a library",
}  # signals that the program's own fault raises; all others come from outside


@cache
def machine() -> str:
    """Return host, boot and process namespace, within which a process number is unique."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(str(Path(path).readlink()) if "ns" in path else Path(path).read_text())
        except OSError:
            continue
    return "/".join(part.strip() for part in parts)


def _started(pid: int) -> str:
    """Return when the process started, so that a reused process number is not mistaken for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # a zombie is dead


def identity(pid: int | None = None) -> dict[str, str | int]:
    """Return the identity of a process, by default of this one, which no other ever has."""
    pid = os.getpid() if pid is None else pid
    return {"machine": machine(), "pid": pid, "started": _started(pid)}


def is_local(worker: object) -> bool:
    """Return whether a process belongs to this machine, where it can be looked for."""
    return isinstance(worker, dict) and worker.get("machine") == machine()


def known_dead(worker: object) -> bool:
    """Return whether a process is certainly gone; on another machine nothing is certain."""
    if not isinstance(worker, dict) or not is_local(worker):
        return False
    pid = int(worker["pid"])
    if Path("/proc/self/stat").exists():
        started = _started(pid)  # "" as well where it had ended before anyone asked
        return not started or started != worker.get("started")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit at once if it has ended.

    Call it in the child's main thread. The parent must have started the child in its main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def how_it_ended(returncode: int) -> tuple[bool, str]:
    """Return whether a child ended by its own fault, and how, as the end of a sentence."""
    if returncode >= 0:
        return True, f"ended with exit status {returncode}"
    number = -returncode
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in MEANING:
        return True, f"died of {name} ({MEANING[signal.Signals(number)]})"
    why = " (unless somebody did that, the memory ran out)" if name == "SIGKILL" else ""
    return False, f"was killed by {name}{why}"
