"""A Slurm of one node on loopback, from Debian's packages `slurm-wlm` and `munge`."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
SlurmUser={user}
SlurmdUser={user}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _binary(name: str) -> str:
    """Return where a daemon is: Debian keeps them off an ordinary user's PATH."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError(f"no {name}: apt-get install slurm-wlm munge")
    return found


def _ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def cluster(cores: int = 4) -> Iterator[Path]:
    """Start Slurm in a folder of its own, yield its slurm.conf, stop it and remove the folder."""
    munged, controller, node = (_binary(name) for name in ("munged", "slurmctld", "slurmd"))
    home = Path(tempfile.mkdtemp(prefix="img2gps-slurm-"))
    home.chmod(0o755)  # munge wants a socket that all may reach and a key that none may
    for name in ("state", "spool", "munge"):
        (home / name).mkdir(mode=0o700)
    key = home / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    controller_port, node_port = _ports(2)
    configuration = home / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            home=home,
            user=getpass.getuser(),
            cores=cores,
            controller_port=controller_port,
            node_port=node_port,
        )
    )
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    own = [f"--{name}={home / 'munge' / name}" for name in ("pid-file", "log-file", "seed-file")]
    socket_ = f"--socket={home / 'munge.socket'}"
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in (
            [munged, "--force", "--foreground", f"--key-file={key}", socket_, *own],
            [controller, "-D"],
            [node, "-D", "-N", socket.gethostname().partition(".")[0]],
        ):
            daemons.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        _wait_until_idle(environment)
        yield configuration
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            daemon.wait(timeout=60)
        shutil.rmtree(home, ignore_errors=True)


def _wait_until_idle(environment: dict[str, str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    words = ["sinfo", "--noheader", "--format=%T"]
    while True:
        try:
            said = subprocess.run(
                words, env=environment, capture_output=True, text=True, timeout=20, check=False
            )
            state = said.stdout.strip() or said.stderr.strip()
        except subprocess.TimeoutExpired:
            state = "no answer"
        if state == "idle":
            return
        if time.monotonic() > end:
            raise TimeoutError(f"Slurm's node is not ready: {state}")
        time.sleep(0.5)
