"""Studies whose workers run elsewhere: what is refused, and the manifests that are written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_root
from img2gps.runs.folder import SUBMISSIONS
from img2gps.runs.records import read_study
from img2gps.study import kubernetes, manifests, ray_workers, skypilot, slurm
from img2gps.study.kubernetes import Pods
from img2gps.study.launching import Asked, launch, read_launcher
from img2gps.study.ray_workers import Actors
from img2gps.study.skypilot import Machines
from img2gps.study.spec import STORAGE_VARIABLE, Spec
from img2gps.study.stopping import stop_study
from tests.helpers import object_store
from tests.helpers.studies import cells_of, executions, fake_spec

OLDEST, NEWEST = "1.29", "1.37"  # of Kubernetes
PODS = Pods("registry/img2gps:1", "photos", cpus=4, gpus=1, memory_gb=8)
MACHINES = Machines("photos", cpus=4, gpus="A100:1", memory_gb=8)

# The keys and the types that SkyPilot documents, as of 0.14:
# https://docs.skypilot.co/en/latest/reference/yaml-spec.html
SKYPILOT: dict[str, type] = {
    "name": str, "workdir": str, "num_nodes": int, "resources": dict, "envs": dict,
    "secrets": dict, "volumes": dict, "file_mounts": dict, "setup": str, "run": str,
}  # fmt: skip
SKYPILOT_RESOURCES: dict[str, type] = {
    "infra": str, "accelerators": str, "cpus": str, "memory": str, "instance_type": str,
    "use_spot": bool, "disk_size": int, "image_id": str, "job_recovery": str,
}  # fmt: skip


@pytest.fixture
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a SQLite file stand in for a database that other machines reach."""
    monkeypatch.setattr(manifests, "check_ledger", lambda _: None)


@pytest.mark.usefixtures("_in_folder")
@pytest.mark.parametrize("pods", [PODS, Pods("image", "claim")])
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_key_of_the_job(tmp_path: Path, pods: Pods, version: str) -> None:
    job = kubernetes.manifest(tmp_path / "runs", "Lr & size", 3, pods)
    assert kubernetes_validate.validate(job, version, strict=True) == version


@pytest.mark.usefixtures("_in_folder")
def test_a_job_has_its_workers_what_they_ask_for_and_no_address(tmp_path: Path) -> None:
    job = kubernetes.manifest(tmp_path / "runs", "s", 3, PODS)
    spec = job["spec"]
    assert spec["completions"] == spec["parallelism"] == 3
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert {"name": "OMP_NUM_THREADS", "value": "4"} in container["env"]
    assert container["envFrom"] == [{"secretRef": {"name": "img2gps"}}]
    assert STORAGE_VARIABLE not in yaml.safe_dump(job)
    (volume,), (mount,) = pod["volumes"], container["volumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == "photos"
    assert mount["mountPath"] == container["workingDir"] == str(tmp_path)


@pytest.mark.usefixtures("_in_folder")
def test_a_worker_that_others_cannot_help_is_not_started_again(tmp_path: Path) -> None:
    job = kubernetes.manifest(tmp_path, "s", 1, PODS)
    ignored, final = job["spec"]["podFailurePolicy"]["rules"]
    assert ignored["action"] == "Ignore"  # a node that is drained counts as no failure
    assert final["action"] == "FailIndex"  # the other workers go on
    assert final["onExitCodes"]["values"] == [1, 2]


@pytest.mark.usefixtures("_in_folder")
@pytest.mark.parametrize("machines", [MACHINES, Machines("photos")])
def test_skypilot_knows_every_key_of_the_task(tmp_path: Path, machines: Machines) -> None:
    task = skypilot.manifest(tmp_path / "runs", "s", machines)
    assert {key: SKYPILOT[key] for key in task} == {key: type(v) for key, v in task.items()}
    asked = task["resources"]
    known = {key: SKYPILOT_RESOURCES[key] for key in asked}
    assert known == {key: type(value) for key, value in asked.items()}
    assert task["volumes"] == {str(tmp_path): "photos"}
    assert task["secrets"] == {STORAGE_VARIABLE: None}


@pytest.mark.parametrize("study", ["s", "A.b_c", "9", "x" * 100, "_", "Ünï"])
def test_names_are_those_that_kubernetes_accepts(study: str) -> None:
    name = manifests.unique_name(study)
    assert len(f"{name}-9999") <= 63
    assert re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)


def test_workers_of_two_studies_are_told_apart() -> None:
    studies = ("a_b", "a.b", "A-b", "x" * 99, "x" * 98)
    assert len({manifests.label(study) for study in studies}) == len(studies)
    job = kubernetes.manifest(Path("runs"), "a_b", 1, PODS)
    watch = kubernetes.commands(Path("k.yaml"), job, [])["watch"]
    key, _, value = watch.rpartition(" ")[2].partition("=")
    assert job["spec"]["template"]["metadata"]["labels"][key] == value == manifests.label("a_b")


@pytest.mark.slow
@pytest.mark.usefixtures("fake_runs", "_in_folder", "_reachable")
@pytest.mark.parametrize(("asked", "file"), [(PODS, kubernetes.FILE), (MACHINES, skypilot.FILE)])
def test_a_worker_as_the_manifest_starts_it_finishes_the_study(
    tmp_path: Path, asked: Asked, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1, 0.2, 0.3]})
    launch(spec, url, asked, 5)
    said = capsys.readouterr().out
    assert f"wrote {tmp_path}/runs/s/{file} for 3 workers" in said
    written = (tmp_path / "runs" / "s" / file).read_text()
    assert url not in written + said
    subprocess.run(
        ["sh", "-c", started(yaml.safe_load(written))],
        check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
             STORAGE_VARIABLE: url},
    )  # fmt: skip
    assert [cell["state"] for cell in cells_of(spec)] == ["finished"] * 3
    assert set(Counter(executions(spec)).values()) == {1}
    launch(spec, url, asked, 5)
    assert "nothing is left to run" in capsys.readouterr().out


def started(manifest: dict[str, Any]) -> str:
    """The shell command of a worker."""
    if "run" in manifest:
        return str(manifest["run"])
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    folder = container.get("workingDir", ".")
    return f"cd {shlex.quote(folder)} && {shlex.join(container['command'])}"


@pytest.fixture
def s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_runs: None
) -> Iterator[object_store.ObjectStore]:
    """A store; this process stands for the machine that plans, and has a cache of its own."""
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "planner"))
    found = object_store.opened(monkeypatch)
    yield found
    found.stop()


def spec_in(url: str, **changes: Any) -> Spec:
    """A study whose runs are in a store, as this machine sees it."""
    axes = {"lr": [0.1, 0.2, 0.3, 0.4]}
    return fake_spec(runs_root(url, "runs.root"), axes, store=url, **changes)


def on_machine(folder: Path, command: str, ledger: str) -> subprocess.Popen[str]:
    """Start a command on a machine that has nothing but the ledger's and the store's addresses."""
    folder.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, STORAGE_VARIABLE: ledger, "IMG2GPS_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        ["sh", "-c", command], cwd=folder, env={**os.environ, **own}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("_reachable", "kubectl")
@pytest.mark.parametrize(
    ("asked", "file"),
    [(Pods("image"), kubernetes.FILE), (Machines(), skypilot.FILE)],
)
def test_workers_that_share_a_store_alone_finish_the_study(
    tmp_path: Path,
    s3: object_store.ObjectStore,
    asked: Asked,
    file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.sqlite"
    spec = spec_in(s3.url, fixed=["pause=0.3"])
    launch(spec, ledger, asked, 2)
    said = capsys.readouterr().out
    assert f"{file} for 2 workers, which nothing has submitted yet" in said
    written = (Path(spec.root) / "s" / file).read_text()
    assert str(tmp_path / "planner") not in written
    assert object_store.SECRET not in written + said
    assert "AWS_SECRET_ACCESS_KEY" in said
    command = started(yaml.safe_load(written))
    machines = [on_machine(tmp_path / name, command, ledger) for name in ("first", "second")]
    for machine in machines:
        said, _ = machine.communicate(timeout=300)
        assert machine.returncode == 0, said
    done = [path.read_text().split() for path in tmp_path.glob("*/cache/stores/*/executions.txt")]
    assert sorted(run for own in done for run in own) == sorted(
        {name.split("/")[1] for name in s3.names() if name.endswith("/result.json")}
    )
    assert sum(map(len, done)) == 4
    launch(spec, ledger, asked, 2)
    assert "nothing is left to run" in capsys.readouterr().out


def test_a_job_on_a_store_needs_no_volume_and_may_mount_photos(tmp_path: Path) -> None:
    root = runs_root(f"file://{tmp_path}/shared", "runs.root")
    for pods in (Pods("image"), Pods("image", "photos")):
        job = kubernetes.manifest(root, "s", 2, pods)
        assert kubernetes_validate.validate(job, OLDEST, strict=True) == OLDEST
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["command"][-2:] == ["--runs", f"file://{tmp_path}/shared"]
        assert {"name": "XDG_CACHE_HOME", "value": "/scratch"} in container["env"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["scratch"] == "/scratch"
        assert mounted.get("shared") == (str(Path.cwd()) if pods.volume else None)
        assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
        task = skypilot.manifest(root, "s", Machines(pods.volume))
        assert {key: SKYPILOT[key] for key in task} == {k: type(v) for k, v in task.items()}
        assert ("volumes" in task) == bool(pods.volume)


@pytest.mark.usefixtures("_reachable")
def test_another_machine_stops_the_workers_of_a_study_in_a_store(
    tmp_path: Path,
    s3: object_store.ObjectStore,
    kubectl: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    launch(spec_in(s3.url), f"sqlite:///{tmp_path}/ledger.sqlite", Pods("image"), 2)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "another"))
    kubectl.with_suffix(".answer").write_text("echo job.batch/a")
    with pytest.raises(SystemExit, match="0"):
        main(["studies", "stop", "s", "--runs", s3.url])
    assert "Kubernetes ends 1 Job; runs under way go back" in capsys.readouterr().out


def test_a_store_is_told_how_every_launcher_submits() -> None:
    files = {slurm.SUBMITTED, ray_workers.SUBMITTED, kubernetes.FILE, skypilot.FILE}
    assert files == set(SUBMISSIONS)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that writes down its words and answers what `answer` beside it does."""
    fake = tmp_path / "bin" / "kubectl"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" > {fake}.words; . {fake}.answer\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    return fake


@pytest.fixture
def submitted(
    tmp_path: Path, fake_runs: None, _in_folder: None, _reachable: None, kubectl: Path
) -> Path:
    """The folder of runs of a study whose manifest is written."""
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
    launch(spec, f"sqlite:///{tmp_path}/ledger.sqlite", PODS, 1)
    return tmp_path / "runs"


def test_the_same_command_writes_the_workers_that_are_missing(
    submitted: Path, kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = fake_spec(submitted, {"lr": [0.1, 0.2, 0.3]})
    url = f"sqlite:///{submitted.parent}/ledger.sqlite"
    kubectl.with_suffix(".answer").write_text("echo pod/a")
    launch(spec, url, PODS, 3)
    said = capsys.readouterr().out
    assert "on Kubernetes before: 1 worker of this study" in said
    assert "kubernetes.yaml for 2 workers" in said
    assert kubectl.with_suffix(".words").read_text().startswith("get pods -l app.kubernetes.io/")
    kubectl.with_suffix(".answer").write_text("echo pod/a; echo pod/b; echo pod/c")
    launch(spec, url, PODS, 3)
    said = capsys.readouterr().out
    assert "on Kubernetes before: 3 workers" in said
    assert "wrote" not in said


def test_workers_are_not_counted_where_the_cluster_cannot_be_asked(
    submitted: Path, kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.with_suffix(".answer").write_text("echo The connection was refused >&2; exit 1")
    launch(
        fake_spec(submitted, {"lr": [0.1]}), f"sqlite:///{submitted.parent}/ledger.sqlite", PODS, 1
    )
    said = capsys.readouterr().out
    assert "note: workers that were submitted before are not counted (`kubectl get pods" in said
    assert "kubernetes.yaml for 1 worker" in said


@pytest.mark.usefixtures("fake_runs", "_in_folder")
@pytest.mark.parametrize("asked", [Pods("image"), Machines()])
def test_workers_that_share_nothing_are_refused(tmp_path: Path, asked: Asked) -> None:
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
    with pytest.raises(BadInput, match=r"launcher\.volume: is needed, .*, or keep the runs in a"):
        launch(spec, "postgresql://host/db", asked, 2)
    assert not (tmp_path / "runs").exists()


def stopped(root: Path) -> str:
    return stop_study(root, read_study(root, "s"))


def test_stop_deletes_the_jobs_of_a_study(submitted: Path, kubectl: Path) -> None:
    kubectl.with_suffix(".answer").write_text("echo job.batch/a; echo job.batch/b")
    assert stopped(submitted) == "Kubernetes ends 2 Jobs; runs under way go back into the ledger"
    words = kubectl.with_suffix(".words").read_text()
    label = f"app.kubernetes.io/instance={manifests.label('s')}"
    assert words == f"delete jobs -l {label} --wait=false --output=name\n"


def test_stop_says_why_a_cluster_cannot_be_asked(
    submitted: Path, kubectl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl.with_suffix(".answer").write_text("echo The connection was refused >&2; exit 1")
    assert stopped(submitted) == (
        "nothing works on it, as far as this machine can see (`kubectl delete jobs -l app."
        f"kubernetes.io/instance={manifests.label('s')}` failed: The connection was refused)"
    )
    kubectl.unlink()
    monkeypatch.setenv("PATH", str(kubectl.parent))
    assert "can see (kubectl: no such command)" in stopped(submitted)


@pytest.mark.usefixtures("fake_runs", "_in_folder")
@pytest.mark.parametrize("url", ["runs/s/ledger.journal", "sqlite:////shared/ledger.sqlite"])
@pytest.mark.parametrize("asked", [PODS, MACHINES])
def test_a_ledger_that_is_a_file_is_refused(tmp_path: Path, asked: Asked, url: str) -> None:
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
    with pytest.raises(BadInput, match=r"storage: is a file, which .*; give a database") as caught:
        launch(spec, url, asked, 2)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("fake_runs")
@pytest.mark.parametrize("asked", [PODS, MACHINES])
def test_runs_outside_the_folder_that_workers_mount_are_refused(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    spec = fake_spec(tmp_path / "runs", {"lr": [0.1]})
    with pytest.raises(BadInput, match=r"runs\.root=.*: is outside the current folder"):
        launch(spec, "postgresql://host/db", asked, 2)
    assert not (tmp_path / "runs").exists()


def test_launchers_are_read_from_a_name_or_a_mapping() -> None:
    assert read_launcher("local") is None
    assert read_launcher({"kind": "kubernetes", "image": "i", "volume": "v"}) == Pods("i", "v")
    assert read_launcher({"kind": "ray", "address": "h:6379", "cpus": 2}) == Actors("h:6379", 2)
    given = {"kind": "skypilot", "volume": "v", "gpus": "A100:1", "cpus": None}
    assert read_launcher(given) == Machines("v", gpus="A100:1")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("slurms", "launcher=slurms: no such launcher; one of local, slurm, ray, kubernetes"),
        ({"minutes": 60}, "launcher=None: no such launcher"),
        ({"kind": "slurm", "cpu": 4}, "launcher.cpu: no such key; there are: minutes, cpus"),
        ({"kind": "local", "cpus": 4}, "launcher.cpus: no such key; there are: none for local"),
        ({"kind": "slurm", "cpus": 0}, "launcher.cpus=0: give a whole number, above 0"),
        ({"kind": "slurm", "minutes": 2}, "launcher.minutes=2: too short"),
        ({"kind": "ray", "address": 6379}, "launcher.address=6379: give text"),
        ({"kind": "slurm", "options": "-p x"}, "launcher.options=-p x: give a list"),
        ("kubernetes", "launcher.image: is needed; give 'hydra.sweeper.launcher={kind: kubernetes"),
        ({"kind": "kubernetes", "image": 7}, "launcher.image=7: give text"),
        ({"kind": "skypilot", "volume": "v", "gpus": 1}, "launcher.gpus=1: give text"),
    ],
)  # fmt: skip
def test_bad_launchers_are_refused_in_one_line(given: object, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_launcher(given)
    assert f"hydra.sweeper.{said}" in str(caught.value)
