"""What all comparisons share: a row of the table, ratios over rounds, the machine, watched runs."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psutil
from hydra import compose, initialize_config_dir

from img2gps.config.compose import load_config, register_sweeps
from img2gps.config.schema import Accelerator, Config
from img2gps.core import hardware
from img2gps.core.files import read_json, write_json
from img2gps.core.load import usable_cores
from img2gps.core.paths import package_folder
from img2gps.training import devices
from img2gps.training.speed import measure_speed

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
WATCH_S = 0.1  # between two looks at a process
OPENMP = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
MEMORY_S = 2.0  # between two looks at its memory, each of which walks through all its pages


@dataclass(frozen=True)
class Row:
    """One line of the table; `reached` is None where nothing must be reached."""

    what: str
    figure: str
    must: str = ""
    reached: bool | None = None


class Parts:
    """The parts of a comparison that are measured, kept in a file so that a stopped one goes on."""

    def __init__(self, path: Path | None = None, setting: Mapping[str, Any] | None = None) -> None:
        """Go on with the file's parts if they were measured in the same setting."""
        self.path, self.setting = path, dict(setting or {})
        kept = read_json(path) if path else None
        same = kept is not None and kept["setting"] == json.loads(json.dumps(self.setting))
        self.known: dict[str, Any] = kept["parts"] if kept and same else {}

    def __call__(self, what: str, measure: Callable[[], T]) -> T:
        """Measure one part, and say and keep it; return it at once if it is known."""
        if what not in self.known:
            began = time.perf_counter()
            self.known[what] = json.loads(json.dumps(measure()))
            if self.path:
                write_json(self.path, {"setting": self.setting, "parts": self.known})
                print(f"  {what}: {time.perf_counter() - began:.0f} s", flush=True)
        elif self.path:
            print(f"  {what}: known", flush=True)
        found: T = self.known[what]
        return found

    def forget(self) -> None:
        """Remove the file: all parts have become a result."""
        if self.path:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Settings:
    """How much is measured. `quick` shows that a comparison runs, not what it says."""

    quick: bool = False
    threads: int = field(default_factory=hardware.cores)
    rounds: int | None = None  # turns of each way; None = what the comparison takes
    photos: Path | None = None  # a folder of real photos instead of generated ones
    part: Parts = field(default_factory=Parts)


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


def processor() -> str:
    """Return the folder of this processor's results, such as `amd-epyc-2-cores`."""
    name = re.sub(r"\([a-z]+\)|\bcpu\b|@.*", " ", hardware.cpu_name().lower())
    cores = usable_cores()
    words = re.findall(r"[a-z0-9]+", name)
    return "-".join([*words, str(cores), "core" if cores == 1 else "cores"])


def context() -> dict[str, Any]:
    """When and on what: without the load beside it a timing means little."""
    model = config("model=resnet18").model
    speed = measure_speed(model, 224, Accelerator.auto)
    threads = speed.threads(speed.precision, hardware.cores())
    return {
        "auto": f"{speed.precision} and {threads} {'thread' if threads == 1 else 'threads'}",
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
    threads: int | None,
    rows: tuple[Path, str] | None = None,
) -> Watched:
    """Run a command to its end, looking at its memory and at the lines of a file it writes.

    Args:
        command: what to run.
        env: variables beside this process's own.
        threads: of OpenMP; None leaves them and how they wait to torch.
        rows: a folder and a pattern in it, of which one file will appear.
    """
    own = {key: value for key, value in os.environ.items() if key not in OPENMP}
    chosen = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    full = {**own, **chosen, **env, "PYTHONPATH": str(ROOT)}
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
                itself = watched.memory_full_info()
                children = watched.children(recursive=True)
                peak = max(peak, itself.pss + sum(c.memory_full_info().pss for c in children))
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
