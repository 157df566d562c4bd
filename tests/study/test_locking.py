"""One process at a time decides about a study, also where machines share no folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from img2gps.core.paths import runs_root
from img2gps.study.locking import study_lock
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
