"""Naming a process, and finding out whether it is still alive."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


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
