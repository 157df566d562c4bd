"""`img2gps sync`, with the real W&B SDK against the stand-in server."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from img2gps import tracking
from img2gps.analysis import collect
from img2gps.cli.main import main
from img2gps.config.schema import LoggerKind
from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_root
from img2gps.runs.fetching import fetch
from img2gps.runs.folder import CONFIG, HISTORY, History, open_folder
from img2gps.runs.records import RESULT
from img2gps.runs.store import Store
from img2gps.tracking import cells, sync, uploads
from img2gps.tracking.cells import extras, table
from tests.helpers import fake_study
from tests.helpers.wandb_cases import (
    LOGGER,
    SMALL,
    Run,
    fresh_sdk,
    make_runs,
)
from tests.helpers.wandb_server import Server

# A run whose upload was given up leaves a thread of the SDK's behind, which notices late.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

OFFLINE = replace(LOGGER, kind=LoggerKind.wandb_offline)


def synced(root: Path, name: str | None = "table1", **options: Any) -> list[sync.Line]:
    return list(sync.sync(root, name, sync.Options(**options)))


def of_runs(lines: list[sync.Line]) -> list[str]:
    return [line.outcome for line in lines if line.run]


def without_study(made: list[Run]) -> list[Run]:
    """Runs alone: no means, no table."""
    (made[0].folder.parent / "study.json").unlink()
    return made


def with_logger(run: Run, **logger: Any) -> None:
    """Give a run's config.yaml a `logger` group."""
    path = run.folder / CONFIG
    text = json.dumps({"kind": "wandb", "project": "img2gps", **logger})
    path.write_text(path.read_text() + f"logger: {text}\n")


def test_a_run_rebuilt_from_its_folder_equals_one_tracked_live(
    server: Server, tmp_path: Path
) -> None:
    options = fake_study.Options(axes={"lr": [0.001]}, seeds=(0,), epochs=4)
    (run,) = make_runs(tmp_path, options, pictures=True)
    run.track()
    live = server.run(run.id)
    server.forget()
    (run.folder / "wandb.json").unlink()
    (run.folder.parent / "study.json").unlink()  # the name is a study's matter
    lines = synced(tmp_path)
    rebuilt = server.run(run.id)
    assert of_runs(lines) == ["uploaded"]
    assert rebuilt.metrics[:-1] == live.metrics[:-1] == run.rows
    assert rebuilt.values == live.values
    assert rebuilt.fields.keys() == live.fields.keys()
    media = {"scatter", "errors"}
    plain = [
        {k: v for k, v in there.summary.items() if k not in media} for there in (live, rebuilt)
    ]
    assert plain[0] == plain[1]
    pictures = [there.summary["scatter"]["sha256"] for there in (live, rebuilt)]
    assert pictures[0] == pictures[1]
    assert rebuilt.exit_code == 0


def test_what_is_there_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    made = make_runs(tmp_path)
    assert of_runs(synced(tmp_path)) == ["uploaded"] * 4
    before = {key: list(there.writes) for key, there in server.runs.items()}
    server.calls.clear()
    assert synced(tmp_path, None) == [
        replace(line, outcome=sync.Result.up_to_date) for line in synced(tmp_path) if line.run
    ]
    assert [call for call in server.calls if call.endswith("file_stream")] == []
    assert {key: list(there.writes) for key, there in server.runs.items()} == before
    assert len(made) == 4


def test_what_one_machine_has_sent_out_of_a_store_no_other_sends_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, url = tmp_path / "plain", f"file://{tmp_path}/shared"
    make_runs(plain)
    store = Store(url)
    for path in sorted(path for path in plain.rglob("*") if path.is_file()):
        store.put(path, path.relative_to(plain).as_posix())
    said = []
    for machine in ("one", "another"):
        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / machine))
        root = runs_root(url, "runs.root")
        fetch(root)
        under_way = root / "table1" / "0123456789"
        under_way.mkdir()
        (under_way / CONFIG).write_text("{}")  # left here; another machine went on with it
        said.append(synced(root))
    assert of_runs(said[0]) == ["uploaded"] * 4
    assert [line.outcome for line in said[1]] == ["up to date"] * 4  # and no mean once more


def test_a_run_tracked_online_is_up_to_date(server: Server, tmp_path: Path) -> None:
    (run,) = without_study(make_runs(tmp_path, fake_study.Options(axes={"lr": [1]}, seeds=(0,))))
    run.track()
    assert of_runs(synced(tmp_path)) == ["up to date"]


def test_offline_runs_arrive_whole_even_if_their_file_does_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_study(make_runs(tmp_path))
    for run in made:
        run.track(OFFLINE)
    assert server.calls == []
    files = {run.id: uploads.local_files(run.folder)[-1] for run in made}
    files[made[0].id].write_bytes(files[made[0].id].read_bytes()[:7])  # a stump
    files[made[1].id].unlink()  # lost
    fresh_sdk()
    assert of_runs(synced(tmp_path)) == ["uploaded"] * 4
    for run in made:
        assert server.run(run.id).metrics == run.rows
    # W&B's own `wandb sync` finds nothing left to double
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", str(tmp_path / "table1" / "wandb")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "WANDB_SILENT": "false"},
    )
    assert "No runs to sync" in done.stdout + done.stderr
    for run in made:
        assert len(server.run(run.id).metrics) == len(run.rows)


def test_a_server_that_dies_mid_run_and_returns_has_lost_nothing(
    server: Server, tmp_path: Path
) -> None:
    (run,) = without_study(
        make_runs(tmp_path, fake_study.Options(axes={"lr": [1]}, seeds=(0,), epochs=4))
    )
    tracker = run.open(replace(LOGGER, timeout_s=1))
    run.play(tracker, 1, 2)
    while not server.runs:  # it began online
        pass
    server.down()
    run.play(tracker, 3, 4)
    tracker.finish(run.result, 0)
    assert len(server.run(run.id).metrics) < 4
    server.up()
    fresh_sdk()
    assert of_runs(synced(tmp_path)) == ["uploaded"]
    assert server.run(run.id).metrics == run.rows
    assert of_runs(synced(tmp_path)) == ["up to date"]


def test_an_interrupted_sync_goes_on_and_doubles_nothing(server: Server, tmp_path: Path) -> None:
    made = without_study(make_runs(tmp_path))
    under_way = sync.sync(tmp_path, None, sync.Options())
    assert [next(under_way).outcome, next(under_way).outcome] == ["uploaded", "uploaded"]
    del under_way  # Ctrl-C
    assert of_runs(synced(tmp_path)) == ["up to date", "up to date", "uploaded", "uploaded"]
    for run in made:
        assert server.run(run.id).metrics == run.rows


def test_progress_is_counted_in_runs_and_then_in_means(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tuple[str, int, int]] = []

    def watched(items: Iterable[Any], total: int, text: str) -> Iterator[Any]:
        shown = list(items)
        bars.append((text, total, len(shown)))
        return iter(shown)

    monkeypatch.setattr(sync, "watched", watched)
    monkeypatch.setattr(cells, "watched", watched)
    made = make_runs(tmp_path)
    sent = [line for line in synced(tmp_path) if not line.run]
    assert bars == [
        ("W&B: table1", len(made), len(made)),
        ("W&B: means of table1", len(sent), len(sent)),
    ]


def test_a_sync_interrupted_within_a_run_doubles_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = without_study(
        make_runs(tmp_path, fake_study.Options(axes={"lr": [1]}, seeds=(0,), epochs=4))
    )
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(uploads, "show_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synced(tmp_path)
    assert server.run(run.id).metrics == run.rows
    assert of_runs(synced(tmp_path)) == ["uploaded"]
    assert server.run(run.id).metrics == run.rows


def test_a_run_that_went_on_is_completed(server: Server, tmp_path: Path) -> None:
    (run,) = without_study(
        make_runs(tmp_path, fake_study.Options(axes={"lr": [1]}, seeds=(0,), epochs=6))
    )
    result = (run.folder / RESULT).read_text()
    (run.folder / RESULT).unlink()
    History(run.folder / HISTORY).cut_after(3)
    assert of_runs(synced(tmp_path)) == ["uploaded"]
    assert server.run(run.id).exit_code == 1  # not over
    for row in run.history[3:]:
        History(run.folder / HISTORY).append({**row, "epoch": int(row["epoch"])})
    (run.folder / RESULT).write_text(result)
    assert of_runs(synced(tmp_path)) == ["uploaded"]
    # while it was not over, the mean predictor's RMSE was known from its predictions alone
    assert len(server.run(run.id).metrics) == 6
    for shown, row in zip(server.run(run.id).metrics, run.rows, strict=True):
        assert shown == pytest.approx(row, rel=1e-8)
    assert server.run(run.id).exit_code == 0


def test_runs_of_other_loggers_are_left_out_unless_asked_for(
    server: Server, tmp_path: Path
) -> None:
    made = without_study(make_runs(tmp_path))
    with_logger(made[0], kind="csv")
    lines = {line.run: line for line in synced(tmp_path)}
    assert lines[made[0].id].outcome == "skipped"
    assert "logger=csv" in lines[made[0].id].detail
    assert set(server.runs) == {("img2gps", run.id) for run in made[1:]}
    synced(tmp_path, every=True)
    assert server.run(made[0].id).metrics == made[0].rows


def test_a_running_run_is_left_alone(server: Server, tmp_path: Path) -> None:
    made = without_study(make_runs(tmp_path))
    with open_folder(made[1].folder):
        outcomes = {line.run: line for line in synced(tmp_path)}
    assert outcomes[made[1].id].outcome == "skipped"
    assert "another process is running this run" in outcomes[made[1].id].detail
    assert ("img2gps", made[1].id) not in server.runs


def test_a_dry_run_calls_nobody(server: Server, tmp_path: Path) -> None:
    make_runs(tmp_path, pictures=True)
    lines = synced(tmp_path, dry_run=True)
    assert {line.outcome for line in lines} == {"would upload"}
    assert len(lines) == 4 + 4 + 1  # runs, means of cells, table
    assert server.calls == []


def test_another_project_gets_a_copy(server: Server, tmp_path: Path) -> None:
    (run,) = without_study(make_runs(tmp_path, fake_study.Options(axes={"lr": [1]}, seeds=(0,))))
    synced(tmp_path)
    assert of_runs(synced(tmp_path, project="talk")) == ["uploaded"]
    assert server.run(run.id, "talk").metrics == run.rows
    assert server.run(run.id, "img2gps").metrics == run.rows
    assert of_runs(synced(tmp_path)) == of_runs(synced(tmp_path, project="talk")) == ["up to date"]


def test_a_server_that_does_not_answer_is_not_asked_for_every_run(
    server: Server, tmp_path: Path
) -> None:
    made = without_study(make_runs(tmp_path))
    for run in made:
        with_logger(run, timeout_s=1)
    server.down()
    lines = synced(tmp_path)
    assert of_runs(lines) == ["no answer", "no answer", "not tried", "not tried"]
    server.up()
    fresh_sdk()
    assert of_runs(synced(tmp_path)) == ["uploaded"] * 4


def test_without_a_key_sync_says_what_to_do(offline: None, tmp_path: Path) -> None:
    make_runs(tmp_path)
    with pytest.raises(BadInput, match=r"no API key; run `wandb login`, or set WANDB_API_KEY"):
        synced(tmp_path)


def test_an_unknown_study_is_bad_input(tmp_path: Path) -> None:
    make_runs(tmp_path)
    with pytest.raises(BadInput, match=r"tabel1: no such study; there are: table1"):
        synced(tmp_path, "tabel1")


def test_the_command_tells_what_happened(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = fake_study.Options(axes={"lr": [0.001]}, seeds=(0,), epochs=2)
    make_runs(tmp_path, options, pictures=True)
    with pytest.raises(SystemExit) as end:
        main(["sync", "table1", "--runs", str(tmp_path)])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "3 uploaded" in printed  # run, mean of its cell, table
    assert "2 epochs" in printed
    assert f"{server.url}/quad/img2gps\n" in printed


# What a study has beyond its runs


def test_the_mean_of_a_cell_is_the_mean_over_its_seeds(server: Server, tmp_path: Path) -> None:
    made = make_runs(tmp_path, fake_study.Options(axes=SMALL, seeds=(0, 1, 2), epochs=3))
    tracking.end_study(tmp_path / "table1")
    cells = {
        there.fields["displayName"]: there
        for there in server.runs.values()
        if there.fields["jobType"] == "cell-mean"
    }
    assert len(cells) == 4
    there = cells["lr=0.003,batch_size=8 (mean of 3 seeds)"]
    seeds = [r for r in made if (r.about.config["lr"], r.about.config["batch_size"]) == (0.003, 8)]
    assert len(seeds) == 3
    for epoch in range(3):
        values = [run.history[epoch]["val/rmse_m"] for run in seeds]
        shown = there.metrics[epoch]
        assert shown["epoch"] == epoch + 1
        assert shown["seed_mean/val/rmse_m"] == pytest.approx(math.fsum(values) / 3, rel=1e-12)
        assert shown["seed_min/val/rmse_m"] == min(values)
        assert shown["seed_max/val/rmse_m"] == max(values)
    columns = set(seeds[0].history[0]) - {"epoch"}
    extremes = {
        f"seed_{end}/{key}" for end in ("min", "max") for key in ("val/rmse_m", "train/mse")
    }
    means = {f"seed_mean/{key}" for key in (*columns, "mean_predictor/rmse_m")}
    assert set(there.metrics[0]) == {"epoch"} | means | extremes
    finals = [run.history[-1]["val/rmse_m"] for run in seeds]
    assert there.summary["seed_mean/val/rmse_m"] == pytest.approx(statistics.mean(finals))
    assert there.summary["seed_std/val/rmse_m"] == pytest.approx(statistics.stdev(finals))
    assert not any(key.startswith("val/") for key in there.summary)  # no chart counts it twice
    assert there.values["lr"] == 0.003
    assert there.values["seeds"] == 3
    assert there.fields["groupName"] == "table1"


def test_the_table_has_every_cell_with_its_interval(server: Server, tmp_path: Path) -> None:
    options = fake_study.Options(axes=SMALL, seeds=(0, 1), epochs=3)
    made = make_runs(tmp_path, options, pictures=True)
    tracking.end_study(tmp_path / "table1")
    (artifact,) = [a for a in server.artifacts.values() if "table1.table.json" in a["files"]]
    table = json.loads(artifact["files"]["table1.table.json"])
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["lr"], row["batch_size"]) for row in rows] == [
        (0.001, 8), (0.001, 16), (0.003, 8), (0.003, 16),
    ]  # fmt: skip
    for row in rows:
        finals = [
            run.history[-1]["val/rmse_m"]
            for run in made
            if (run.about.config["lr"], run.about.config["batch_size"])
            == (row["lr"], row["batch_size"])
        ]
        assert row["val/rmse_m"] == pytest.approx(sum(finals) / 2, rel=1e-6)
        assert row["low_m"] < row["val/rmse_m"] < row["high_m"]
        assert row["seeds"] == 2
        assert row["photos"] == 60
        assert row["mean_predictor/rmse_m"] == pytest.approx(96.56, abs=20)
    lowest = min(rows, key=lambda row: row["val/rmse_m"])
    assert [row for row in rows if row["winner"]] == [lowest]


def test_folds_are_one_cell_in_means_and_table(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "split.fold": [0, 1, 2]}
    options = fake_study.Options(axes=axes, seeds=(0,), epochs=2, split_kind="kfold")
    made = fake_study.make_study(tmp_path, "s", options)
    first, second, whole = extras(collect.load_study(made.folder, []))
    assert (first.about.name, second.about.name) == (
        "lr=0.001 (mean of 3 runs)",
        "lr=0.003 (mean of 3 runs)",
    )
    assert first.about.swept["seeds"] == 1
    assert whole.table_of is not None
    rows = table(whole.table_of)
    assert list(rows["lr"]) == [0.001, 0.003]
    assert list(rows["photos"]) == [180, 180]
    assert list(rows["winner"]) == [True, False]


def test_a_study_that_ends_online_sends_its_means_and_table(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = sorted(make_runs(tmp_path, pictures=True), key=lambda run: run.id)
    folder = made[0].folder.parent
    tracking.end_study(folder)
    kinds = [there.fields["jobType"] for there in server.runs.values()]
    assert sorted(kinds) == ["cell-mean"] * 4 + ["study"]
    server.calls.clear()
    tracking.end_study(folder)
    assert server.calls == []
    server.down()
    (folder / "wandb.json").unlink()
    with_logger(made[0], timeout_s=1)
    tracking.end_study(folder)
    assert caplog.messages[-1].endswith(f"; upload later: img2gps sync table1 --runs {tmp_path}")


def test_an_unfinished_study_has_means_of_finished_cells_only(
    server: Server, tmp_path: Path
) -> None:
    states = {("lr=0.003,batch_size=16", 1): ("queued", "")}
    options = fake_study.Options(axes=SMALL, seeds=(0, 1), epochs=2, states=states)
    make_runs(tmp_path, options)
    synced(tmp_path)
    kinds = [there.fields["jobType"] for there in server.runs.values()]
    assert kinds.count("train") == 7
    assert kinds.count("cell-mean") == 3
    assert kinds.count("study") == 0
