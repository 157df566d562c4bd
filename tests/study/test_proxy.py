"""A ledger in a real PostgreSQL behind a proxy, and what the proxy refuses."""

from __future__ import annotations

import logging
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import grpc
import pytest
from optuna.storages import GrpcStorageProxy

from img2gps.core.errors import BadInput
from img2gps.study import proxy, storage
from img2gps.study.display import Display
from img2gps.study.engine import plan_alone, run_study
from img2gps.study.ledger import Ledger
from img2gps.study.patience import Patience, Unreachable
from img2gps.study.spec import Limits, Spec
from tests.helpers import postgres
from tests.helpers.studies import cells_of, executions, fake_spec, url_of, wait_for

pytestmark = pytest.mark.usefixtures("fake_runs")
DATABASE = "postgresql://me@host/db"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    with postgres.server() as address:
        yield address


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def proxied(database: str, port: int) -> Iterator[str]:
    """The address of a proxy, which is killed at the end of the block."""
    words = ["proxy", "--storage", database, "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", "img2gps", *words])
    try:
        address = f"grpc://127.0.0.1:{port}"
        wait_for(lambda: answers(port))
        yield address
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def worker(spec: Spec, address: str) -> subprocess.Popen[bytes]:
    words = ["worker", "s", "--runs", spec.root, "--storage", address]
    return subprocess.Popen(
        [sys.executable, "-m", "img2gps", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.server
@pytest.mark.slow
def test_nothing_is_lost_or_doubled_though_workers_and_the_proxy_are_killed(
    database: str, tmp_path: Path
) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.1, 0.2, 0.3, 0.4], "batch_size": [8, 16]}
    limits = Limits(max_preemptions=50, heartbeat_s=0.3, grace_s=2.0)
    spec = fake_spec(tmp_path / "proxied", axes, fixed=["pause=0.3"], limits=limits)
    draw, port = random.Random(7), free_port()
    with proxied(database, port) as address:
        plan_alone(spec, address, Display())
        workers = [worker(spec, address) for _ in range(2)]
        wait_for(lambda: executions(spec))
        for _ in range(2):
            time.sleep(draw.uniform(0.1, 1.0))
            victim = draw.randrange(len(workers))
            workers[victim].kill()
            workers[victim].wait()
            workers[victim] = worker(spec, address)
    with proxied(database, port):  # workers have waited for it
        assert [one.wait(120) for one in workers] == [0, 0]
    assert Counter(cell["state"] for cell in cells_of(spec)) == {"finished": 8}
    assert set(Counter(executions(spec)).values()) == {1}

    serial = fake_spec(tmp_path / "serial", axes)
    assert run_study(serial, url_of(serial), workers=0) == 0
    assert values(spec) == values(serial)


def values(spec: Spec) -> dict[str, Any]:
    return {cell["cell"]: (cell["run_id"], cell["value"]) for cell in cells_of(spec)}


def test_calls_that_wait_do_not_keep_a_proxy_that_is_told_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = Semaphore(0), Event()
    answered: list[int] = []

    def call(number: int) -> None:
        begun.release()
        go_on.wait(60)
        answered.append(number)

    def interrupted(*_args: object, thread_pool: ThreadPoolExecutor, **_kwargs: object) -> None:
        for number in range(5 * proxy.THREADS):
            thread_pool.submit(call, number)
        for _ in range(proxy.THREADS):
            begun.acquire(timeout=60)
        raise KeyboardInterrupt

    monkeypatch.setattr("optuna.storages.run_grpc_proxy_server", interrupted)
    monkeypatch.setattr("optuna.storages.get_storage", lambda given: given)
    monkeypatch.setattr(proxy, "open_storage", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        proxy.serve(DATABASE, "127.0.0.1", free_port(), expose=False)
    go_on.set()
    wait_for(lambda: len(answered) == proxy.THREADS)
    time.sleep(0.1)
    assert len(answered) == proxy.THREADS  # those that were under way


@pytest.mark.server
@pytest.mark.parametrize("through", ["proxy", "database"])
def test_two_workers_that_claim_at_once_never_get_the_same_run(
    database: str, tmp_path: Path, through: str
) -> None:
    spec = fake_spec(tmp_path, {"lr": [k / 100 for k in range(1, 21)]}, name=f"by {through}")
    with proxied(database, free_port()) if through == "proxy" else nullcontext(database) as address:
        plan_alone(spec, address, Display())

        def claimed_by_one() -> list[str]:
            ledger, keys = Ledger(storage.open_storage(address), spec.name), []
            while (claim := ledger.claim()) is not None:
                keys.append(claim.key)
            return keys

        with ThreadPoolExecutor() as pool:
            four = [pool.submit(claimed_by_one) for _ in range(4)]
        claimed = [key for one in four for key in one.result()]
        ledger = Ledger(storage.open_storage(address), spec.name)
        ledger.refresh()
        assert ledger.waiting() == 0
    assert len(claimed) == len(set(claimed)) == 20


def test_a_proxy_whose_database_has_ended_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise grpc.RpcError

    monkeypatch.setattr(GrpcStorageProxy, "wait_server_ready", lambda *_: None)
    monkeypatch.setattr(GrpcStorageProxy, "get_study_id_from_name", fail)
    with pytest.raises(BadInput, match="the proxy cannot read its database") as caught:
        storage.open_storage("grpc://127.0.0.1")
    assert "\n" not in str(caught.value)


@pytest.mark.server
def test_a_proxy_that_stays_away_is_given_up_when_patience_ends(
    database: str, tmp_path: Path
) -> None:
    limits = Limits(heartbeat_s=0.3, storage_patience_s=1.0)
    spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=1"], name="away", limits=limits)
    with proxied(database, free_port()) as address:
        plan_alone(spec, address, Display())
        ledger = Ledger(storage.open_storage(address), "away")
    with pytest.raises(Unreachable, match="failed to connect to all addresses"):
        ledger.refresh()


@pytest.mark.server
def test_a_proxy_that_is_back_after_a_while_is_found_soon(database: str) -> None:
    port = free_port()
    with proxied(database, port) as address:
        opened = storage.open_storage(address)
        opened.get_all_studies()
    gone = time.monotonic()
    while time.monotonic() - gone < 20:  # by then, gRPC itself would wait for longer and longer
        with pytest.raises(grpc.RpcError):
            opened.get_all_studies()
        time.sleep(0.5)
    with proxied(database, port):
        Patience(opened, 15.0)
        opened.get_all_studies()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((url := "runs/s/ledger.journal", "127.0.0.1"), f"--storage {url}: is a file, which"),
        (("sqlite:///l.sqlite", "127.0.0.1"), "--storage sqlite:///l.sqlite: is a file, which"),
        (("grpc://127.0.0.1", "127.0.0.1"), "is a proxy itself; give the database behind it"),
        ((DATABASE, "10.0.0.1"), "others could reach it. A proxy asks for no password"),
    ],
)
def test_a_proxy_is_refused_where_it_is_unsafe(words: tuple[str, str], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        proxy.serve(*words, free_port(), expose=False)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_not_shared() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"--port {port}: cannot be used .*in use"):
            proxy.serve(DATABASE, "127.0.0.1", port, expose=False)


def test_a_proxy_that_does_not_answer_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PROXY_PATIENCE_S", 0.2)
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
    for address in (f"grpc://127.0.0.1:{free_port()}", "grpc://", "grpc://127.0.0.1:port"):
        with pytest.raises(BadInput, match=f"{address}: no proxy answers .*start one") as caught:
            run_study(spec, address, workers=0)
        assert "\n" not in str(caught.value)


def test_an_address_that_others_can_reach_is_said_loudly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(GrpcStorageProxy, "wait_server_ready", lambda *_: None)
    monkeypatch.setattr(GrpcStorageProxy, "get_study_id_from_name", lambda *_: 1)
    with caplog.at_level(logging.WARNING):
        storage.open_storage("grpc://127.0.0.1:13000")
        storage.open_storage("grpc://localhost")
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        storage.open_storage("grpc://192.0.2.1:13000")
    (line,) = (record.message for record in caplog.records)
    assert "grpc://192.0.2.1:13000: is not on this machine" in line
    assert "reach it through a tunnel" in line
