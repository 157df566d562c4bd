"""Threads of a training stay on one core each, if there are as many of them as cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, os, sys
import torch
from img2gps.core.pinning import pinned

def cores():
    return sorted(sorted(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task"))

def compute():
    torch.manual_seed(0)
    photos, weights = torch.randn(4, 8, 64, 64), torch.randn(8, 8, 3, 3)
    return torch.nn.functional.conv2d(photos, weights).sum().item()

threads = int(sys.argv[1])
torch.set_num_threads(threads)
plain = compute()
before = cores()
try:
    with pinned(threads):
        here, within, computed = sorted(os.sched_getaffinity(0)), cores(), compute()
        raise InterruptedError
except InterruptedError:
    pass
print(json.dumps([before, here, within, cores(), computed == plain]))
"""
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")


def _pinned(threads: int, **env: str) -> tuple[list[list[int]], list[int], list[list[int]]]:
    """Return the cores that each thread may use before, those of the caller, and of each within."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(threads)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, here, within, after, same = json.loads(done.stdout)
    assert after == before, "not as before"
    assert same, "other numbers"
    return before, here, within


def test_each_of_as_many_threads_as_cores_has_a_core_of_its_own() -> None:
    before, here, within = _pinned(len(CORES))
    assert here == CORES[:1]
    assert [[core] for core in CORES] == [cores for cores in within if len(cores) == 1]
    assert all(cores == CORES for cores in before)


def test_fewer_threads_than_cores_go_where_the_kernel_puts_them() -> None:
    before, here, within = _pinned(1)
    assert here == CORES
    assert within == before


def test_a_decision_of_the_user_stands() -> None:
    _, here, _ = _pinned(len(CORES), OMP_PROC_BIND="false")
    assert here == CORES


def test_only_the_cores_that_the_process_may_use_count() -> None:
    done = subprocess.run(
        ["taskset", "-c", str(CORES[1]), sys.executable, "-c", CODE, "1"],
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)[1] == CORES[1:2], done.stderr
