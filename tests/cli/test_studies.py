"""`img2gps studies`: fast, and true to what study.json and the ledger say."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from img2gps.cli.main import main
from img2gps.core.files import read_json, write_json
from img2gps.core.process import identity
from img2gps.runs.records import RunResult, read_study, write_result, write_study
from img2gps.runs.states import RunState
from img2gps.study import engine
from img2gps.study.display import Display
from img2gps.study.engine import run_study
from img2gps.study.ledger import Ledger
from img2gps.study.spec import Spec
from img2gps.study.storage import open_storage
from tests.helpers.studies import QUICK, cells_of, executions, fake_spec, url_of, wait_for

pytestmark = pytest.mark.usefixtures("fake_runs")


def studies(root: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["studies", "--runs", str(root), *words])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    limits = replace(QUICK, max_failures=1)
    made = fake_spec(
        tmp_path, {"lr": [0.1], "behave": ["well", "raise_once"]}, limits=limits,
        command="python -m img2gps.train -m sweeps=s", question="Which?",
    )  # fmt: skip
    run_study(made, url_of(made), workers=0)
    return made


def test_list_names_each_study_with_its_best_cell(
    spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert studies(Path(spec.root)) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "grid" in x)
    for part in (" s ", "2 of 2", "lr=0.1,behave=well", "10.00 m"):
        assert part in line


def test_list_names_folders_of_single_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path / "mine" / "a1", RunResult("a1", "mine", RunState.finished))
    assert studies(tmp_path) == 0
    assert "single runs, which img2gps report NAME shows: mine" in capsys.readouterr().out


def test_show_names_every_run_and_why_it_failed(
    spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert studies(Path("elsewhere"), "show", "s", "--runs", spec.root) == 1
    out = capsys.readouterr().out
    for part in ("Which?", "ValueError: a hiccup", "failed", "the mean predictor gets 89.00 m"):
        assert part in out
    for cell in cells_of(spec):
        assert cell["run_id"] in out


def test_a_queued_run_names_the_command_that_goes_on(
    spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    studies(Path(spec.root), "retry", "s")
    assert {cell["state"] for cell in cells_of(spec)} == {"finished", "queued"}
    capsys.readouterr()
    assert studies(Path(spec.root), "show", "s") == 0
    (last,) = capsys.readouterr().err.splitlines()
    assert last.startswith("next: python -m img2gps.train")
    assert last.endswith("# no engine is running; go on with the runs that are left")
    assert studies(Path(spec.root), "show", "s", "--watch") == 0  # ends: no one is at work


def test_retry_gives_failed_runs_a_new_chance(spec: Spec) -> None:
    failed = next(cell for cell in cells_of(spec) if cell["state"] == "failed")
    assert studies(Path(spec.root), "retry", "s", failed["run_id"][:5]) == 0
    assert run_study(spec, url_of(spec), workers=0) == 0
    assert {cell["state"] for cell in cells_of(spec)} == {"finished"}
    assert len(executions(spec)) == 2


def test_a_run_that_is_named_twice_is_forgotten_once(
    spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = next(cell for cell in cells_of(spec) if cell["state"] == "finished")
    assert studies(Path(spec.root), "forget", "s", cell["cell"], cell["run_id"]) == 0
    said = "s: 1 run forgotten; the study's command plans it anew"
    assert said in capsys.readouterr().out


def test_forgotten_runs_leave_the_study_and_their_folders_stay(spec: Spec) -> None:
    cell = next(cell for cell in cells_of(spec) if cell["state"] == "finished")
    assert studies(Path(spec.root), "forget", "s", cell["cell"]) == 0
    assert cell["run_id"] not in [c["run_id"] for c in cells_of(spec)]
    assert read_json(Path(spec.root, cell["path"], "result.json"))
    run_study(spec, url_of(spec), workers=0)  # planned anew, found finished, not run again
    assert cell["run_id"] in [c["run_id"] for c in cells_of(spec)]
    assert executions(spec).count(cell["run_id"]) == 1


def test_forgetting_a_study_keeps_its_runs(
    spec: Spec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert studies(Path(spec.root), "forget", "s") == 2  # not confirmed
    assert "--yes" in capsys.readouterr().err
    assert studies(Path(spec.root), "forget", "s", "--yes") == 0
    left = {path.name for path in Path(spec.root, "s").iterdir() if path.is_file()}
    assert left == set()
    capsys.readouterr()
    studies(Path(spec.root))
    assert "no studies" in capsys.readouterr().out
    run_study(spec, url_of(spec), workers=0)
    assert len(set(executions(spec))) == len(executions(spec))


def with_engine(spec: Spec, who: dict[str, Any]) -> None:
    """Have the record name an engine, which writes nothing any more."""
    write_study(spec.root, replace(read_study(spec.root, "s"), engine=who))


@pytest.mark.parametrize(
    "words", [["retry"], ["forget", "--yes"], ["forget", "lr=0.1,behave=well"]]
)
def test_a_study_at_work_is_left_alone(
    spec: Spec, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with_engine(spec, identity())
    action, *more = words
    before = cells_of(spec)
    assert studies(Path(spec.root), action, "s", *more) == 2
    assert f"s: an engine works on it (process {identity()['pid']} on" in capsys.readouterr().err
    assert read_study(spec.root, "s").engine == identity()
    assert cells_of(spec) == before
    assert studies(Path(spec.root), action, "s", *more, "--force") == 0
    assert "warning: s: an engine may still work on it" in capsys.readouterr().err


def test_stop_says_where_a_process_of_another_machine_is(
    spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    with_engine(spec, {"machine": "there/boot", "pid": 7, "started": "1"})
    assert studies(Path(spec.root), "stop", "s") == 2
    assert "s: process 7 on there works on it; stop it there" in capsys.readouterr().err


def test_an_engine_elsewhere_that_renews_nothing_is_gone(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2gps.cli.commands.studies.RENEWED_S", 0.4)
    gone = {**identity(), "machine": "a container that was killed"}
    with_engine(spec, gone)
    assert read_study(spec.root, "s").is_running  # nobody can know yet
    assert studies(Path(spec.root), "retry", "s") == 0
    assert read_study(spec.root, "s").engine is None

    with_engine(spec, gone)
    old = replace(read_study(spec.root, "s"), updated_at="2026-01-01T00:00:00+00:00")
    write_study(spec.root, old)
    assert not read_study(spec.root, "s").is_running


def test_an_engine_elsewhere_that_lives_renews_its_record(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "RENEWAL_S", 0.2)
    ledger = Ledger(open_storage(url_of(spec)), "s")
    ledger.identity = {**identity(), "machine": "elsewhere, with a clock of its own"}
    monkeypatch.setattr(
        "img2gps.study.engine.now",
        lambda: f"2001-01-01T00:00:00.{time.monotonic_ns() % 10**6:06}+00:00",
    )
    alive = engine.Engine(ledger, Display(Console(file=io.StringIO())))
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.1):
            alive.update()

    thread = threading.Thread(target=live)
    thread.start()
    wait_for(lambda: read_study(spec.root, "s").engine)
    try:
        assert studies(Path(spec.root), "forget", "s", "--yes") == 2
    finally:
        ended.set()
        thread.join()
    assert "an engine works on it" in capsys.readouterr().err


def test_forgetting_a_study_does_not_forget_looks_at_the_test_part(spec: Spec) -> None:
    winner = Path(spec.root) / "s" / "winner.json"
    write_json(winner, {"test_looks": 2})
    assert studies(Path(spec.root), "forget", "s", "--yes") == 0
    assert read_json(winner) == {"test_looks": 2}


def test_a_record_that_cannot_be_read_does_not_hide_the_others(
    spec: Spec, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(spec.root) / "broken" / "study.json"
    broken.parent.mkdir()
    broken.write_text("{")
    capsys.readouterr()
    assert studies(Path(spec.root)) == 0
    out = capsys.readouterr().out
    assert "study.json cannot be read" in out
    assert "lr=0.1,behave=well" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "none"], "no such study below"),
        (["retry", "none"], "no ledger at"),
        (["retry", "s", "ffffffff"], "no such run in the study"),
        (["retry", "s", "lr=0.1,behave=well"], "is finished; only failed runs are tried again"),
    ],
)
def test_what_is_not_there_is_named(
    spec: Spec, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert studies(Path(spec.root), *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_listing_imports_neither_torch_nor_optuna(spec: Spec) -> None:
    code = (
        "import sys; from img2gps.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'optuna', 'pandas', 'hydra') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "studies", "--runs", spec.root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
