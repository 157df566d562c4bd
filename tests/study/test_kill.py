"""Killed at any moment, a study loses nothing, repeats nothing and leaves no process behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from img2gps.runs.race import Look, Rules
from img2gps.runs.records import read_study
from img2gps.runs.states import RunState
from img2gps.study.ledger import Ledger
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Confirm, Limits, Spec
from img2gps.study.storage import open_storage
from tests.helpers import postgres
from tests.helpers.studies import cells_of, executions, fake_spec, read_record, url_of, wait_for

pytestmark = pytest.mark.usefixtures("fake_runs")

ROOT = Path(__file__).resolve().parents[2]
# Runs a study given as JSON; what `-m` does after Hydra has composed.
ENGINE = """
import json, sys
from img2gps.core.errors import BadInput
from img2gps.core.signals import Interrupted
from img2gps.study.engine import run_study
from img2gps.study.spec import Spec
spec, url, workers = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
try:
    sys.exit(run_study(Spec.from_dict(spec), url, workers=workers))
except Interrupted as error:
    print(error)
    sys.exit(error.status)
"""


def start(spec: Spec, url: str, workers: int) -> subprocess.Popen[str]:
    import json

    command = [sys.executable, "-c", ENGINE, json.dumps(spec.to_dict()), url, str(workers)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
    )  # fmt: skip


def ended(spec: Spec, *engines: subprocess.Popen[str], seconds: float = 600) -> list[str]:
    """What the engines said until they ended; a slow disk takes its time, a hang fails.

    Each of a study's hundreds of entries waits for the disk: with half a second for each, a search
    of these tests took 271 s to its end.
    """
    end = time.monotonic() + seconds
    said = []
    for engine in engines:
        try:
            said.append(engine.communicate(timeout=max(1.0, end - time.monotonic()))[0])
        except subprocess.TimeoutExpired:
            stuck = [engine.pid, *(worker.pid for worker in workers_of(spec))]
            for pid in stuck:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGABRT)  # faulthandler writes where each of them is
            written = [*Path(spec.root, "s").glob("*.log"), *Path(spec.root, "s").glob("*.json")]
            what = [path.read_text()[-3000:] for path in written]
            pytest.fail("\n".join(["hangs", engine.communicate()[0], *what]))
    return said


def workers_of(spec: Spec) -> list[psutil.Process]:
    """Every worker process of this study anywhere on the machine, whoever its parent is now."""
    found = []
    for child in psutil.process_iter(["cmdline", "environ"]):
        command, environment = child.info["cmdline"] or [], child.info["environ"] or {}
        ours = environment.get("IMG2GPS_TEST_STUDY") == spec.root
        if ours and "img2gps.study.worker" in command:
            found.append(child)
    return found


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.setenv("IMG2GPS_TEST_STUDY", str(tmp_path))  # inherited by every process
    axes: dict[str, list[Any]] = {"lr": [0.1, 0.2, 0.3, 0.4], "batch_size": [8, 16, 32]}
    limits = Limits(max_preemptions=50, heartbeat_s=0.3, grace_s=2.0)
    return fake_spec(tmp_path, axes, seeds=(0, 1), fixed=("pause=0.1",), limits=limits)


@pytest.fixture(params=["journal", "sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def url(request: pytest.FixtureRequest, spec: Spec) -> Iterator[str]:
    match request.param:
        case "journal":
            yield url_of(spec)
        case "sqlite":
            yield f"sqlite:///{spec.root}/ledger.sqlite"
        case _:
            if postgres.binaries() is None:
                pytest.skip("no PostgreSQL here: apt-get install postgresql")
            with postgres.server() as address:
                yield address


def gone(spec: Spec) -> bool:
    """Whether no worker is left, after the moment that the kernel needs."""
    end = time.monotonic() + 5
    while workers_of(spec):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_24_cells_survive_random_kills(spec: Spec, url: str) -> None:
    draw = random.Random(3)
    for round_ in range(2):
        engine = start(spec, url, workers=3)
        end = time.monotonic() + 5
        while time.monotonic() < end and engine.poll() is None:
            time.sleep(draw.uniform(0.1, 0.6))
            if victims := workers_of(spec):
                victim = draw.choice(victims)
                if psutil.pid_exists(victim.pid):
                    os.kill(victim.pid, signal.SIGKILL)
        if round_ < 1:
            engine.kill()  # the engine itself: its workers must go with it
        else:
            engine.terminate()
        engine.communicate(timeout=40)
        assert gone(spec)

    engine = start(spec, url, workers=3)
    [output] = ended(spec, engine)

    assert engine.returncode == 0, output
    cells = cells_of(spec)
    assert Counter(cell["state"] for cell in cells) == {"finished": 24}
    assert len({cell["run_id"] for cell in cells}) == 24
    assert Counter(executions(spec)) == {cell["run_id"]: 1 for cell in cells}
    for cell in cells:  # every epoch of every run once: each went on where it stood
        progress = Path(spec.root, cell["path"], "progress.txt").read_text().split()
        assert progress == ["1", "2", "3"]
    assert gone(spec)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_prompt_resumable_and_quiet(spec: Spec, signum: int) -> None:
    engine = start(spec, url_of(spec), workers=2)
    wait_for(lambda: len(executions(spec)) >= 2)

    before = time.monotonic()
    engine.send_signal(signum)
    output, _ = engine.communicate(timeout=30)

    assert time.monotonic() - before < 8
    assert engine.returncode == 128 + signum
    assert "Traceback" not in output
    assert "the same command goes on" in output
    assert gone(spec)
    record = read_record(spec)
    assert {cell["state"] for cell in record["cells"]} == {"finished", "queued"}
    worker_logs = [path.read_text() for path in Path(spec.root, "s").glob("worker-*.log")]
    assert not any("Traceback" in text for text in worker_logs)
    n = len(executions(spec))

    engine = start(spec, url_of(spec), workers=2)
    [output] = ended(spec, engine)
    assert engine.returncode == 0
    assert sorted(executions(spec)) == sorted(c["run_id"] for c in cells_of(spec))
    assert f"{n} skipped as done before" in output


@pytest.fixture
def race(spec: Spec) -> Spec:
    """Two cells that are lost at once, and four that are hard to tell apart."""
    axes = {"lr": [0.5, 0.51, 0.52, 0.53, 0.9, 0.95]}
    return fake_spec(
        Path(spec.root), axes, kind="race", sampler="race", seeds=(0, 1, 2, 3, 4),
        race=Rules(give_up_below=0.0), fixed=("pause=0.1", "photos=60"), limits=spec.limits,
    )  # fmt: skip


def looks_of(spec: Spec) -> list[Look]:
    """What the race has decided, without the times."""
    looks = Ledger(open_storage(url_of(spec)), spec.name).looks
    return [replace(look, at="") for look in looks]


@pytest.mark.slow
def test_race_survives_kills_with_the_decisions_of_one_that_was_never_killed(
    race: Spec, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draw, seen = random.Random(5), list[list[Look]]()
    for _ in range(5):
        engine = start(race, url_of(race), workers=2)
        time.sleep(draw.uniform(2.5, 5))
        engine.kill()
        engine.communicate(timeout=40)
        assert gone(race)
        if Path(url_of(race)).exists():
            seen.append(looks_of(race))
    engine = start(race, url_of(race), workers=2)
    [output] = ended(race, engine)
    assert engine.returncode == 0, output
    unharmed = replace(race, root=str(tmp_path_factory.mktemp("unharmed")))
    engine = start(unharmed, url_of(unharmed), workers=2)
    ended(unharmed, engine)

    final = looks_of(race)
    assert final[-1].end
    assert final == looks_of(unharmed)
    for looks in seen:
        assert final[: len(looks)] == looks
    assert Counter(executions(race)) == {cell["run_id"]: 1 for cell in cells_of(race)}


@pytest.mark.slow
@pytest.mark.parametrize("engines", [1, 2])
def test_search_with_seeds_survives_kills(spec: Spec, engines: int) -> None:
    space = Space((Axis("lr", low=0.4, high=0.9), Axis("batch_size", (8, 16))))
    search = fake_spec(
        Path(spec.root), {}, space=space, kind="tpe", sampler="tpe", n_trials=10, seeds=(0, 1, 2),
        confirm=Confirm(top=2, seeds=2), fixed=("pause=0.1",), limits=spec.limits,
    )  # fmt: skip
    draw = random.Random(7)
    for _ in range(4):
        begun = [start(search, url_of(search), workers=2) for _ in range(engines)]
        time.sleep(draw.uniform(2.5, 5))
        for engine in begun:
            engine.kill()
            engine.communicate(timeout=40)
        assert gone(search)
    outputs = [start(search, url_of(search), workers=2) for _ in range(engines)]
    said = ended(search, *outputs)
    assert [engine.returncode for engine in outputs] == [0] * engines, said

    study = read_study(search.root, search.name)
    assert study.confirmation is not None
    trials = Counter(run.cell for run in study.runs if run.seed == 0)
    assert sum(trials.values()) == 10
    for cell in trials:
        seeds = [run.seed for run in study.runs if run.cell == cell and run.seed < 3]
        given_up = any(run.never_begun for run in study.runs if run.cell == cell)
        assert given_up or sorted(set(seeds)) == [0, 1, 2]
    fresh = {(run.cell, run.seed) for run in study.runs if run.seed >= 3}
    assert fresh == {(cell, seed) for cell in study.confirmation.cells for seed in (3, 4)}
    done = {run.run_id for run in study.runs if run.state is RunState.finished}
    assert Counter(executions(search)) == dict.fromkeys(done, 1)


def test_two_engines_share_a_race(race: Spec) -> None:
    engines = [start(race, url_of(race), workers=1) for _ in range(2)]
    outputs = ended(race, *engines)

    assert [engine.returncode for engine in engines] == [0, 0], outputs
    assert [look.number for look in looks_of(race)] == list(range(1, len(looks_of(race)) + 1))
    assert Counter(executions(race)) == {cell["run_id"]: 1 for cell in cells_of(race)}


def test_two_engines_share_a_study(spec: Spec) -> None:
    engines = [start(spec, url_of(spec), workers=1) for _ in range(2)]
    outputs = ended(spec, *engines)

    assert [engine.returncode for engine in engines] == [0, 0], outputs
    assert Counter(executions(spec)) == {cell["run_id"]: 1 for cell in cells_of(spec)}
