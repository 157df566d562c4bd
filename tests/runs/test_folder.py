"""Identity and files of a run: whole or not there, whatever happens."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json, write_text_atomic
from img2gps.runs.folder import History, find_result, open_folder, resolve_folder
from img2gps.runs.names import run_id

ROW = {"epoch": 1, "lr": 0.001, "val/rmse_m": 70.123456789012345, "seconds": 1.5}


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()))
def test_run_id_does_not_depend_on_the_order_of_keys(identity: dict[str, int]) -> None:
    turned = dict(reversed(list(identity.items())))
    assert run_id(identity) == run_id(turned)
    assert len(run_id(identity)) == 10


def test_run_id_changes_with_any_value() -> None:
    base = {"lr": 0.001, "seed": 0, "model": {"name": "resnet18"}}
    others = [
        {**base, "lr": 0.0011},
        {**base, "seed": 1},
        {**base, "model": {"name": "resnet34"}},
        {**base, "new": None},
    ]
    assert len({run_id(identity) for identity in [base, *others]}) == 5


def test_history_gives_back_every_digit(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    history.append(ROW)
    history.append({**ROW, "epoch": 2, "val/rmse_m": math.nan})
    first, second = history.rows()
    assert first == ROW
    assert math.isnan(second["val/rmse_m"])


def test_history_forgets_a_row_cut_short_by_a_kill(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    history.append(ROW)
    whole = history.path.read_text()
    history.path.write_text(whole + "2,0.0")
    assert [row["epoch"] for row in history.rows()] == [1]
    history.cut_after(5)
    assert history.path.read_text() == whole


def test_history_drops_rows_newer_than_the_checkpoint(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    for epoch in (1, 2, 3):
        history.append({**ROW, "epoch": epoch})
    history.cut_after(2)
    assert [row["epoch"] for row in history.rows()] == [1, 2]
    history.cut_after(0)
    assert not history.path.exists()


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "result.json"
    write_json(path, {"a": math.nan, "b": [math.inf, 1.0], "c": {"d": -math.inf}})
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 1.0], "c": {"d": None}}


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"state": "finished"})

    def fail(_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text_atomic(path, "new")
    assert read_json(path) == {"state": "finished"}
    assert list(tmp_path.iterdir()) == [path]


def _hold(path: Path, held: multiprocessing.synchronize.Event) -> None:
    with open_folder(path):
        held.set()
        time.sleep(60)


def test_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "s" / "abc"
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(folder, held))
    process.start()
    assert held.wait(60)
    with (
        pytest.raises(BadInput, match="another process is running this run"),
        open_folder(folder),
    ):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    with open_folder(folder) as opened:
        assert opened.path == folder


def test_only_finished_runs_are_found(tmp_path: Path) -> None:
    for study, state in (("a", "diverged"), ("b", "finished")):
        write_json(tmp_path / study / "0123456789" / "result.json", {"state": state})
    assert find_result("0123456789", [tmp_path]) == tmp_path / "b" / "0123456789"
    assert find_result("other", [tmp_path]) is None


def test_run_is_found_by_folder_id_or_start_of_id(tmp_path: Path) -> None:
    folders = [tmp_path / "s" / name for name in ("aaaa111111", "aaaa222222", "bbbb333333")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("")
    assert resolve_folder(str(folders[0]), [tmp_path]) == folders[0]
    assert resolve_folder("bbbb", [tmp_path]) == folders[2]
    with pytest.raises(BadInput, match="aaaa: several runs"):
        resolve_folder("aaaa", [tmp_path])
    with pytest.raises(BadInput, match="cccc: no such run"):
        resolve_folder("cccc", [tmp_path])


@pytest.mark.parametrize("root", ["/proc/nope", __file__])
def test_root_that_cannot_be_written_is_one_line(root: str) -> None:
    with (
        pytest.raises(BadInput, match=rf"^runs.root={root}: .*; give runs.root=FOLDER that you"),
        open_folder(Path(root) / "study" / "0123456789"),
    ):
        pass
