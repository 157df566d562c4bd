"""Studies whose workers are actors of a real Ray on this machine."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_root
from img2gps.study import ray_workers
from img2gps.study.engine import run_study
from img2gps.study.launching import launch
from img2gps.study.ray_workers import Actors, awaited
from img2gps.study.spec import Spec
from tests.helpers import ray_cluster
from tests.helpers.studies import cells_of, executions, fake_spec, url_of, wait_for

pytestmark = pytest.mark.usefixtures("fake_runs")
TABLE1: dict[str, list[Any]] = {
    "model": ["resnet18", "resnet50"],
    "lr": [0.001, 0.003, 0.005],
    "batch_size": [8, 16, 32],
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with ray_cluster.cluster() as address:
        yield address


def processes(spec: Spec) -> list[int]:
    """The workers of a study on this machine."""
    words = ["worker", spec.name, "--runs", spec.root]
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[-len(words) :] == words
    ]


def under_way(spec: Spec, count: int) -> bool:
    """Whether so many runs have passed their first epoch."""
    return len(list(Path(spec.root).glob("s/*/progress.txt"))) >= count


def states(spec: Spec) -> set[str]:
    return {cell["state"] for cell in cells_of(spec)}


@pytest.mark.slow
class TestOnRay:
    def test_a_grid_with_killed_workers_ends_as_a_serial_one_does(
        self, cluster: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        spec = fake_spec(tmp_path / "ray", TABLE1, fixed=["pause=0.1"])
        launch(spec, url_of(spec), Actors(cluster), 2)
        said = capfd.readouterr().out
        assert f"submitted 2 workers to Ray at {cluster}; logs: {tmp_path}/ray/s/ray-*.log" in said
        assert awaited(tmp_path / "ray", "s")
        wait_for(lambda: under_way(spec, 2))
        worker, other = processes(spec)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: len(processes(spec)) == 2 and worker not in processes(spec))
        actor = psutil.Process(other).ppid()
        os.kill(actor, signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(other))  # no worker is left without its actor
        wait_for(lambda: states(spec) == {"finished"})
        assert set(Counter(executions(spec)).values()) == {1}
        assert len(executions(spec)) == 18

        serial = fake_spec(tmp_path / "serial", TABLE1)
        assert run_study(serial, url_of(serial), workers=0) == 0
        assert values(spec) == values(serial)

        wait_for(lambda: not awaited(tmp_path / "ray", "s"))
        launch(spec, url_of(spec), Actors(cluster), 2)
        assert "nothing is left to run" in capfd.readouterr().out
        assert not processes(spec)

    def test_the_same_command_adds_missing_workers_and_stop_ends_all(
        self,
        cluster: str,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4]}, fixed=["pause=1", "epochs=60"])
        launch(spec, url_of(spec), Actors(cluster), 1)
        wait_for(lambda: under_way(spec, 1))
        launch(spec, url_of(spec), Actors(cluster), ray_cluster.CORES)
        said = capfd.readouterr().out
        assert "on Ray before: 1 worker of this study" in said
        wait_for(lambda: under_way(spec, ray_cluster.CORES))
        monkeypatch.setattr(ray_workers, "ANSWER_S", 4.0)
        launch(spec, url_of(spec), Actors(cluster), 3)
        said = capfd.readouterr().out
        assert "submitted 1 worker to Ray" in said
        assert "not started yet: 1 worker; each needs 1 free core" in said
        assert f"on Ray before: {ray_cluster.CORES} workers of this study" in said
        with pytest.raises(SystemExit, match="0"):
            main(["studies", "stop", "s", "--runs", str(tmp_path)])
        assert "Ray ends 3 workers; runs under way go back" in capfd.readouterr().out
        wait_for(lambda: not awaited(tmp_path, "s"))
        wait_for(lambda: states(spec) == {"queued"})
        assert not processes(spec)

    def test_on_a_store_workers_finish_the_study_and_another_machine_counts_them(
        self, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "planner"))
        url, ledger = f"file://{tmp_path}/shared", f"sqlite:///{tmp_path}/ledger.sqlite"
        spec = fake_spec(
            runs_root(url, "runs.root"), {"lr": [0.1, 0.2, 0.3]}, store=url, fixed=["pause=0.5"]
        )
        launch(spec, ledger, Actors(cluster), 2)
        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "another"))
        with pytest.raises(SystemExit, match="0"):
            main(["studies", "show", "s", "--runs", url])
        assert awaited(runs_root(url, "runs.root"), "s")
        shared = tmp_path / "shared"
        wait_for(lambda: len(list(shared.glob("s/*/result.json"))) == 3)
        assert len(executions(spec)) == len(set(executions(spec))) == 3
        wait_for(lambda: not awaited(runs_root(url, "runs.root"), "s"))

    def test_a_worker_that_cannot_start_is_said_in_one_line(
        self, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray_workers, "ANSWER_S", 60.0)  # it answers sooner than that
        spec = fake_spec(tmp_path, {"lr": [0.1]})
        monkeypatch.setattr(Path, "cwd", lambda: Path("/not/on/the/cluster"))
        with pytest.raises(BadInput, match=r"a worker does not start .*No such file") as caught:
            launch(spec, url_of(spec), Actors(cluster), 1)
        assert "\n" not in str(caught.value)

    def test_a_cluster_that_refuses_is_not_called_missing(
        self, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError("Version mismatch: 2.60 there.\nThis is 2.59. Two lines.")

        monkeypatch.setattr("ray.init", refuse)
        spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
        with pytest.raises(BadInput, match=r"does not let this command in \(Version mis") as caught:
            launch(spec, url_of(spec), Actors(cluster), 1)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "runs").exists()


def values(spec: Spec) -> dict[str, Any]:
    kept = ("run_id", "value", "epochs")
    return {cell["cell"]: [cell[key] for key in kept] for cell in cells_of(spec)}


def test_without_a_cluster_nothing_is_planned(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
    for address in (nobody, f"ray://{nobody}", "no address"):
        with pytest.raises(BadInput, match=f"no cluster at {address} .*; start one by `ray start"):
            launch(spec, url_of(spec), Actors(address), 1)
    assert not (tmp_path / "runs").exists()


def test_a_cluster_that_has_ended_awaits_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1]})
    assert run_study(spec, url_of(spec), workers=0) == 0
    (tmp_path / "s" / ray_workers.SUBMITTED).write_text("127.0.0.1:1\n")
    assert not awaited(tmp_path, "s")
    with pytest.raises(SystemExit, match="0"):
        main(["studies", "stop", "s", "--runs", str(tmp_path)])
    said = capsys.readouterr().out
    assert "nothing works on it, as far as this machine can see (" in said
    assert "no cluster at 127.0.0.1:1 " in said


def test_ray_is_asked_for_whole_cores_and_for_what_is_given() -> None:
    assert Actors().options() == {"num_cpus": 1}
    asked = Actors(cpus=4, gpus=1, memory_gb=8).options()
    assert asked == {"num_cpus": 4, "num_gpus": 1, "memory": 8 * 2**30}


def test_the_cluster_is_the_given_one_or_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "there:6379")
    assert Actors().cluster == "there:6379"
    assert Actors("here:6379").cluster == "here:6379"
    monkeypatch.delenv("RAY_ADDRESS")
    assert Actors().cluster == "auto"
