"""`img2gps worker`: processes that come and go and finish a planned study between them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from img2gps.cli.main import main
from img2gps.runs.records import StudyRecord, write_study
from img2gps.runs.states import RunState
from img2gps.study import engine
from img2gps.study.display import Display
from img2gps.study.engine import plan_alone
from img2gps.study.ledger import Ledger
from img2gps.study.planning import plan_study
from img2gps.study.process import HUNG
from img2gps.study.spec import Limits, Spec
from img2gps.study.storage import open_storage
from tests.helpers.studies import (
    QUICK,
    cells_of,
    executions,
    fake_spec,
    read_record,
    url_of,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("fake_runs")


def planned(spec: Spec, url: str | None = None) -> Ledger:
    """The ledger of a study that nobody works on yet."""
    (Path(spec.root) / spec.name).mkdir(parents=True, exist_ok=True)
    ledger = Ledger.create(open_storage(url or url_of(spec)), spec)
    plan_study(ledger, spec)
    return ledger


def main_status(*words: str) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(str(ended.value.code))


def worker(root: Path, *words: str, name: str = "s", **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "img2gps", "worker", name, "--runs", str(root), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})


def test_workers_finish_a_planned_study_between_them(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4]}, fixed=["pause=0.2"])
    planned(spec)
    both = [worker(tmp_path) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert set(Counter(executions(spec)).values()) == {1}
    assert [cell["state"] for cell in cells_of(spec)] == ["finished"] * 4
    assert read_record(spec)["engine"] is None


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_worker_that_is_told_to_leave_gives_its_run_back(
    tmp_path: Path, number: signal.Signals
) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=0.4", "epochs=4"])
    planned(spec)
    first = worker(tmp_path)
    wait_for(lambda: list(tmp_path.glob("s/*/progress.txt")))
    first.send_signal(number)
    said, _ = first.communicate(timeout=60)
    left = number is not signal.SIGTERM
    assert first.returncode == (0 if left else 128 + signal.SIGTERM)
    assert ("queued again" in said) == left
    assert [cell["state"] for cell in cells_of(spec)] == ["queued"]
    second = worker(tmp_path)
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert [cell["state"] for cell in cells_of(spec)] == ["finished"]
    (progress,) = tmp_path.glob("s/*/progress.txt")
    assert progress.read_text().split() == ["1", "2", "3", "4"]


def test_a_worker_leaves_when_its_minutes_are_over(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=60"])
    planned(spec)
    process = worker(tmp_path, "--minutes", "0.2")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "time is up" in said
    assert "next: img2gps worker s --runs" in said


def test_until_empty_a_worker_does_not_wait_for_the_others(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=60"])
    ledger = planned(spec)
    first = worker(tmp_path)
    try:
        wait_for(lambda: _running(ledger))
        second = worker(tmp_path, "--until-empty")
        second.communicate(timeout=60)
        assert second.returncode == 0
        assert first.poll() is None
    finally:
        first.terminate()
        first.communicate(timeout=60)


def _running(ledger: Ledger) -> int:
    ledger.refresh()
    return ledger.running()


def test_a_worker_that_leaves_names_the_one_that_goes_on(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=60"])
    ledger = planned(spec)
    first = worker(tmp_path)
    try:
        wait_for(lambda: _running(ledger))
        worker(tmp_path, "--until-empty").communicate(timeout=60)
        assert read_record(spec)["engine"]["pid"] == first.pid
    finally:
        first.terminate()
        first.communicate(timeout=60)
    assert read_record(spec)["engine"] is None


def test_a_worker_renews_the_record_while_its_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RENEWAL_S", 0.1)
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=1"])
    planned(spec)
    written: list[StudyRecord] = []

    def write(root: str, record: StudyRecord) -> None:
        written.append(record)
        write_study(root, record)

    monkeypatch.setattr(engine, "write_study", write)
    assert main_status("worker", "s", "--runs", str(tmp_path)) == 0
    meanwhile = {(record.is_running, record.runs[0].state, record.runs[0].epochs)
                 for record in written}  # fmt: skip
    assert {(True, "running", 1), (True, "running", 2)} <= meanwhile
    assert written[-1].engine is None


@pytest.mark.parametrize("ledger_of", ["{}/s/ledger.journal", "sqlite:///{}/ledger.sqlite"])
def test_a_worker_whose_study_is_forgotten_says_so_in_one_line(
    tmp_path: Path, ledger_of: str
) -> None:
    url = ledger_of.format(tmp_path)
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2]}, fixed=["pause=1"])
    ledger = planned(spec, url)
    process = worker(tmp_path, "--storage", url)
    wait_for(lambda: _running(ledger))
    words = ("studies", "forget", "s", "--yes", "--force", "--runs", str(tmp_path))
    assert main_status(*words, "--storage", url) == 0
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert "study=s: was forgotten" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not (tmp_path / "s" / "study.json").exists()


def test_a_study_is_not_forgotten_while_a_worker_of_another_machine_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]})
    ledger = planned(spec)
    plan_alone(spec, url_of(spec), Display())
    ledger.identity = {"machine": "elsewhere/0", "pid": 7, "started": ""}
    claim = ledger.claim()
    assert claim is not None
    monkeypatch.setattr("img2gps.cli.commands.studies.WATCH_S", 0.1)
    monkeypatch.setattr("img2gps.cli.commands.studies.RENEWED_S", 3.0)
    beating = threading.Timer(0.5, ledger.beat, [claim.trial._trial_id])
    beating.start()
    words = ("studies", "forget", "s", "--yes", "--runs", str(tmp_path))
    assert main_status(*words) == 2
    beating.join()
    assert "an engine works on it (process 7 on elsewhere)" in capsys.readouterr().err
    assert main_status(*words) == 0  # nothing has been heard of it since


def test_a_worker_uses_the_folders_of_its_own_machine(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    there, here = tmp_path / "there", tmp_path / "here"
    spec = fake_spec(there, {"lr": [0.1, 0.2]})
    planned(replace(spec, config_dir="/gone/conf"), url)
    shutil.move(there, tmp_path / "another machine")
    process = worker(here, "--storage", url)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert len(executions(replace(spec, root=str(here)))) == 2
    assert not there.exists()


def test_a_ledger_in_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    planned(fake_spec(tmp_path, {"lr": [0.1]}), url)
    process = worker(tmp_path, env={**os.environ, "IMG2GPS_LEDGER": url})
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["s"], "s: no ledger at"),
        (["s", "--storage", "sqlite:///{}/other.sqlite"], "s: no such study in the ledger"),
        (["s", "--minutes", "0"], "0: give minutes, above 0"),
        (["s", "--minutes", "nan"], "nan: give minutes, above 0"),
    ],
)
def test_what_no_worker_can_do_is_said_in_a_line(
    tmp_path: Path, words: list[str], message: str
) -> None:
    command = [sys.executable, "-m", "img2gps", "worker", "--runs", str(tmp_path)]
    words = [word.format(tmp_path) for word in words]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_worker_refuses_a_ledger_of_other_photos(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]})
    ledger = planned(spec)
    changed = dict(ledger.spec.identity)
    changed["identity"] = {**changed["identity"], "photos": "of yesterday"}
    ledger.save(replace(ledger.spec, identity=changed))
    process = worker(tmp_path)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "started with photos=of yesterday (now absent)" in said


def test_another_commit_is_said_and_no_reason_to_refuse(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]})
    ledger = planned(spec)
    ledger.save(replace(ledger.spec, commit="0123456789abcdef"))
    process = worker(tmp_path)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "study=s was begun by commit 0123456789 of this code, and this is " in said


def test_a_worker_that_hangs_ends_and_gives_its_run_back(tmp_path: Path) -> None:
    limits = replace(QUICK, max_silence_s=4.0)
    spec = fake_spec(tmp_path, {"behave": ["hang"]}, limits=limits)
    ledger = planned(spec)
    process = worker(tmp_path)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == HUNG
    assert "made no progress" in said
    ledger.refresh()
    (entry,) = ledger.entries()
    assert (entry.state, entry.attempts) == (RunState.queued, 1)


def test_stop_ends_every_worker_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3]}, fixed=["pause=60"], limits=Limits())
    ledger = planned(spec)
    elsewhere = Ledger(open_storage(url_of(spec)), "s")
    elsewhere.identity = {"machine": "elsewhere/0", "pid": 7, "started": ""}
    assert elsewhere.claim() is not None
    both = [worker(tmp_path) for _ in range(2)]
    try:
        wait_for(lambda: _running(ledger) == 3)
        assert main_status("studies", "stop", "s", "--runs", str(tmp_path)) == 0
        codes = [process.wait(10) for process in both]
    finally:
        for process in both:
            process.kill()
    assert codes == [128 + signal.SIGTERM] * 2
    said = capsys.readouterr().out
    assert "stopped on this machine; process 7 on elsewhere goes on with it: stop it there" in said


def test_stop_ends_what_works_on_a_study_and_its_run_goes_on_later(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=0.5", "epochs=6"])
    planned(spec)
    first = worker(tmp_path)
    wait_for(lambda: list(tmp_path.glob("s/*/progress.txt")))
    for said in ("stopped; the runs under way go on from their last epoch", "nothing works on it"):
        with pytest.raises(SystemExit, match="0"):
            main(["studies", "stop", "s", "--runs", str(tmp_path)])
        assert f"s: {said}" in capfd.readouterr().out
    assert first.wait(timeout=60) == 128 + signal.SIGTERM
    assert [cell["state"] for cell in cells_of(spec)] == ["queued"]
    worker(tmp_path).communicate(timeout=60)
    (progress,) = tmp_path.glob("s/*/progress.txt")
    assert progress.read_text().split() == ["1", "2", "3", "4", "5", "6"]
