"""The built wheel, installed elsewhere and used outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.helpers.tiny import TINY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment that has the wheel, and the tested versions of the rest."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    subprocess.run([*command, "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    # A plain path in a .pth file: the editable install in that folder is not followed.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def run(python: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *arguments], cwd=cwd, capture_output=True, text=True, env=environment
    )


def test_wheel_holds_the_package_its_configuration_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"img2gps", "hydra_plugins"} == {t for t in tops if not t.endswith(".dist-info")}
    assert "img2gps/conf/train.yaml" in names
    assert "img2gps/sweeps/table1.yaml" in names
    assert "hydra_plugins/__init__.py" not in names


def test_installed_wheel_is_what_runs(installed: Path, workdir: Path) -> None:
    code = "import img2gps; print(img2gps.__file__)"
    assert str(installed.parent.parent) in run(installed, workdir, "-c", code).stdout


def test_console_script_works_outside_the_checkout(installed: Path, workdir: Path) -> None:
    done = run(installed.with_name("img2gps"), workdir, "studies")
    assert done.returncode == 0, done.stderr
    assert "no studies below runs" in done.stdout


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_an_installed_cuda_build_satisfies_what_is_asked_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    (specifier,) = (found.specifier for found in wanted if found.name == name)
    for version in ("2.6.0+cu124", "2.9.1+cu126", "99.0"):  # an upper limit would replace it
        assert specifier.contains(version)


def test_installed_wheel_trains_anywhere(installed: Path, workdir: Path) -> None:
    done = run(installed, workdir, "-m", "img2gps.train", *TINY, "max_epochs=1")
    assert done.returncode == 0, done.stderr
    assert "validation RMSE" in done.stdout


def test_installed_wheel_finds_its_studies_anywhere(installed: Path, workdir: Path) -> None:
    done = run(installed, workdir, "-m", "img2gps.train", "sweeps=table1", "--cfg", "hydra")
    assert done.returncode == 0, done.stderr
    assert "lr: 0.001,0.003,0.005" in done.stdout


def test_a_users_folders_are_no_source_of_configuration(installed: Path, workdir: Path) -> None:
    (workdir / "model").mkdir()
    (workdir / "model" / "mine.yaml").write_text("name: mine\n")
    done = run(installed, workdir, "-m", "img2gps.train", "model=mine", "--cfg", "job")
    assert done.returncode == 2
    assert done.stderr.startswith("img2gps: error: model=mine: no such choice")
    own = run(
        installed, workdir, "-m", "img2gps.train", "--config-dir", ".", "model=mine", "--cfg", "job"
    )
    assert own.returncode == 0, own.stderr
