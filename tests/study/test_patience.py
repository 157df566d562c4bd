"""A storage that is away for a while stops nobody; one that stays away ends the study in a line."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from img2gps.core.errors import BadInput
from img2gps.study import bulk, storage
from img2gps.study.engine import run_study
from img2gps.study.ledger import Ledger
from img2gps.study.patience import Unreachable, is_full
from img2gps.study.planning import plan_study
from tests.helpers import postgres
from tests.helpers.studies import QUICK, cells_of, executions, fake_spec, url_of, wait_for

pytestmark = pytest.mark.usefixtures("fake_runs")
AWAY = OperationalError("SELECT", {}, Exception("server closed the connection"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    spec = fake_spec(tmp_path, {"lr": [0.1]})
    (tmp_path / spec.name).mkdir()
    made = Ledger.create(storage.open_storage(url_of(spec)), spec)
    plan_study(made, spec)
    return made


def broken(ledger: Ledger, errors: Iterator[Exception | None]) -> None:
    """Have the ledger's storage fail in reading, as `errors` says."""
    whole = ledger._storage.get_all_trials

    def read(*args: object, **options: object) -> object:
        if (error := next(errors)) is not None:
            raise error
        return whole(*args, **options)  # type: ignore[arg-type]  # passed on

    ledger._storage.get_all_trials = ledger.patience.patient(read)  # type: ignore[method-assign]


@pytest.mark.parametrize("answer_is_lost", [False, True])
def test_runs_that_were_written_before_the_server_went_away_are_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer_is_lost: bool
) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4, 0.5]})
    (tmp_path / spec.name).mkdir()
    ledger = Ledger.create(storage.open_storage(f"sqlite:///{tmp_path}/ledger.sqlite"), spec)
    write, calls = bulk._add, itertools.count(1)

    def once_away(*args: Any) -> None:
        second = next(calls) == 2
        if second and not answer_is_lost:
            raise AWAY
        write(*args)
        if second:
            args[0].commit()
            raise AWAY

    monkeypatch.setattr(bulk, "AT_ONCE", 2)
    monkeypatch.setattr(bulk, "_add", once_away)
    monkeypatch.setattr("img2gps.study.patience.time.sleep", lambda _: None)
    plan_study(ledger, spec)
    assert next(calls) > 3
    assert len(ledger.study.get_trials()) == len(ledger.keys()) == 5


def test_a_call_is_tried_again_until_the_server_is_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = itertools.count(step=2.0)
    monkeypatch.setattr("img2gps.study.patience.time.monotonic", lambda: next(now))
    monkeypatch.setattr("img2gps.study.patience.time.sleep", lambda _: None)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    broken(ledger, itertools.chain([AWAY] * 8, [full], itertools.repeat(None)))
    with caplog.at_level(logging.WARNING):
        ledger.refresh()
    assert len(ledger.entries()) == 1
    (line,) = (record.message for record in caplog.records)
    assert "server closed the connection" in line


def test_patience_ends_and_is_not_spent_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.patience.patience_s = 0.5
    broken(ledger, itertools.repeat(AWAY))
    with pytest.raises(Unreachable, match="server closed"):
        ledger.refresh()
    pauses: list[float] = []
    monkeypatch.setattr("img2gps.study.patience.time.sleep", pauses.append)
    with pytest.raises(Unreachable):
        ledger.refresh()
    assert pauses == []


def test_who_is_asked_to_stop_does_not_wait(ledger: Ledger) -> None:
    ledger.patience.hurried = lambda: True
    broken(ledger, itertools.repeat(AWAY))
    with pytest.raises(Unreachable):
        ledger.refresh()


def test_an_error_that_does_not_pass_is_raised_at_once(ledger: Ledger) -> None:
    broken(ledger, itertools.repeat(KeyError("no such study")))
    with pytest.raises(KeyError):
        ledger.refresh()


def test_a_study_whose_ledger_stays_away_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(QUICK, storage_patience_s=0.3)
    spec = fake_spec(tmp_path, {"lr": [0.1]}, limits=limits)

    def away(self: Ledger) -> None:
        def fail() -> None:
            raise AWAY

        self.patience.patient(fail)()

    monkeypatch.setattr(Ledger, "busy", away)
    with pytest.raises(BadInput, match=r"could not be reached for 0.3 s \(server closed"):
        run_study(spec, url_of(spec), workers=1)


def test_who_finds_no_connection_free_waits_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2gps.study.patience.time.sleep", lambda _: None)
    full = OperationalError("connect", {}, Exception("FATAL:  sorry, too many clients already"))
    errors = itertools.chain([full] * 8, itertools.repeat(None))
    whole = optuna.storages.RDBStorage

    def opened(*args: object, **options: object) -> object:
        if (error := next(errors)) is not None:
            raise error
        return whole(*args, **options)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(storage, "RDBStorage", opened)
    assert storage.open_storage(f"sqlite:///{tmp_path}/l.sqlite").get_all_studies() == []
    errors = itertools.chain(itertools.repeat(full))
    now = itertools.count(step=50.0)
    monkeypatch.setattr("img2gps.study.patience.time.monotonic", lambda: next(now))
    with pytest.raises(BadInput, match=r"takes no more connections, also after 300 s \(FATAL"):
        storage.open_storage(f"sqlite:///{tmp_path}/l.sqlite")


def test_processes_that_make_the_tables_at_once_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2gps.study.storage.time.sleep", lambda _: None)
    errors = iter([IntegrityError("CREATE TABLE studies", {}, Exception("duplicate key"))] * 4)
    whole = optuna.storages.RDBStorage

    def opened(*args: object, **options: object) -> object:
        if (error := next(errors, None)) is not None:
            raise error
        return whole(*args, **options)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr("img2gps.study.storage.RDBStorage", opened)
    storage.open_storage(f"sqlite:///{tmp_path}/ledger.sqlite")


def test_a_full_disk_is_recognised_behind_other_errors() -> None:
    error = RuntimeError("unexpected pos")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_full(error)
    assert not is_full(OSError(errno.EACCES, "Permission denied"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_study_on_a_full_disk_goes_on_when_there_is_room(small_disk: Path) -> None:
    limits = replace(QUICK, max_failures=1)
    spec = fake_spec(small_disk, {"lr": [0.1, 0.2]}, fixed=("pause=0.3",), limits=limits)
    filler = small_disk / "filler"

    def fill() -> None:
        wait_for(lambda: list(small_disk.glob("*/*/progress.txt")))
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert shutil.disk_usage(small_disk).free == 0
        time.sleep(4)
        filler.unlink()

    thread = threading.Thread(target=fill)
    thread.start()
    status = run_study(spec, url_of(spec), workers=1)
    thread.join()
    assert status == 0
    assert [(cell["state"], cell["attempts"]) for cell in cells_of(spec)] == [("finished", 1)] * 2


@pytest.fixture
def server() -> Iterator[str]:
    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    with postgres.server() as address:
        yield address


@pytest.mark.server
def test_engines_that_start_at_once_on_an_empty_server_all_start(
    tmp_path: Path, server: str
) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            storage.open_storage(server)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.server
def test_a_restart_of_the_server_loses_nothing(tmp_path: Path, server: str) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4]}, fixed=("pause=0.5",))

    def restart() -> None:
        wait_for(lambda: executions(spec))
        postgres.restart(server, seconds=3)

    thread = threading.Thread(target=restart)
    thread.start()
    status = run_study(spec, server, workers=2)
    thread.join()
    assert status == 0
    assert sorted(executions(spec)) == sorted(cell["run_id"] for cell in cells_of(spec))
    assert {cell["attempts"] for cell in cells_of(spec)} == {1}
