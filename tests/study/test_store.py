"""A study on machines that share nothing but its ledger and a store."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_root
from img2gps.core.process import identity
from img2gps.report.build import load
from img2gps.runs import fetching
from img2gps.runs.records import StudyRecord, read_study, write_study
from img2gps.runs.states import RunState
from img2gps.runs.store import Store
from img2gps.study.display import Display
from img2gps.study.engine import plan_alone, run_study
from img2gps.study.ledger import Ledger
from img2gps.study.planning import same_study
from img2gps.study.process import Stop
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Spec
from img2gps.study.storage import default_url, open_storage
from img2gps.study.worker import Worker
from tests.helpers import object_store
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.fake_study import make_study
from tests.helpers.studies import executions, fake_spec, wait_for

pytestmark = pytest.mark.usefixtures("fake_runs")

AXES: dict[str, list[Any]] = {"lr": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[object_store.ObjectStore]:
    found = object_store.opened(monkeypatch)
    yield found
    found.stop()


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.sqlite"


def spec_on(url: str, **changes: Any) -> Spec:
    """A study in a store, as the machine sees it that plans it."""
    return fake_spec(runs_root(url, "runs.root"), AXES, store=url, **changes)


def planned(url: str, ledger: str, **changes: Any) -> Spec:
    """Plan a study that nobody works on yet."""
    spec = spec_on(url, **changes)
    plan_alone(spec, ledger, Display())
    return spec


def worker(machine: Path, ledger: str, *words: str) -> subprocess.Popen[str]:
    """Start a worker on a machine of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "img2gps", "worker", "s", "--storage", ledger, *words],
        env={**os.environ, "IMG2GPS_CACHE": str(machine)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Store, Path]:
    """Return the folder of a study, an empty store, and a reader's copy of what is in it."""
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "reader"))
    plain, url = tmp_path / "plain", f"file://{tmp_path}/shared"
    make_study(plain)
    return plain, Store(url), runs_root(url, "runs.root")


def worked_on(plain: Path) -> tuple[StudyRecord, StudyRecord]:
    """Return a study's record at the begin and at the end of the work of a living engine."""
    ended = replace(read_study(plain, "table1"), engine=identity())
    return replace(ended, runs=[replace(r, state=RunState.queued) for r in ended.runs]), ended


def send_record(plain: Path, study: StudyRecord, store: Store) -> None:
    """Write a record into a folder and send it to a store."""
    write_study(plain, study)
    store.put(plain / "table1" / "study.json", "table1/study.json")


def figures(root: str, name: str = "s") -> dict[str, tuple[Any, ...]]:
    """What the record of a study says of its runs."""
    runs = read_study(root, name).runs
    return {run.cell: (run.run_id, run.state, run.value, run.epochs) for run in runs}


def test_killed_on_one_machine_a_study_ends_on_another_like_a_serial_one(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, url = fake_spec(tmp_path / "alone", AXES, seeds=(0, 1)), f"file://{tmp_path}/shared"
    assert run_study(alone, default_url(alone.root, alone.name), workers=0) == 0
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "third"))
    spec = planned(url, ledger, seeds=(0, 1), fixed=("pause=0.2",))
    store = Store(url)
    first = worker(tmp_path / "first", ledger)
    wait_for(lambda: any(name.endswith("progress.tar") for name in store.listing()))
    second = worker(tmp_path / "second", ledger)
    wait_for(lambda: len(finished(store)) > 2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert object_store.SECRET not in said
    assert len(finished(store)) == 12

    copies = [next((tmp_path / name / "stores").iterdir()) for name in ("first", "second")]
    done = [run for copy in copies for run in executions(replace(spec, root=str(copy)))]
    assert set(Counter(done).values()) == {1}
    assert len(done) == 12
    assert main_status("studies", "show", "s", "--runs", url) == 0
    assert figures(spec.root) == figures(alone.root)
    assert list(store.listing("s")).count("s/study.json") == 1


def finished(store: Store) -> list[str]:
    """The runs that the store has whole."""
    return [name for name in store.listing() if name.endswith("/result.json")]


def main_status(*words: str) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(str(ended.value.code))


def test_a_store_that_goes_away_for_a_while_loses_nothing(
    s3: object_store.ObjectStore, ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "planner"))
    planned(s3.url, ledger, fixed=("pause=0.3",))
    process = worker(tmp_path / "first", ledger)
    wait_for(lambda: any(name.endswith("progress.tar") for name in s3.names()))
    s3.stop()
    time.sleep(3)
    s3.start()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert len([name for name in s3.names() if name.endswith("/result.json")]) == 6
    assert not [name for name in s3.names() if name.endswith("progress.tar")]


def test_a_study_in_a_store_needs_a_ledger_that_machines_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path))
    root = runs_root(f"file://{tmp_path}/shared", "runs.root")
    with pytest.raises(BadInput, match=r"runs.root=file://.*/shared: keeps no ledger"):
        default_url(root, "s")


def test_a_worker_takes_the_store_from_the_ledger_and_refuses_another(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "here"))
    url = f"file://{tmp_path}/shared"
    planned(url, ledger)
    for given in ("runs", f"file://{tmp_path}/elsewhere"):
        assert main_status("worker", "s", "--storage", ledger, "--runs", given) == 2
        said = capsys.readouterr().err
        assert f"--runs {given}: s keeps its runs in {url}; leave --runs out" in said


def test_a_study_stays_where_it_began(tmp_path: Path) -> None:
    before = fake_spec(tmp_path, AXES, store="s3://bucket/runs")
    with pytest.raises(BadInput, match=r"keeps its runs in s3://bucket/runs \(now a folder"):
        same_study(before, replace(before, store=""))


def test_a_store_that_refuses_ends_a_worker_before_it_claims_a_run(
    s3: object_store.ObjectStore, ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "planner"))
    planned(s3.url, ledger)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    process = worker(tmp_path / "first", ledger)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"img2gps: error: runs.root={s3.url}: Unable to locate credentials" in said


def test_commands_read_a_study_out_of_a_store_and_add_the_winner(
    tmp_path: Path, s3: object_store.ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, url = tmp_path / "plain", s3.url
    store = Store(url)
    make_study(plain)
    for path in sorted(path for path in plain.rglob("*") if path.is_file()):
        store.put(path, path.relative_to(plain).as_posix())
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "reader"))
    out = tmp_path / "page"
    assert main_status("report", "table1", "--runs", url, "--out", str(out)) == 0
    assert list(out.rglob("*.csv"))
    copy = runs_root(url, "runs.root")
    read, made = (load("table1", [root]).rankings[0] for root in (copy, plain))
    assert read.winner.cell == made.winner.cell
    assert read.corrected.corrected == made.corrected.corrected
    assert (read.errors.error_m == made.errors.error_m).all()

    figures_of = tmp_path / "replayed.json"
    assert main_status("replay", "table1", "--runs", url, "--out", str(figures_of)) == 0
    assert json.loads(figures_of.read_text())["winner"] == made.winner.cell

    assert main_status("studies", "--runs", url) == 0
    assert main_status("select", "table1", "--runs", url) == 0
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "another"))
    assert main_status("select", "table1", "--runs", url) == 0
    winners = [path.read_text() for path in tmp_path.glob("*/stores/*/table1/winner.json")]
    store.get("table1/winner.json", tmp_path / "winner")
    assert [(tmp_path / "winner").read_text()] * 2 == winners


def test_a_race_is_decided_on_runs_that_another_machine_has_made(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = {"lr": [0.5, 0.52, 0.9, 0.95]}
    settings: dict[str, Any] = {"kind": "race", "sampler": "race", "fixed": ("photos=60",)}
    settings["seeds"] = (0, 1, 2)
    alone, url = fake_spec(tmp_path / "alone", axes, **settings), f"file://{tmp_path}/shared"
    assert run_study(alone, default_url(alone.root, alone.name), workers=0) == 0

    def spec() -> Spec:
        return fake_spec(runs_root(url, "runs.root"), axes, store=url, **settings)

    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "first"))
    plan_alone(spec(), ledger, Display())
    made = Ledger(open_storage(ledger), "s")
    Worker(made, FakeRunner(spec()), Stop()).work()  # the first run of each cell
    assert not made.looks
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "second"))
    assert run_study(spec(), ledger, workers=0) == 0
    assert len(executions(spec())) < len(read_study(alone.root, "s").runs)
    races = [read_study(root, "s").race for root in (alone.root, spec().root)]
    looks = [[replace(look, at="") for look in race.looks] for race in races if race]
    assert looks[0] == looks[1]
    assert looks[0]


def test_a_search_begins_with_runs_that_another_machine_has_made(
    tmp_path: Path,
    ledger: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"file://{tmp_path}/shared"
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "first"))
    assert run_study(spec_on(url, name="old"), ledger, workers=0) == 0
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "second"))
    drawn = Space((Axis("lr", low=0.1, high=0.3),))
    settings: dict[str, Any] = {"kind": "tpe", "sampler": "tpe", "n_trials": 2, "space": drawn}
    assert run_study(spec_on(url, warm_start=("old",), **settings), ledger, workers=0) == 0
    assert "the sampler begins with 3 runs of 3 cells of old" in capsys.readouterr().out


def test_a_study_that_others_work_on_is_followed_to_its_end(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching, "AGAIN_S", 0.5)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "planner"))
    url = f"file://{tmp_path}/shared"
    planned(url, ledger, fixed=("pause=0.3",))
    process = worker(tmp_path / "first", ledger)
    record = Path(url.removeprefix("file://"), "s", "study.json")
    wait_for(lambda: '"running"' in record.read_text())
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "reader"))
    assert main_status("studies", "show", "s", "--watch", "--runs", url) == 0
    assert "6 of 6" in capsys.readouterr().out
    assert process.wait(120) == 0


def test_a_page_that_follows_a_study_gets_what_other_machines_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "AGAIN_S", 0.1)
    plain, store, root = reader(tmp_path, monkeypatch)
    store.put(plain / "table1" / "study.json", "table1/study.json")
    whole = read_study(plain, "table1")
    begun = replace(whole, runs=[replace(run, state=RunState.queued) for run in whole.runs])
    write_study(tmp_path / "begun", begun)
    store.put(tmp_path / "begun" / "table1" / "study.json", "table1/study.json")
    fetching.fetch(root, "table1")
    with fetching.fetched_again(root, "table1"):
        run = whole.runs[0].folder(plain)
        for path in sorted(run.iterdir(), key=lambda path: path.name == "result.json"):
            store.put(path, path.relative_to(plain).as_posix())
        store.put(plain / "table1" / "study.json", "table1/study.json")
        copied = root / run.relative_to(plain)
        wait_for(lambda: (copied / "result.json").is_file())
        assert read_study(root, "table1") == whole
        assert (copied / "history.csv").read_bytes() == (run / "history.csv").read_bytes()


def test_a_reader_follows_a_worker_of_this_machine_that_writes_another_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the copy stayed as it was until the worker had ended."""
    plain, store, root = reader(tmp_path, monkeypatch)
    begun, ended = worked_on(plain)
    for study in (begun, ended):
        send_record(plain, study, store)
        fetching.fetch(root, "table1", runs=False)
        assert read_study(root, "table1") == study
    write_study(root, begun)  # from now on an engine writes this copy
    send_record(plain, replace(ended, question="another"), store)
    fetching.fetch(root, "table1", runs=False)
    assert read_study(root, "table1") == begun


def test_following_a_study_never_replaces_the_record_that_an_engine_writes_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "AGAIN_S", 0.05)
    plain, store, root = reader(tmp_path, monkeypatch)
    begun, ended = worked_on(plain)
    send_record(plain, begun, store)
    fetching.fetch(root, "table1", runs=False)
    write_study(root, begun)  # from now on an engine writes this copy
    count, counts = fetching._ended, threading.Semaphore(0)

    def counted(*given: Any) -> int:
        counts.release()
        return count(*given)

    monkeypatch.setattr(fetching, "_ended", counted)
    with fetching.fetched_again(root, "table1"):
        assert counts.acquire(timeout=20)  # it knows how many runs had ended
        write_study(root, ended)  # which the store does not know yet
        for _ in range(10):
            assert counts.acquire(timeout=20)
        assert read_study(root, "table1") == ended


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["final", "s"], "final: does not work on file://"),
        (["sync", "s", "--to", "mlflow"], "sync --to mlflow: does not work on file://"),
    ],
)
def test_a_command_that_does_not_work_on_a_store_says_so_with_the_remedy(
    words: list[str], said: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"file://{workdir}/shared"
    assert main_status(*words, "--runs", url) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]
    remedy = f"copy it by `cp -r {workdir}/shared/. runs`, and give --runs runs"
    assert remedy in lines[-1]


def test_the_copy_that_the_remedy_makes_is_a_plain_folder(
    workdir: Path, ledger: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(workdir / "maker"))
    url = f"file://{workdir}/a shared folder"
    planned(url, ledger)
    (workdir / "runs").mkdir()
    assert main_status("sync", "s", "--to", "mlflow", "--runs", url) == 2
    found = re.search("copy it by `(.+)`", capsys.readouterr().err)
    assert found is not None
    subprocess.run(shlex.split(found[1]), check=True)
    assert (workdir / "runs" / "s" / "study.json").is_file()
    assert Store.of(workdir / "runs") is None


def test_a_store_without_the_study_is_named_by_its_url(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(workdir / "here"))
    url = f"file://{workdir}/empty"
    assert main_status("studies", "--runs", url) == 0
    assert f"no studies below {url}\n" in capsys.readouterr().out
    assert main_status("replay", "s", "--runs", url) == 2
    assert main_status("studies", "show", "s", "--runs", url) == 2
    assert f"s: no such study below {url}; studies there: none" in capsys.readouterr().err


def test_failed_runs_are_queued_again_from_another_machine(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "maker"))
    url = f"file://{tmp_path}/shared"
    assert run_study(spec_on(url, fixed=("behave=bad_input",)), ledger, workers=0) == 1
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "another"))
    assert main_status("studies", "retry", "s", "--runs", url, "--storage", ledger) == 0
    assert "s: 6 failed runs are queued again" in capsys.readouterr().out
    one = ("studies", "forget", "s", "lr=0.1", "--runs", url, "--storage", ledger)
    assert main_status(*one) == 0
    assert "s: 1 run forgotten; the study's command plans it anew" in capsys.readouterr().out
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "third"))
    assert main_status("studies", "show", "s", "--runs", url) == 0
    states = {run.state for run in read_study(runs_root(url, "runs.root"), "s").runs}
    assert states == {"queued"}


def forget(url: str, ledger: str) -> int:
    return main_status("studies", "forget", "s", "--yes", "--runs", url, "--storage", ledger)


def test_a_study_is_forgotten_in_a_store_without_its_runs_and_other_studies(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "maker"))
    shared = tmp_path / "shared"
    for name in ("s", "s2"):
        assert run_study(spec_on(f"file://{shared}", name=name), ledger, workers=0) == 0
    (shared / "s" / "winner.json").write_text("{}")
    before = {path for path in shared.rglob("*") if path.is_file()}
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "another"))
    assert forget(f"file://{shared}", ledger) == 0
    after = {path for path in shared.rglob("*") if path.is_file()}
    assert before - after == {shared / "s" / "study.json"}
    with pytest.raises(KeyError):
        Ledger(open_storage(ledger), "s")
    Ledger(open_storage(ledger), "s2")


def test_a_study_that_another_machine_works_on_is_not_forgotten_in_a_store(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching, "AGAIN_S", 0.1)
    monkeypatch.setattr("img2gps.cli.commands.studies.WATCH_S", 0.1)
    url, plain = f"file://{tmp_path}/shared", tmp_path / "plain"
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "maker"))
    assert run_study(spec_on(url), ledger, workers=0) == 0
    record = read_study(runs_root(url, "runs.root"), "s")
    engine = {"pid": 1, "machine": "elsewhere/0", "started": 0}
    written = Store(url)

    def renew(number: int) -> None:
        write_study(
            plain, replace(record, engine=engine, updated_at=f"2030-01-01T00:00:{number:02}")
        )
        written.put(plain / "s" / "study.json", "s/study.json")

    renew(0)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "another"))
    renewal = threading.Timer(3.0, renew, [1])
    renewal.start()
    assert forget(url, ledger) == 2
    renewal.join()
    assert "an engine works on it (process 1 on elsewhere)" in capsys.readouterr().err
    Ledger(open_storage(ledger), "s")


def test_forgetting_while_the_store_is_away_changes_nothing_and_can_be_repeated(
    s3: object_store.ObjectStore,
    tmp_path: Path,
    ledger: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fetching, "READING_PATIENCE_S", 1.0)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "maker"))
    assert run_study(spec_on(s3.url), ledger, workers=0) == 0
    store = Store(s3.url)
    listed = store.listing()

    def away(self: Store, names: object) -> None:
        raise ConnectionError("it went away")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "remove", away)
        assert forget(s3.url, ledger) == 2
    assert "cannot be reached" in capsys.readouterr().err.splitlines()[-1]
    assert store.listing() == listed
    Ledger(open_storage(ledger), "s")
    assert forget(s3.url, ledger) == 0
    assert listed.keys() - store.listing().keys() == {"s/study.json"}
