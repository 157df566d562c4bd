"""The container of the page: no engine is at hand, so each of its instructions is carried out."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from packaging.specifiers import SpecifierSet

from img2gps.inference.app.__main__ import parser
from img2gps.inference.export import formats
from img2gps.inference.export.app import DOCKERFILE, REQUIRED, REQUIREMENTS
from img2gps.inference.localizer import load
from tests.conftest import ROOT
from tests.helpers.fresh import fresh_python

PICTURES = (".jpg", ".jpeg", ".png", ".heic", ".webp", ".tif")
TRAINING = ("torch", "torchvision", "timm", "pytorch-lightning", "wandb", "optuna", "pandas")


def instructions() -> list[tuple[str, str]]:
    """The instructions of Dockerfile.app, in order, as name and arguments."""
    lines = (ROOT / "Dockerfile.app").read_text().splitlines()
    assert not any(line.endswith("\\") for line in lines)  # so that a line is an instruction
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(name, arguments) for name, arguments in words]


def argument(name: str) -> str:
    (found,) = [arguments for one, arguments in instructions() if one == name]
    return found


@pytest.fixture(scope="module")
def exported(
    tiny_runs: dict[str, Path], shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder in which `docker build` runs."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported") / "app"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        formats.export(load(str(tiny_runs["resnet18"]), []), folder, "app")
    return folder


def test_file_keeps_the_usual_rules() -> None:
    names = [name for name, _ in instructions()]
    image, tag = argument("FROM").split(":")
    assert (image, tag) == ("python", "3.12-slim")  # a tag, and no moving one
    assert "ADD" not in names
    assert Path(argument("WORKDIR")).is_absolute()
    assert argument("USER") not in ("root", "0")
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert names[-1] == "CMD"
    assert isinstance(json.loads(argument("CMD")), list)  # so that signals reach Python itself
    assert int(argument("EXPOSE")) == parser.get_default("port")


def test_packages_are_pinned_fit_its_python_and_train_nothing(exported: Path) -> None:
    version = argument("FROM").split(":")[1].split("-")[0]
    for line in (exported / REQUIRED).read_text().splitlines():
        name, pinned = line.split("==")
        found = metadata.metadata(name)
        assert found["Version"] == pinned
        assert version in SpecifierSet(found["Requires-Python"] or "")
        assert name not in TRAINING


@pytest.mark.slow
def test_every_instruction_works_in_a_clean_environment(
    exported: Path, quad_photos: Path, tmp_path: Path
) -> None:
    python = fresh_python(tmp_path / "env", (*REQUIREMENTS, "pip"))
    root = tmp_path / "root"
    place, user = root, "root"
    for name, arguments in instructions():
        if name == "WORKDIR":
            place = root / arguments.lstrip("/")
            place.mkdir(parents=True)
        elif name == "COPY":
            source, target = arguments.split()
            copied(exported / source, place / target)
        elif name == "RUN":
            carried_out(shlex.split(arguments), python, place, root)
        elif name == "USER":
            user = arguments
    if os.geteuid() == 0:
        assert f"{user}:" in (root / "etc" / "passwd").read_text()
    files = sorted(path for path in place.rglob("*") if path.is_file())
    assert {path.name for path in files} >= {DOCKERFILE, "model.onnx", "card.json", "app.js"}
    assert [path for path in files if path.suffix in PICTURES] == []
    photo = min(quad_photos.glob("*.jpg")).read_bytes()
    for address in served(json.loads(argument("CMD")), python, place):
        assert httpx.get(address).text.startswith("<!DOCTYPE html>")
        answer = httpx.post(f"{address}/api/predict", content=photo, timeout=60).json()
        assert 39.9 < answer["lat_deg"] < 40
    assert sorted(path for path in place.rglob("*") if path.is_file()) == files  # --read-only


def copied(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def carried_out(words: list[str], python: Path, place: Path, root: Path) -> None:
    """Run a command of the Dockerfile, `pip` without a network and `useradd` below a folder."""
    if words[0] == "useradd":
        (root / "etc").mkdir(parents=True)
        for name in ("passwd", "group"):
            (root / "etc" / name).touch()
        if os.geteuid() != 0 or shutil.which("useradd") is None:
            return  # only root adds users
        words = [words[0], "--prefix", str(root), *words[1:]]
    elif words[0] == "pip":
        words = [str(python), "-m", *words]
    subprocess.run(words, cwd=place, check=True, env=clean(PIP_NO_INDEX="1"), capture_output=True)


def clean(**more: str) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **more}


def served(command: list[str], python: Path, place: Path) -> Iterator[str]:
    """Yield the address of the page while the command serves it, on a port that is free."""
    assert command[0] == "python"
    process = subprocess.Popen(
        [str(python), *command[1:], "--port", "0"],
        cwd=place,
        env=clean(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    match = re.search(r"http://0\.0\.0\.0:(\d+)", process.stdout.readline())
    assert match is not None, process.communicate()[1]
    try:
        yield f"http://127.0.0.1:{match[1]}"
    finally:
        process.send_signal(signal.SIGTERM)  # as `docker stop` does
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said, said
