"""One process at a time decides about a study, also where machines share no folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from img2gps.core.paths import runs_root
from img2gps.study import tickets
from img2gps.study.locking import LOCK, folder_lock, study_lock
from img2gps.study.storage import open_storage
from tests.helpers import postgres


@pytest.fixture(params=["journal", "sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    match request.param:
        case "journal":
            yield str(tmp_path / "ledger.journal")
        case "sqlite":
            yield f"sqlite:///{tmp_path}/ledger.sqlite"
        case _:
            if postgres.binaries() is None:
                pytest.skip("no PostgreSQL here: apt-get install postgresql")
            with postgres.server() as address:
                yield address


def test_machines_that_share_a_store_decide_one_after_the_other(
    ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = []
    for machine in ("first", "second"):
        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / machine))
        roots.append(runs_root(f"file://{tmp_path}/shared", "runs.root"))
    decided = threading.Event()

    def decide() -> None:
        with study_lock(roots[1], "s", open_storage(ledger)):
            decided.set()

    other = threading.Thread(target=decide)
    with study_lock(roots[0], "s", open_storage(ledger)):
        other.start()
        assert not decided.wait(1.0)
    assert decided.wait(30.0)
    other.join()


@pytest.mark.parametrize("look", [1, 2])
def test_a_lock_that_is_removed_while_it_is_looked_at_is_made_again(
    look: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat, looks = Path.stat, count(1)

    def forget_before(path: Path, **options: bool) -> os.stat_result:
        if path.name == LOCK and next(looks) == look:
            path.unlink()
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", forget_before)
    with folder_lock(tmp_path, "s"):
        assert list((tmp_path / "s").iterdir()) == [tmp_path / "s" / LOCK]


def test_a_ledger_whose_own_locks_are_not_known_is_locked_by_tickets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2gps.study.storage.file_of", lambda _: None)
    monkeypatch.setattr(tickets, "RENEWAL_S", 0.1)
    monkeypatch.setattr(tickets, "GRACE_S", 1.0)
    monkeypatch.setattr(tickets, "POLL_S", 0.05)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "here"))
    root, url = (
        runs_root(f"file://{tmp_path}/shared", "runs.root"),
        f"sqlite:///{tmp_path}/l.sqlite",
    )
    order: list[str] = []

    def decide(name: str) -> None:
        with tickets.ticket_lock(open_storage(url), "s"):
            order.append(f"{name} begins")
            time.sleep(2.5)  # longer than a ticket counts that is not renewed
            order.append(f"{name} ends")

    others = [threading.Thread(target=decide, args=(name,)) for name in "ab"]
    with study_lock(root, "s", open_storage(url)):
        for other in others:
            other.start()
        time.sleep(2.0)
        assert not order
    for other in others:
        other.join(60)
    assert order in (
        ["a begins", "a ends", "b begins", "b ends"],
        ["b begins", "b ends", "a begins", "a ends"],
    )


def test_the_ticket_of_a_process_that_has_died_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "GRACE_S", 0.3)
    ledger = open_storage(f"sqlite:///{tmp_path}/l.sqlite")
    with tickets.ticket_lock(ledger, "s"):
        pass
    dead = ledger.create_new_trial(ledger.get_study_id_from_name(tickets.NAME.format("s")))
    with tickets.ticket_lock(ledger, "s"):
        assert ledger.get_trial(dead).state.is_finished()
