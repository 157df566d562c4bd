"""Runs in MLflow: a SQLite file beside the runs, and a real server on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from img2gps import tracking
from img2gps.cli.commands import select
from img2gps.cli.main import main, parser
from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.errors import BadInput
from img2gps.runs.folder import CONFIG
from img2gps.runs.records import read_study
from img2gps.tracking.mlflow import store, tracker
from tests.helpers.studies import wait_for
from tests.helpers.tiny import config
from tests.helpers.wandb_cases import Run, make_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Mirrored

pytestmark = pytest.mark.skipif(find_spec("mlflow") is None, reason="img2gps[mlflow]")

LOGGER = LoggerConfig(LoggerKind.mlflow, timeout_s=60)


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.ADDRESS, raising=False)
    monkeypatch.setattr(store, "_unreachable_at", None)
    monkeypatch.setattr(tracker, "INTERRUPTED_S", 60.0)  # the first import of MLflow takes long


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with a SQLite store and its artifacts."""
    pytest.importorskip("flask_cors")
    home = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    words += [f"--backend-store-uri=sqlite:///{home}/store.db", f"--artifacts-destination={home}/a"]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: _healthy(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").text == "OK"
    except httpx.HTTPError:
        return False


@pytest.fixture(params=["file", "server"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the runs below `tmp_path` go: by default, or to the server that is named."""
    if request.param == "file":
        return f"sqlite:///{tmp_path}/mlflow.db"
    listening: str = request.getfixturevalue("listening")
    monkeypatch.setenv(store.ADDRESS, listening)
    return listening


@pytest.fixture
def logger(request: pytest.FixtureRequest) -> LoggerConfig:
    """A logger with an experiment of its own, since the server keeps those of other tests."""
    return replace(LOGGER, project=request.node.name)


def client(address: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(address)


def mirrored(address: str, project: str) -> dict[str, Mirrored]:
    """Every run of an experiment by its name, as MLflow's own client reads it."""
    experiment = client(address).get_experiment_by_name(project)
    assert experiment is not None
    runs = client(address).search_runs([experiment.experiment_id])
    return {run.info.run_name: run for run in runs}


def curve(address: str, run: Mirrored) -> dict[int, float]:
    """The validation RMSE by epoch; no epoch may be there twice."""
    points = client(address).get_metric_history(run.info.run_id, "val/rmse_m")
    found = {point.step: point.value for point in points}
    assert len(found) == len(points)
    return found


def configured(runs: list[Run], logger: LoggerConfig) -> None:
    """Have the runs' configurations say that MLflow mirrors them."""
    group = {"kind": str(logger.kind), "project": logger.project, "timeout_s": logger.timeout_s}
    for run in runs:
        path = run.folder / CONFIG
        plain = {**yaml.safe_load(path.read_text()), "logger": group}
        path.write_text(yaml.safe_dump(plain))


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_one_child_with_each_epoch_once(
    tmp_path: Path, address: str, logger: LoggerConfig
) -> None:
    run = make_runs(tmp_path)[0]
    first = run.open(logger)
    run.play(first, 1, 3)
    first.finish(None, 143)
    assert mirrored(address, logger.project)[run.about.name].info.status == "KILLED"
    again = run.open(logger)
    run.play(again, 3, 4)
    again.finish(run.result, 0)

    found = mirrored(address, logger.project)
    assert set(found) == {"table1", run.about.name}
    child, parent = found[run.about.name], found["table1"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.status == "FINISHED"
    expected = {int(row["epoch"]): row["val/rmse_m"] for row in run.history}
    assert curve(address, child) == pytest.approx(expected)
    assert child.data.params["lr"] == "0.001"
    assert child.data.params["run_id"] == run.id
    assert child.data.metrics["skill"] == pytest.approx(run.result.skill)
    assert child.data.metrics["cost/seconds"] == pytest.approx(run.result.cost.seconds)
    line = run.result.mean_predictor_rmse_m
    assert child.data.metrics["mean_predictor/rmse_m"] == pytest.approx(line)
    assert child.data.tags["state"] == "finished"


@pytest.mark.slow
def test_sync_sends_what_is_missing_once_and_ends_the_study(
    tmp_path: Path, address: str, logger: LoggerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = make_runs(tmp_path)
    configured(runs, logger)
    words = ["sync", "table1", "--runs", str(tmp_path), "--to", "mlflow"]
    for expected in ("4 uploaded", "4 up to date"):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
        assert expected in capsys.readouterr().out
    found = mirrored(address, logger.project)
    assert len(found) == 5
    assert all(len(curve(address, found[run.about.name])) == 4 for run in runs)
    parent = found["table1"]
    best = min(runs, key=lambda run: run.result.metrics["val/rmse_m"] or 0.0)
    assert parent.data.metrics["best/val/rmse_m"] == pytest.approx(
        best.result.metrics["val/rmse_m"]
    )
    assert parent.data.tags["runs.finished"] == "4"
    assert parent.info.status == "FINISHED"


@pytest.mark.slow
def test_the_selected_winner_is_a_registered_model(
    tmp_path: Path, address: str, logger: LoggerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    name = logger.project.replace("[", "-").rstrip("]")
    runs = make_runs(tmp_path, name=name, pictures=True)
    configured(runs, logger)
    args = parser().parse_args(["select", name, "--runs", str(tmp_path)])
    assert select.execute(args) == 0
    assert f"registered with MLflow: img2gps-{name}, version 1" in capsys.readouterr().out
    version = client(address).get_model_version_by_alias(f"img2gps-{name}", "winner")
    assert version.run_id is not None
    name_there = client(address).get_run(version.run_id).info.run_name
    own = next(run for run in runs if run.about.name == name_there)
    kept = client(address).download_artifacts(version.run_id, "model/last.ckpt", str(tmp_path))
    assert Path(kept).read_bytes() == b"weights of " + own.id.encode()
    assert version.tags["cell"] in {run.cell for run in read_study(tmp_path, name).runs}
    assert select.execute(args) == 0  # the winner was frozen before: no second version
    assert len(client(address).search_model_versions(f"name='img2gps-{name}'")) == 1


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_given_up_and_left_alone_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import mlflow  # noqa: F401 - the import may take longer than the timeout

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run, other = make_runs(tmp_path)[:2]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        silent.settimeout(0.5)
        port = silent.getsockname()[1]
        monkeypatch.setenv(store.ADDRESS, f"http://me:secret@127.0.0.1:{port}")
        run.track(replace(LOGGER, timeout_s=5))  # ends, although nothing answers
        asked = _connections(silent)
        other.track(replace(LOGGER, timeout_s=1_000))
        assert (len(asked), len(_connections(silent))) == (1, 0)
    later = f"upload later: img2gps sync table1 --to mlflow --runs {tmp_path}"
    assert f"MLflow: no answer in time; {later}" in caplog.text
    assert "it did not answer an earlier run" in caplog.text
    assert "secret" not in caplog.text


def _connections(silent: socket.socket) -> list[socket.socket]:
    """The connections that have come in since the last look, still open."""
    found = []
    with suppress(TimeoutError):
        while True:
            found.append(silent.accept()[0])
    return found


@pytest.mark.slow
def test_a_refused_connection_is_one_line_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(store.ADDRESS, "http://me:secret@127.0.0.1:9")
    make_runs(tmp_path)[0].track(LOGGER)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("MLflow: API request to http://***@127.0.0.1:9/")
    assert "secret" not in caplog.text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes()


def test_mlflow_that_is_not_installed_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"logger=mlflow: .*pip install 'img2gps\[mlflow\]'"):
        tracking.open_tracker(LOGGER, tmp_path, {}, None)


@pytest.mark.slow
def test_several_loggers_get_the_same_run(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = make_runs(tmp_path)[0]
    run.track(replace(LOGGER, kind=LoggerKind.tensorboard, also=[LoggerKind.mlflow]))
    address = f"sqlite:///{tmp_path}/mlflow.db"
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    both = curve(address, mirrored(address, LOGGER.project)[run.about.name])
    assert {e.step: e.value for e in events.Scalars("val/rmse_m")} == pytest.approx(both, 1e-6)


def test_mlflow_is_asked_for_alone_or_beside_another_logger() -> None:
    assert config("logger=mlflow").logger.kinds == [LoggerKind.mlflow]
    both = config("logger=csv", "logger.also=[mlflow]").logger
    assert both.kinds == [LoggerKind.csv, LoggerKind.mlflow]
    with pytest.raises(BadInput, match="also"):
        config("logger=csv", "logger.also=[comet]")
