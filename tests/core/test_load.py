"""A busy machine is noticed, and threads that wait leave the cores to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from img2gps.core import load
from img2gps.core.load import CpuTime, wait_passively
from img2gps.training import loop
from tests.helpers.tiny import TINY


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nobody has decided how OpenMP waits."""
    for name in load.OWN_POLICY:
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
        monkeypatch.delenv(name)
    return monkeypatch


def test_threads_wait_passively_unless_the_user_has_decided_it(
    environment: pytest.MonkeyPatch,
) -> None:
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert 0 < int(os.environ["GOMP_SPINCOUNT"]) < 10_000
    environment.setenv("OMP_WAIT_POLICY", "active")
    environment.delenv("GOMP_SPINCOUNT")
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in os.environ
    environment.delenv("OMP_WAIT_POLICY")
    environment.setenv("GOMP_SPINCOUNT", "7")
    wait_passively()
    assert "OMP_WAIT_POLICY" not in os.environ
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_training_sets_the_policy_before_torch_is_imported(
    environment: pytest.MonkeyPatch,
) -> None:
    code = (
        "import sys, img2gps.core.load as load\n"
        "before = []\n"
        "real = load.wait_passively\n"
        "def watch(): before.append('torch' in sys.modules); real()\n"
        "load.wait_passively = watch\n"
        "import img2gps.train as train\n"
        "try: train.run(None)\n"
        "except AttributeError: pass\n"
        "import os; print(before, os.environ['OMP_WAIT_POLICY'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[False] passive\n", done.stderr


@pytest.mark.slow
def test_how_threads_wait_and_where_they_run_changes_no_number(
    environment: pytest.MonkeyPatch, workdir: Path
) -> None:
    words = (f"threads={load.usable_cores()}", "precision=fp32", "max_epochs=1")
    settings = {
        "active": {"OMP_WAIT_POLICY": "active"},
        "anywhere": {"OMP_PROC_BIND": "false"},
        "ours": {},
    }
    predictions = []
    for root, setting in settings.items():
        command = [sys.executable, "-m", "img2gps.train", *TINY, *words, f"runs.root={root}"]
        done = subprocess.run(
            command, env={**os.environ, **setting}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        (found,) = (workdir / root).glob("default/*/predictions.csv")
        predictions.append(found.read_bytes())
    assert predictions[0] == predictions[1] == predictions[2]


@pytest.mark.parametrize(
    ("seconds", "everybody", "own", "threads", "said"),
    [
        (10.0, 10.0, 0.0, 2, "other programs take 1.0 of 2 cores: training with 2 threads will"),
        (10.0, 10.0, 0.0, 1, ""),  # a core is left for one thread
        (10.0, 20.0, 0.0, 1, "other programs take 2.0 of 2 cores: training with 1 thread will"),
        (10.0, 19.0, 19.0, 2, ""),  # this process itself
        (0.1, 0.2, 0.0, 2, ""),  # too short to tell
    ],
)
def test_taken_cores_are_told_with_what_they_cost(
    seconds: float,
    everybody: float,
    own: float,
    threads: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(loop, "usable_cores", lambda: 2)
    monkeypatch.setattr(CpuTime, "now", lambda: CpuTime(100 + seconds, 50 + everybody, 5 + own))
    loop.warn_if_busy(CpuTime(100, 50, 5), threads)
    assert caplog.text.count("\n") == bool(said)
    assert said in caplog.text
    if threads == 2 and said:
        assert "at least 1.5 times as long; threads=1 fits beside them" in caplog.text


def test_a_system_that_does_not_tell_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    loop.warn_if_busy(None, 2)
    assert caplog.text == ""


def test_this_process_is_seen_at_work() -> None:
    if (before := CpuTime.now()) is None:
        pytest.skip("no /proc/stat")
    sum(i * i for i in range(3_000_000))
    after = CpuTime.now()
    assert after is not None
    assert after.own > before.own
    assert after.everybody > before.everybody
