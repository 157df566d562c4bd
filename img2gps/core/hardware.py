"""The machine and the code that this process runs: cores, versions, commit, peak memory."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from img2gps import __version__
from img2gps.core.load import usable_cores

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of mallopt's parameters, malloc.h
KEPT_BYTES = 2**31 - 1  # mallopt's largest value
RECORDED = ("torch", "torchvision", "pytorch-lightning", "timm", "numpy", "pillow", "optuna")


def cores() -> int:
    """Return the CPU cores that this process may use, by its affinity and OMP_NUM_THREADS."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    limit = int(asked) if asked.isdigit() and int(asked) > 0 else usable_cores()
    return min(usable_cores(), limit)


@cache
def _cpu_info() -> tuple[str, frozenset[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    name, flags = platform.machine(), frozenset[str]()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        if key.strip() in ("flags", "Features"):
            return name, frozenset(value.split())
    return name, flags


def cpu_flags() -> frozenset[str]:
    """Return the instruction sets that the kernel lists for this CPU, as Linux names them."""
    return _cpu_info()[1]


def cpu_name() -> str:
    """Return the name of the processor."""
    return _cpu_info()[0]


def describe(gpu: str = "") -> dict[str, Any]:
    """Return the CPU, its cores, the GPU's name and the platform, for result.json."""
    return {"cpu": cpu_name(), "cores": cores(), "gpu": gpu, "platform": platform.platform()}


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages whose version can matter."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def code() -> dict[str, Any]:
    """Return version, commit and dirty flag of this code; an installed wheel has no commit."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(root), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root:
        return {"version": __version__, "commit": None, "dirty": None}
    changed = git("status", "--porcelain", "--", "img2gps", "conf", "hydra_plugins")
    return {"version": __version__, "commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next batch instead of giving it back to the kernel.

    Otherwise the kernel clears the same pages again for every batch, which takes 4 % of a training
    step. Without glibc this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in 10**6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
