"""What all comparisons share: a row of the table, ratios over rounds, the machine, watched runs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from hydra import compose, initialize_config_dir

from img2gps.config.compose import load_config, register_sweeps
from img2gps.config.schema import Config
from img2gps.core import hardware
from img2gps.core.paths import package_folder
from img2gps.training import devices

ROOT = Path(__file__).resolve().parent.parent
WATCH_S = 0.1  # between two looks at a process
MEMORY_S = 2.0  # between two looks at its memory, each of which walks through all its pages


@dataclass(frozen=True)
class Row:
    """One line of the table; `reached` is None where nothing must be reached."""

    what: str
    figure: str
    must: str = ""
    reached: bool | None = None


@dataclass(frozen=True)
class Settings:
    """How much is measured. `quick` shows that a comparison runs, not what it says."""

    quick: bool = False
    threads: int = field(default_factory=hardware.cores)
    rounds: int | None = None  # turns of each way; None = what the comparison takes
    photos: Path | None = None  # a folder of real photos instead of generated ones


@dataclass(frozen=True)
class Comparison:
    """What one module offers: `measure` gives plain values, `rows` puts them into the table."""

    title: str
    measure: Callable[[Settings], dict[str, Any]]
    rows: Callable[[Mapping[str, Any]], list[Row]]


def ratios(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """`one` / `other` round by round: median, lowest and highest."""
    each = [a / b for a, b in zip(one, other, strict=True)]
    return {"median": statistics.median(each), "low": min(each), "high": max(each)}


def spread(ratio: Mapping[str, float], digits: int = 2) -> str:
    """A ratio as text, with the rounds' range.

    >>> spread({"median": 1.0149, "low": 1.0, "high": 1.031})
    '1.01 (1.00 to 1.03)'
    """
    median, low, high = (f"{ratio[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def context() -> dict[str, Any]:
    """When and on what: without the load beside it a timing means little."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "load": round(os.getloadavg()[0], 1),
        "hardware": hardware.describe(devices.gpu_name()),
        "versions": hardware.versions(),
        "commit": hardware.code()["commit"],
    }


def config(*overrides: str) -> Config:
    """The configuration of these overrides, as on the command line."""
    register_sweeps()
    with initialize_config_dir(str(package_folder("conf")), version_base="1.3"):
        return load_config(compose("train", overrides=list(overrides)))


@dataclass(frozen=True)
class Watched:
    """A process that has ended well.

    Attributes:
        seconds: from start to end.
        peak_mb: largest memory of it and its children, shared pages counted once, 10**6 bytes.
        anonymous_mb: largest memory of it alone that is not a mapped file.
        rows_s: when the watched file got each of its lines, seconds after the start.
        output: what it printed.
    """

    seconds: float
    peak_mb: float
    anonymous_mb: float
    rows_s: list[float]
    output: str


def watch(
    command: Sequence[str],
    env: Mapping[str, str],
    threads: int,
    rows: tuple[Path, str] | None = None,
) -> Watched:
    """Run a command to its end, looking at its memory and at the lines of a file it writes.

    `rows` are a folder and a pattern in it, of which one file will appear.
    """
    full = {**os.environ, **env, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=env.get("PWD"), env=full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    peak = anonymous = 0.0
    seen: list[float] = []
    watched = psutil.Process(process.pid)
    next_look = started
    while process.poll() is None:
        if time.perf_counter() >= next_look:
            next_look = time.perf_counter() + MEMORY_S
            with suppress(psutil.Error, FileNotFoundError):
                own = watched.memory_full_info()
                children = watched.children(recursive=True)
                peak = max(peak, own.pss + sum(c.memory_full_info().pss for c in children))
                anonymous = max(anonymous, _anonymous(process.pid))
        if rows is not None:
            seen += [time.perf_counter() - started] * (_lines(*rows) - len(seen))
        time.sleep(WATCH_S)
    output = process.stdout.read().decode() if process.stdout else ""
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.stderr.write(output)
        raise subprocess.CalledProcessError(process.returncode, list(command))
    if rows is not None:
        seen += [seconds] * (_lines(*rows) - len(seen))
    return Watched(seconds, peak / 1e6, anonymous / 1e6, seen, output)


def _lines(folder: Path, pattern: str) -> int:
    """Lines after the header."""
    for path in folder.glob(pattern):
        return max(0, path.read_bytes().count(b"\n") - 1)
    return 0


def _anonymous(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * float(line.split()[1])
    return 0.0
