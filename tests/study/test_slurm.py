"""Studies whose workers are jobs of a real Slurm on loopback."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_root
from img2gps.runs.store import Store
from img2gps.study import remote, slurm
from img2gps.study.launching import launch
from img2gps.study.slurm import Resources
from img2gps.study.spec import Spec
from tests.helpers import slurm as helper
from tests.helpers.studies import cells_of, executions, fake_spec, url_of, wait_for

MINUTES = Resources(minutes=10, cpus=1)


@pytest.fixture(scope="module")
def _cluster() -> Iterator[Path]:
    try:
        with helper.cluster() as configuration:
            yield configuration
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def _slurm(_cluster: Path, fake_runs: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SLURM_CONF", str(_cluster))
    yield
    subprocess.run(["scancel", "--me"], check=True)
    wait_for(lambda: not subprocess.check_output(["squeue", "--noheader"]))


def states(spec: Spec) -> set[str]:
    return {cell["state"] for cell in cells_of(spec)}


def jobs(spec: Spec, state: str = "running") -> list[str]:
    """The study's tasks in that state, such as 3_1."""
    name = remote.name_of(Path(spec.root), spec.name)
    words = ["squeue", "--noheader", "--array", f"--name={name}", f"--states={state}"]
    return subprocess.check_output([*words, "--format=%i"], text=True).split()


def under_way(spec: Spec, count: int) -> bool:
    """Whether so many runs have passed their first epoch."""
    return len(list(Path(spec.root).glob("s/*/progress.txt"))) >= count


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.usefixtures("_slurm")
class TestOnSlurm:
    def test_workers_finish_the_study_and_each_run_once(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4]}, fixed=["pause=0.3"])
        launch(spec, url_of(spec), MINUTES, 2)
        assert "submitted 2 workers as Slurm's job" in capfd.readouterr().out
        wait_for(lambda: states(spec) == {"finished"})
        assert set(Counter(executions(spec)).values()) == {1}
        wait_for(lambda: not slurm.alive(tmp_path, "s"))
        launch(spec, url_of(spec), MINUTES, 2)
        assert "nothing is left to run" in capfd.readouterr().out
        assert slurm.alive(tmp_path, "s") == 0

    def test_the_same_command_adds_the_workers_that_are_missing(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4]}, fixed=["pause=20"])
        launch(spec, url_of(spec), MINUTES, 3)
        wait_for(lambda: len(jobs(spec)) == 3)
        subprocess.run(["scancel", jobs(spec)[0]], check=True)
        wait_for(lambda: slurm.alive(tmp_path, "s") == 2)
        launch(spec, url_of(spec), MINUTES, 3)
        said = capfd.readouterr().out
        assert "submitted 1 worker as" in said
        assert "in Slurm's queue before: 2 workers of this study" in said
        assert slurm.alive(tmp_path, "s") == 3

    def test_a_worker_whose_time_is_over_queues_again_and_goes_on(self, tmp_path: Path) -> None:
        spec = fake_spec(tmp_path, {"lr": [0.1]}, fixed=["pause=1", "epochs=8"])
        launch(spec, url_of(spec), MINUTES, 1)
        wait_for(lambda: under_way(spec, 1))
        (task,) = jobs(spec)
        subprocess.run(["scancel", "--batch", "--signal=USR1", task], check=True)
        wait_for(lambda: jobs(spec, "pending"))
        assert states(spec) == {"queued"}
        wait_for(lambda: begins_again(spec, task))
        wait_for(lambda: states(spec) == {"finished"})
        (progress,) = tmp_path.glob("s/*/progress.txt")
        assert progress.read_text().split() == [str(epoch) for epoch in range(1, 9)]

    def test_stop_ends_the_workers_and_loses_nothing(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        spec = fake_spec(tmp_path, {"lr": [0.1, 0.2]}, fixed=["pause=1", "epochs=30"])
        launch(spec, url_of(spec), MINUTES, 2)
        wait_for(lambda: under_way(spec, 2))
        with pytest.raises(SystemExit, match="0"):
            main(["studies", "stop", "s", "--runs", str(tmp_path)])
        assert "Slurm ends 2 workers; runs under way go back" in capfd.readouterr().out
        wait_for(lambda: not slurm.alive(tmp_path, "s"))
        wait_for(lambda: states(spec) == {"queued"})

    def test_on_a_store_the_same_command_adds_workers_and_another_machine_stops_them(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "planner"))
        url, ledger = f"file://{tmp_path}/shared", f"sqlite:///{tmp_path}/ledger.sqlite"
        axes = {"lr": [0.1, 0.2, 0.3]}
        fixed = ["pause=0.5", "epochs=6"]
        spec = fake_spec(runs_root(url, "runs.root"), axes, store=url, fixed=fixed)
        own = Resources(10, 1, options=(f"--export=ALL,IMG2GPS_CACHE={tmp_path}/node",))
        launch(spec, ledger, own, 1)
        assert "_*.log, each on its own machine" in capfd.readouterr().out
        wait_for(lambda: "s/study.json" in Store(url).listing() and jobs(spec))
        launch(spec, ledger, own, 2)
        said = capfd.readouterr().out
        assert "in Slurm's queue before: 1 worker of this study" in said
        assert "submitted 1 worker as" in said
        wait_for(lambda: any(name.endswith("progress.tar") for name in Store(url).listing()))
        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "another"))
        with pytest.raises(SystemExit, match="0"):
            main(["studies", "stop", "s", "--runs", url])
        assert "Slurm ends 2 workers; runs under way go back" in capfd.readouterr().out
        wait_for(lambda: not slurm.alive(Path(spec.root), "s"))

        monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "planner"))
        launch(spec, ledger, own, 2)
        wait_for(lambda: len(ended(url)) == 3)
        (copy,) = (tmp_path / "node" / "stores").iterdir()
        done = executions(replace(spec, root=str(copy)))
        assert len(done) == len(set(done)) == 3
        assert not executions(spec)

    def test_what_slurm_refuses_is_said_in_one_line(self, tmp_path: Path) -> None:
        spec = fake_spec(tmp_path, {"lr": [0.1]})
        with pytest.raises(BadInput, match="invalid partition specified: nowhere") as caught:
            launch(spec, url_of(spec), Resources(options=("--partition=nowhere",)), 1)
        assert "\n" not in str(caught.value)


def ended(url: str) -> list[str]:
    """The runs that a store has whole."""
    return [name for name in Store(url).listing() if name.endswith("/result.json")]


def begins_again(spec: Spec, task: str) -> bool:
    """Begin a requeued job soon, as operators may: Slurm holds it back for two minutes.

    Within the second of the requeue, its node would still take it for the job that has ended.
    """
    if jobs(spec, "pending"):
        time.sleep(3)
        subprocess.run(["scontrol", "update", f"JobId={task}", "StartTime=now"], check=False)
        time.sleep(2)
    return bool(jobs(spec))


@pytest.mark.usefixtures("fake_runs")
def test_without_slurm_nothing_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
    with pytest.raises(BadInput, match=r"squeue: no such command; use .* such as a login node"):
        launch(spec, url_of(spec), Resources(), 1)
    assert not (tmp_path / "runs").exists()


def test_the_ledgers_address_is_in_no_command_and_no_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "sbatch"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words; cat > {tmp_path}/script\n'
                    f'echo "$IMG2GPS_LEDGER" > {tmp_path}/ledger; echo "7;cluster"\n')  # fmt: skip
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "a study").mkdir()
    url = "postgresql://me:secret@host/db"
    resources = Resources(60, 4, 1, 8, ("--partition=long",))
    assert slurm.submit(tmp_path, "a study", url, 3, resources) == "7"
    words, script = (tmp_path / "words").read_text(), (tmp_path / "script").read_text()
    assert "secret" not in words + script
    assert (tmp_path / "ledger").read_text() == url + "\n"
    assert "img2gps worker 'a study'" in script
    for word in ("--array=1-3", "--time=60", "--cpus-per-task=4", "--gpus-per-task=1", "--ntasks=1",
                 "--mem=8G", "--signal=B:USR1@120", "--partition=long"):  # fmt: skip
        assert word in words
