"""A Ray of two cores on this machine, for one test module."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CORES = 2
_HOLDER = f"""
import sys, ray
context = ray.init(
    num_cpus={CORES}, num_gpus=0, include_dashboard=False, object_store_memory=80 * 2**20,
    _temp_dir=sys.argv[1], log_to_driver=False, logging_level="ERROR",
)
print("at", context.address_info["gcs_address"], flush=True)
sys.stdin.read()  # until the test module ends, however it ends
ray.shutdown()
"""


@contextmanager
def cluster() -> Iterator[str]:
    """Start Ray in a folder of its own, yield its address, stop it and remove the folder.

    Only processes with this session's token may use it. Ray would otherwise make a token of its own
    and leave it in the home folder.
    """
    home = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets are short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, home],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert holder.stdout is not None
            address = ""
            for line in holder.stdout:
                if line.startswith("at "):
                    address = line.split()[1]
                    break
            assert address, "Ray has not started"
            yield address
        finally:
            holder.communicate(timeout=60)
            shutil.rmtree(home, ignore_errors=True)
