"""Trackers, with the real W&B SDK against the stand-in server."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from img2gps import tracking
from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.errors import BadInput
from img2gps.runs.folder import CHECKPOINT, CONFIG, PREDICTIONS
from img2gps.runs.records import RunResult
from img2gps.runs.states import RunState
from img2gps.tracking import content, session
from tests.helpers import fake_study
from tests.helpers.wandb_cases import (
    LOGGER,
    Run,
    make_runs,
)
from tests.helpers.wandb_server import KEY, Server


def one_run(root: Path, *, pictures: bool = False) -> Run:
    options = fake_study.Options(axes={"lr": [0.001]}, seeds=(0,), epochs=4)
    return make_runs(root, options, pictures=pictures)[0]


def test_runs_on_the_built_in_quad_never_pass_as_real_photos(
    server: Server, tmp_path: Path
) -> None:
    run = one_run(tmp_path)
    config = yaml.safe_load((run.folder / CONFIG).read_text())
    (run.folder / CONFIG).write_text(yaml.safe_dump({**config, "data": {"kind": "quad"}}))
    run.track()
    there = server.run(run.id)
    assert there.fields["tags"] == ["synthetic"]
    assert there.fields["notes"].startswith("Synthetic photos")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the user sees: W&B's own logger writes to a file."""
    shown = [record for record in caplog.records if record.name.startswith("img2gps")]
    return [record.getMessage() for record in shown if record.levelno >= logging.WARNING]


# Online


def test_what_arrives_equals_the_run_folder(server: Server, tmp_path: Path) -> None:
    run = one_run(tmp_path, pictures=True)
    run.track(replace(LOGGER, checkpoint=True, tags=["first", "try"]))
    there = server.run(run.id)

    assert there.metrics[:-1] == run.rows
    assert set(there.metrics[-1]) == {"scatter", "errors"}
    assert [row["_step"] for row in there.history] == [1, 2, 3, 4, 5]
    assert there.fields["groupName"] == "table1"
    assert there.fields["jobType"] == "train"
    assert there.fields["tags"] == ["first", "try"]
    assert "synthetic" not in str(there.fields)
    assert there.exit_code == 0

    assert there.values["lr"] == 0.001
    assert there.values["depth"] == run.result.swept["depth"]
    assert {"batch_size", "model", "seed", "split"} <= there.values.keys()
    assert there.values["config"] == run.about.config

    for key, value in run.result.metrics.items():
        if key.startswith(("val/", "train/")):
            assert there.summary[key] == value
    assert there.summary["best/val_rmse_m"] == min(row["val/rmse_m"] for row in run.history)
    assert there.summary["mean_predictor/rmse_m"] == run.result.mean_predictor_rmse_m
    assert there.summary["skill"] == run.result.skill
    assert there.summary["weights/resolved"] == "imagenet"
    assert there.summary["state"] == "finished"


def test_error_table_has_every_photo_worst_first(server: Server, tmp_path: Path) -> None:
    run = one_run(tmp_path, pictures=True)
    run.track()
    (artifact,) = [a for a in server.artifacts.values() if a["artifactTypeName"] == "run_table"]
    table = json.loads(artifact["files"]["errors.table.json"])
    with (run.folder / PREDICTIONS).open(newline="") as file:
        expected = sorted(csv.DictReader(file), key=lambda row: -float(row["error_m"]))
    shown = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["photo"] for row in shown] == [row["photo"] for row in expected]
    assert [row["error_m"] for row in shown] == [float(row["error_m"]) for row in expected]
    assert [row["mean_error_m"] for row in shown] == [
        float(row["mean_error_m"]) for row in expected
    ]


def test_scatter_is_a_picture(server: Server, tmp_path: Path) -> None:
    from PIL import Image

    run = one_run(tmp_path, pictures=True)
    run.track()
    there = server.run(run.id)
    with Image.open(io.BytesIO(there.files[there.summary["scatter"]["path"]])) as picture:
        assert min(picture.size) > 500


def test_checkpoint_goes_up_only_if_asked(server: Server, tmp_path: Path) -> None:
    run = one_run(tmp_path, pictures=True)
    run.track()
    assert {a["artifactTypeName"] for a in server.artifacts.values()} == {"run_table"}
    server.forget()
    (run.folder / "wandb.json").unlink()
    run.track(replace(LOGGER, checkpoint=True))
    (model,) = [a for a in server.artifacts.values() if a["artifactTypeName"] == "model"]
    assert model["files"]["last.ckpt"] == (run.folder / CHECKPOINT).read_bytes()
    assert model["state"] == "COMMITTED"


def test_eighteen_runs_of_one_process_are_eighteen_runs(server: Server, tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {
        "model": ["resnet18", "resnet50"],
        "lr": [0.001, 0.003, 0.005],
        "batch_size": [8, 16, 32],
    }
    made = make_runs(tmp_path, fake_study.Options(axes=axes, seeds=(0,), epochs=2, n_val=12))
    for run in made:
        run.track(LOGGER)
    assert {name for _, name in server.runs} == {run.id for run in made}
    assert len(server.runs) == 18
    for run in made:
        assert server.run(run.id).metrics == run.rows
    names = {there.fields["displayName"] for there in server.runs.values()}
    assert "model=resnet50, lr=0.003, batch_size=16" in names  # the one seed is not named
    assert len(names) == 18


def test_a_resumed_run_has_each_epoch_once(server: Server, tmp_path: Path) -> None:
    run = one_run(tmp_path)
    first = run.open()
    run.play(first, 1, 3)
    first.finish(None, 1)  # interrupted
    assert len(server.run(run.id).metrics) == 3
    assert server.run(run.id).exit_code == 1
    again = run.open()
    run.play(again, 3, 4)  # its checkpoint was of epoch 2
    again.finish(run.result, 0)
    assert server.run(run.id).metrics == run.rows
    assert server.run(run.id).exit_code == 0


def test_a_forced_repeat_doubles_no_epoch(server: Server, tmp_path: Path) -> None:
    run = one_run(tmp_path)
    run.track()
    (run.folder / "wandb.json").unlink()  # a run that starts anew clears its folder
    run.track()
    assert server.run(run.id).metrics == run.rows


def test_the_configuration_is_the_one_in_the_folder(server: Server, tmp_path: Path) -> None:
    run = one_run(tmp_path)
    (run.folder / CONFIG).write_text("threads: 1\n")
    run.track()
    assert server.run(run.id).values["config"] == {"threads": 1}


KILLED = """
import sys, time
from pathlib import Path
from img2gps.runs.folder import History
from img2gps.runs.records import read_result
from img2gps.tracking import content
from tests.helpers.wandb_cases import Run
folder = Path(sys.argv[1])
history = History(folder / "history.csv").rows()
run = Run(folder, content.describe(folder), read_result(folder), history)
tracker = run.open()
for epoch in 1, 2, 3:
    run.play(tracker, epoch, epoch)
    time.sleep(float(sys.argv[2]))
print("ready", flush=True)
time.sleep(60)
"""


def killed(run: Run, seconds_an_epoch: float) -> None:
    """A process that tracks three epochs and is killed with -9."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(run.folder), str(seconds_an_epoch)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.7], ids=["at once", "after some epochs arrived"])
def test_a_run_killed_and_resumed_has_each_epoch_once(
    server: Server, tmp_path: Path, seconds: float
) -> None:
    run = one_run(tmp_path)
    killed(run, seconds)
    again = run.open()
    run.play(again, 4, 4)
    again.finish(run.result, 0)
    assert server.run(run.id).metrics == run.rows


def test_passing_server_errors_lose_nothing(server: Server, tmp_path: Path) -> None:
    faults = {"UpsertBucket": 500, "file_stream": 502, "CreateRunFiles": 503}  # once each

    def fault(call: str) -> int | None:
        return faults.pop(call.rpartition("/")[2], None)

    run = one_run(tmp_path)
    server.fail(fault)
    run.track()
    assert faults == {}
    assert server.run(run.id).metrics == run.rows
    assert server.run(run.id).summary["state"] == "finished"


def test_the_api_key_is_written_nowhere(
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        one_run(tmp_path, pictures=True).track()
    assert server.keys == {KEY}  # it was used
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in caplog.text
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err
    sent = [json.dumps(there.config) + json.dumps(there.fields) for there in server.runs.values()]
    assert not any(KEY in text for text in sent)


def test_code_paths_host_and_packages_stay_here(server: Server, tmp_path: Path) -> None:
    run = one_run(tmp_path)
    run.track()
    there = server.run(run.id)
    assert there.fields["program"] == "img2gps.train"
    assert not there.fields.keys() & {"host", "commit", "repo"}
    assert {Path(name).name for name in there.files} >= {"wandb-summary.json", "config.yaml"}
    assert not {"requirements.txt", "wandb-metadata.json", "output.log"} & set(there.files)
    assert "wandb-events.jsonl" not in there.lines  # CPU, memory and GPU use


# Without account or server


def test_without_a_key_the_run_is_offline_calls_nobody_and_says_how_to_upload_it(
    listening: Server,
    offline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    listening.forget()
    monkeypatch.setenv("WANDB_BASE_URL", listening.url)
    run = one_run(tmp_path)
    with caplog.at_level(logging.INFO, logger="img2gps"):
        run.track()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("img2gps")]
    sync = f"img2gps sync table1 --runs {tmp_path}"
    assert ours == [f"W&B: this run is offline; upload it with: {sync}"]
    assert listening.calls == []
    assert len(list(tmp_path.glob("table1/wandb/offline-run-*/run-*.wandb"))) == 1
    assert not (run.folder / "wandb.json").exists()
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


@pytest.mark.parametrize("kind", [LoggerKind.csv, LoggerKind.none])
def test_other_loggers_do_not_import_wandb(tmp_path: Path, kind: LoggerKind) -> None:
    code = (
        "import sys; from pathlib import Path; from img2gps import tracking\n"
        "from img2gps.config.schema import LoggerConfig, LoggerKind\n"
        f"t = tracking.open_tracker(LoggerConfig(LoggerKind.{kind}), Path('.'), {{}}, None)\n"
        "t.epoch(1, {'val/rmse_m': 1.0}); t.finish(None, 0)\n"
        "print(sorted({'wandb', 'torch', 'tensorboard'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_key_in_netrc_is_found(
    offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not session.has_credentials()
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert session.has_credentials()


def test_a_key_of_the_wrong_form_is_one_warning_and_an_offline_run(
    offline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "too-short")
    with caplog.at_level(logging.WARNING):
        one_run(tmp_path).track()
    (warning,) = warnings_of(caplog)
    assert warning.startswith("W&B: WANDB_API_KEY invalid")
    assert "too-short" not in warning
    assert len(list(tmp_path.glob("table1/wandb/offline-run-*/run-*.wandb"))) == 1


def test_unreachable_server_is_one_warning_and_an_offline_run(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.down()
    asked: list[bool] = []
    start = session.start

    def watched(*args: Any, online: bool, **options: Any) -> Any:
        asked.append(online)
        return start(*args, online=online, **options)

    monkeypatch.setattr(session, "start", watched)
    made = make_runs(tmp_path)[:2]
    with caplog.at_level(logging.WARNING):
        for run in made:
            run.track(replace(LOGGER, timeout_s=3))
    assert asked == [True, False, False]  # the second run does not wait for the server again
    (warning,) = warnings_of(caplog)
    assert warning.startswith("W&B: ")
    sync = f"img2gps sync table1 --runs {tmp_path}"
    assert warning.endswith(f"; going on offline; upload later: {sync}")
    assert len(list(tmp_path.glob("table1/wandb/offline-run-*/run-*.wandb"))) == 2


def test_refused_key_is_one_warning_and_an_offline_run(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail(lambda call: 401)
    with caplog.at_level(logging.WARNING):
        one_run(tmp_path).track()
    assert len(warnings_of(caplog)) == 1
    assert "401" in warnings_of(caplog)[0]
    assert len(list(tmp_path.glob("table1/wandb/offline-run-*/run-*.wandb"))) == 1


def test_training_never_hears_of_errors(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("disk full\nand more")

    monkeypatch.setattr(session, "start", broken)
    with caplog.at_level(logging.WARNING):
        one_run(tmp_path).track()
    sync = f"img2gps sync table1 --runs {tmp_path}"
    assert warnings_of(caplog)[-1] == f"W&B: disk full; upload later: {sync}"


def test_epochs_do_not_wait_for_the_server(server: Server, tmp_path: Path) -> None:
    asked, played = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def wait(call: str) -> None:
        asked.set()
        in_time.append(played.wait(60))

    server.fail(wait)
    run = one_run(tmp_path)
    tracker = run.open()
    assert asked.wait(60)
    run.play(tracker, 1, 4)
    assert in_time == []  # until here, the server has answered nothing
    played.set()
    server.fail(lambda call: None)
    tracker.finish(run.result, 0)
    assert in_time
    assert all(in_time)
    assert server.run(run.id).metrics == run.rows


def test_tracking_draws_no_random_numbers(server: Server, tmp_path: Path) -> None:
    import torch

    run = one_run(tmp_path, pictures=True)

    def states() -> list[str]:
        legacy = np.random.get_state(legacy=False)  # noqa: NPY002 - the one that others may use
        return [repr(random.getstate()), repr(legacy), repr(torch.get_rng_state().tolist())]

    before = states()
    run.track()
    assert states() == before


# What is shown


def test_an_epoch_without_a_number_spoils_no_summary() -> None:
    history = [
        {"epoch": 1.0, "val/rmse_m": 61.0},
        {"epoch": 2.0, "val/rmse_m": 58.5},
        {"epoch": 3.0, "val/rmse_m": math.nan},
    ]
    result = RunResult("a", "s", RunState.diverged, metrics={"val/rmse_m": None}, skill=math.nan)
    summary = content.summary(result, history)
    assert (summary["best/epoch"], summary["best/val_rmse_m"]) == (2, 58.5)
    assert summary["state"] == "diverged"
    assert not summary.keys() & {"val/rmse_m", "skill", "reason"}


def test_runs_are_named_by_what_differs_in_their_study(tmp_path: Path) -> None:
    options = fake_study.Options(
        axes={"model": ["resnet18"], "lr": [0.001, 0.003]}, seeds=(0, 1), epochs=1
    )
    names = [run.about.name for run in make_runs(tmp_path, options)]
    assert names == ["lr=0.001, seed=0", "lr=0.001, seed=1", "lr=0.003, seed=0", "lr=0.003, seed=1"]


def test_a_run_outside_a_study_is_named_by_its_main_knobs(tmp_path: Path) -> None:
    knobs = {"model": "resnet18", "lr": 0.01, "batch_size": 8, "seed": 3}
    about = content.describe(one_run(tmp_path).folder, None, knobs)
    assert about.name == "model=resnet18, lr=0.01, batch_size=8, seed=3"


# TensorBoard


def test_tensorboard_has_each_epoch_once_after_a_resume(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = one_run(tmp_path)
    logger = LoggerConfig(LoggerKind.tensorboard)
    first = run.open(logger)
    run.play(first, 1, 3)
    first.finish(None, 1)
    again = run.open(logger)
    run.play(again, 3, 4)
    again.finish(run.result, 0)
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    points = events.Scalars("val/rmse_m")
    assert [point.step for point in points] == [1, 2, 3, 4]
    expected = [row["val/rmse_m"] for row in run.history]
    assert [point.value for point in points] == pytest.approx(expected, rel=1e-6)  # float32


def test_tensorboard_that_is_not_installed_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BadInput, match=r"logger=tensorboard: .*pip install"):
        tracking.open_tracker(LoggerConfig(LoggerKind.tensorboard), tmp_path, {}, None)
