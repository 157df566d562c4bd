"""Runs in a store: another machine goes on with them, and an absence of the store loses nothing."""

from __future__ import annotations

import errno
import logging
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_root
from img2gps.core.stores import MARK, as_typed, url_of
from img2gps.runs import keeping
from img2gps.runs import store as stores
from img2gps.runs.fetching import Finder, fetch, fetch_weights, noted
from img2gps.runs.folder import CHECKPOINT, Locked, RunFolder, open_folder
from img2gps.runs.keeping import Keeper, Sender, kept_in_store, pack
from img2gps.runs.store import Store, StoreAway, patiently
from tests.helpers import object_store
from tests.helpers.studies import wait_for

RUN = "table1/3f9c2a81d0"
FINISHED = '{"schema": 1, "run_id": "3f9c2a81d0", "study": "table1", "state": "finished"}'
FAILED = FINISHED.replace("finished", "failed")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[object_store.ObjectStore]:
    found = object_store.opened(monkeypatch)
    yield found
    found.stop()


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3").url)
    return f"file://{tmp_path}/shared"


@pytest.fixture
def machines(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The local copies of one store on two machines."""
    found = []
    for name in ("first", "second"):
        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / name))
        found.append(runs_root(url, "runs.root"))
    return found


def epoch(folder: RunFolder, number: int) -> None:
    """Write what an epoch leaves."""
    folder.history.append({"epoch": number, "val/rmse_m": 100.0 / number})
    partial = folder.path / ".last.ckpt.partial"
    partial.write_bytes(b"weights %d" % number)
    partial.replace(folder.checkpoint)


@contextmanager
def training(root: Path) -> Iterator[tuple[RunFolder, Keeper]]:
    """Open the run on a machine as `train.run` does."""
    with open_folder(root / RUN) as folder, kept_in_store(folder) as keeper:
        yield folder, keeper


def end(folder: RunFolder, result: str = FINISHED) -> None:
    """Write what the end of a run leaves."""
    (folder.path / "predictions.csv").write_text("photo\n")
    (folder.path / "result.json").write_text(result)


def sent(root: Path, name: str = RUN) -> bool:
    """Whether the store has a checkpoint of the run."""
    found = Store.of(root)
    assert found is not None
    return f"{name}/progress.tar" in found.listing(name)


def test_a_url_stands_for_a_folder_that_knows_its_store(machines: list[Path], url: str) -> None:
    first, second = machines
    assert first != second
    assert url_of(first) == url_of(second) == url
    assert as_typed(first) == url
    assert as_typed("runs") == "runs"
    assert runs_root(f"{url}/", "runs.root") == second
    assert Store.of("runs") is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s3://", "give one such as s3://BUCKET/FOLDER"),
        ("://bucket", "give one such as s3://BUCKET/FOLDER"),
        ("simplecache::s3://bucket", "give one such as s3://BUCKET/FOLDER"),
        ("s3://key:s3cr3t@bucket/runs", "must hold no key, password or option"),
        ("s3://key:s3cr3t/5@bucket/runs", "must hold no key, password or option"),
        ("s3://bucket/runs?secret=s3cr3t", "must hold no key, password or option"),
        ("file://runs", "the path must be absolute"),
        ("s3://bucket/../other", "give the whole path"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(
    given: str, said: str, workdir: Path
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        runs_root(given, "runs.root")
    assert "s3cr3t" not in str(refused.value)


def test_another_machine_goes_on_from_the_last_checkpoint(machines: list[Path]) -> None:
    first, second = machines
    with suppress(KeyboardInterrupt), training(first) as (folder, keeper):
        epoch(folder, 1)
        keeper.checkpointed()
        wait_for(lambda: sent(first))
        epoch(folder, 2)  # and it is killed before this one is sent
        raise KeyboardInterrupt
    with open_folder(second / RUN) as folder, kept_in_store(folder):
        assert folder.checkpoint.read_bytes() == b"weights 1"
        assert [row["epoch"] for row in folder.history.rows()] == [1]
        epoch(folder, 2)
        end(folder)
    with open_folder(first / RUN) as folder, kept_in_store(folder):
        assert (folder.path / "result.json").read_text() == FINISHED
        assert [row["epoch"] for row in folder.history.rows()] == [1, 2]


def test_a_machine_goes_on_with_what_it_could_not_send(machines: list[Path]) -> None:
    with suppress(KeyboardInterrupt), training(machines[0]) as (folder, keeper):
        epoch(folder, 1)
        keeper.checkpointed()
        wait_for(lambda: noted(folder.path))
        epoch(folder, 2)
        raise KeyboardInterrupt
    with open_folder(machines[0] / RUN) as folder, kept_in_store(folder):
        assert folder.checkpoint.read_bytes() == b"weights 2"


def test_a_run_that_has_ended_is_the_files_of_its_folder(
    machines: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "img2gps")
    store = Store.of(machines[0])
    assert store is not None
    with open_folder(machines[0] / RUN) as folder, kept_in_store(folder) as keeper:
        epoch(folder, 1)
        (folder.path / "tensorboard").mkdir()
        (folder.path / "tensorboard" / "events").write_text("curves")
        keeper.checkpointed()
        wait_for(lambda: sent(machines[0]))
        end(folder)
    names = ("history.csv", "last.ckpt", "predictions.csv", "result.json", "tensorboard/events")
    assert sorted(store.listing(RUN)) == [f"{RUN}/{name}" for name in names]
    assert f"copied to {store.url}/{RUN}" in caplog.text
    caplog.clear()
    with open_folder(machines[0] / RUN) as folder, kept_in_store(folder):
        pass
    assert "copied to" not in caplog.text


def test_a_run_that_is_repeated_leaves_nothing_of_the_one_before(machines: list[Path]) -> None:
    store = Store.of(machines[0])
    assert store is not None
    with open_folder(machines[0] / RUN) as folder, kept_in_store(folder):
        epoch(folder, 1)
        end(folder)
    with open_folder(machines[1] / RUN) as folder, kept_in_store(folder, anew=True):
        assert store.listing(RUN) == {}
        assert not folder.checkpoint.exists()


def test_the_first_machine_that_finishes_a_run_decides_its_files(machines: list[Path]) -> None:
    with open_folder(machines[0] / RUN) as slow, kept_in_store(slow):
        with open_folder(machines[1] / RUN) as folder, kept_in_store(folder):
            end(folder)
        (slow.path / "history.csv").write_text("other")
        end(slow)
    store = Store.of(machines[0])
    assert store is not None
    assert f"{RUN}/history.csv" not in store.listing()


def test_a_failed_run_is_sent_and_tried_again_from_its_checkpoint(machines: list[Path]) -> None:
    with suppress(ZeroDivisionError), training(machines[0]) as (folder, _):
        epoch(folder, 1)
        end(folder, FAILED)
        raise ZeroDivisionError
    with open_folder(machines[1] / RUN) as folder, kept_in_store(folder):
        assert folder.checkpoint.read_bytes() == b"weights 1"
        (folder.path / "result.json").unlink()
        end(folder)
    store = Store.of(machines[0])
    assert store is not None
    store.get(f"{RUN}/result.json", machines[0] / "fetched")
    assert (machines[0] / "fetched").read_text() == FINISHED


def test_a_packed_run_has_the_history_of_its_checkpoint(tmp_path: Path) -> None:
    with open_folder(tmp_path / RUN) as folder:
        ended = threading.Event()

        def work() -> None:
            for number in range(1, 400):
                epoch(folder, number)
            ended.set()

        worker = threading.Thread(target=work)
        worker.start()
        while not ended.is_set():
            pack(folder, tmp_path / "packed")
            with tarfile.open(tmp_path / "packed") as packed:
                if CHECKPOINT not in packed.getnames():
                    continue
                weights = packed.extractfile(CHECKPOINT)
                history = packed.extractfile("history.csv")
                assert weights is not None
                assert history is not None
                epochs = int(weights.read().split()[1])
                assert len(history.read().splitlines()) > epochs
        worker.join()


def test_a_command_fetches_what_has_ended_without_weights_and_with_one_listing(
    machines: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machines
    for number in range(3):
        with open_folder(first / f"table1/run{number}") as folder, kept_in_store(folder):
            epoch(folder, 1)
            if number:
                end(folder)
    store = Store.of(first)
    assert store is not None
    study = first / "table1" / "study.json"
    study.write_text('{"study": "table1", "cells": []}')
    store.put(study, "table1/study.json")
    listings = []
    listing = Store.listing
    monkeypatch.setattr(
        Store,
        "listing",
        lambda *asked: listings.append(asked) or listing(*asked),  # type: ignore[func-returns-value]
    )
    for _ in range(2):
        fetch(second)
    assert len(listings) == 2
    found = sorted(path.relative_to(second).as_posix() for path in second.glob("*/*/[!.]*"))
    files = ("history.csv", "predictions.csv", "result.json")
    assert found == [f"table1/run{number}/{name}" for number in (1, 2) for name in files]
    assert (second / "table1" / "study.json").read_text() == study.read_text()
    fetch_weights(second / "table1/run1")
    assert (second / "table1/run1" / CHECKPOINT).read_bytes() == b"weights 1"


def test_what_another_machine_adds_to_a_run_is_fetched(machines: list[Path]) -> None:
    first, second = machines
    with open_folder(first / RUN) as folder, kept_in_store(folder):
        end(folder)
    Finder(second).fetch(["3f9c2a81d0", "another"])
    store = Store.of(first)
    assert store is not None
    store.put(first / RUN / "predictions.csv", f"{RUN}/predictions_test.csv")
    with open_folder(second / RUN), pytest.raises(Locked), open_folder(second / RUN):
        pass
    fetch(second)
    assert (second / RUN / "predictions_test.csv").is_file()


def test_a_bucket_that_is_missing_is_named_at_once(s3: object_store.ObjectStore) -> None:
    store = Store("s3://no-such-bucket/runs")
    with pytest.raises(StoreAway, match=r"no-such-bucket/runs: .*does not exist; check the name"):
        patiently(store.listing, store, first=True)


@pytest.mark.parametrize("name", ["a file", "proc/below"])
def test_a_store_that_cannot_be_written_is_named_before_a_run_begins(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a file").touch()
    (tmp_path / "proc").symlink_to("/proc")
    root = runs_root(f"file://{tmp_path}/{name}", "runs.root")
    begun = time.monotonic()
    with (
        pytest.raises(
            StoreAway, match=f"runs.root=file://.*/{name}: .*that you may read and write"
        ),
        training(root),
    ):
        pytest.fail("it has begun")
    assert time.monotonic() - begun < 5


def test_without_keys_the_store_is_refused_at_once(
    s3: object_store.ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setitem(stores.OPTIONS, "s3", {"skip_instance_cache": True})
    store = Store(s3.url)
    with pytest.raises(StoreAway, match="Unable to locate credentials; check"):
        patiently(store.listing, store, first=True)


@pytest.mark.parametrize("scheme", ["gs", "nosuch"])
def test_a_scheme_that_is_not_installed_is_refused_with_its_remedy(scheme: str) -> None:
    remedy = "pip install gcsfs" if scheme == "gs" else "another URL that it knows"
    with pytest.raises(BadInput, match=remedy):
        Store(f"{scheme}://bucket/runs").listing()


def test_while_the_store_is_away_a_run_goes_on_and_is_sent_afterwards(
    s3: object_store.ObjectStore,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(workdir / "cache"))
    monkeypatch.setattr(stores, "QUIET_S", 0.5)
    root = runs_root(s3.url, "runs.root")
    with open_folder(root / RUN) as folder, kept_in_store(folder) as keeper:
        epoch(folder, 1)
        keeper.checkpointed()
        wait_for(lambda: sent(root))
        s3.stop()
        for number in (2, 3):
            epoch(folder, number)
            keeper.checkpointed()  # which would never return if it waited for the store
        wait_for(lambda: "cannot be reached" in caplog.text)
        s3.start()
        wait_for(lambda: "answers again" in caplog.text)
        s3.stop()
        end(folder)
        threading.Timer(1.0, s3.start).start()
    assert f"{RUN}/result.json" in s3.names()
    assert f"{RUN}/progress.tar" not in s3.names()
    assert object_store.SECRET not in caplog.text


def test_a_store_that_stays_away_ends_in_one_line_and_the_run_is_sent_later(
    s3: object_store.ObjectStore, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(workdir / "cache"))
    monkeypatch.setattr(keeping, "patiently", partial(patiently, patience_s=1.0))
    root = runs_root(s3.url, "runs.root")
    said = r"the run is whole in .*; give the same command again"
    with pytest.raises(StoreAway, match=said), training(root) as (folder, _):  # noqa: PT012
        s3.stop()
        end(folder)
    s3.start()
    with open_folder(root / RUN) as folder, kept_in_store(folder):
        pass
    assert f"{RUN}/result.json" in s3.names()


def test_a_full_disk_is_called_by_its_name(
    machines: list[Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.of(machines[0])
    assert store is not None
    monkeypatch.setattr("img2gps.runs.store.QUIET_S", 0.0)

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreAway, match=r"a disk is full, so nothing can be copied, also after 0"):
        patiently(full, store, patience_s=0.0)
    assert "a disk is full, so nothing can be copied ([Errno 28]" in caplog.text


def test_a_sender_sends_the_newest_state_when_it_stops() -> None:
    state, sent_states = [0], []

    def send() -> None:
        time.sleep(0.02)
        sent_states.append(state[0])

    sender = Sender(send, Store("memory://runs"))
    for number in range(1, 20):
        state[0] = number
        sender.want()
        time.sleep(0.005)
    assert sender.stop(10.0)
    assert sent_states[-1] == 19
    assert len(sent_states) < 19


def test_the_local_copy_names_its_store(machines: list[Path], url: str) -> None:
    assert (machines[0] / MARK).read_text() == f"{url}\n"
