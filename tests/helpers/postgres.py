"""A private PostgreSQL on loopback, from Debian's package `postgresql`, for one test session."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_controls: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}  # stop and start, by URL


def restart(address: str, seconds: float) -> None:
    """Stop a server at once, as a power cut does, and start it again some seconds later."""
    stop, start = _controls[address]
    stop()
    time.sleep(seconds)
    start()


def binaries() -> Path | None:
    """Where `initdb` and `pg_ctl` are: Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextmanager
def server() -> Iterator[str]:
    """Start a server in a folder of its own, yield its URL, stop it and remove the folder."""
    folder = binaries()
    if folder is None:
        raise FileNotFoundError("no PostgreSQL: apt-get install postgresql")
    # PostgreSQL refuses to run as root; Debian's package brings a user for it.
    as_root = os.geteuid() == 0
    home = Path(tempfile.mkdtemp(prefix="img2gps-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str) -> None:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if as_root else {}
        subprocess.run(
            command,
            check=True,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            **user,  # type: ignore[call-overload]  # two of its many keywords
        )

    if as_root:
        owner = pwd.getpwnam("postgres")
        os.chown(home, owner.pw_uid, owner.pw_gid)
    name = "postgres" if as_root else getpass.getuser()
    data = str(home / "data")
    options = f"-h 127.0.0.1 -p {port} -k {home} -c fsync=off"
    try:
        run(str(folder / "initdb"), "-D", data, "-A", "trust", "-E", "UTF8")
        log = str(home / "log")
        control = (str(folder / "pg_ctl"), "-D", data, "-w")

        def start() -> None:
            run(*control, "-l", log, "-o", options, "start")

        def stop() -> None:
            run(*control, "-m", "immediate", "stop")

        address = f"postgresql://{name}@127.0.0.1:{port}/postgres"
        _controls[address] = stop, start
        start()
        try:
            yield address
        finally:
            stop()
            del _controls[address]
    finally:
        shutil.rmtree(home, ignore_errors=True)
