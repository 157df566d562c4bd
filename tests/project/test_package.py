"""The built wheel, installed elsewhere and used outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
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


def fresh_environment(folder: Path) -> Path:
    """Make an environment with what img2gps requires, but without it; return its Python."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    # A plain path in a .pth file: the editable install in that folder is not followed.
    paths = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(paths) + "\n")
    return folder / "bin" / "python"


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Let pip install into an environment, from no index."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment that has the wheel, and the tested versions of the rest."""
    python = fresh_environment(tmp_path_factory.mktemp("env"))
    done = pip(python, "--no-deps", str(wheel))
    assert done.returncode == 0, done.stderr
    return python


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
    assert "img2gps/models/quad/model.safetensors" in names
    assert "hydra_plugins/__init__.py" not in names


def test_installed_wheel_is_what_runs(installed: Path, workdir: Path) -> None:
    code = "import img2gps; print(img2gps.__file__)"
    assert str(installed.parent.parent) in run(installed, workdir, "-c", code).stdout


def test_an_extra_is_added_to_the_installed_package_from_anywhere(installed: Path) -> None:
    done = pip(installed, "--dry-run", "img2gps[timm,offline]")
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout  # its requirements are there


def test_it_installs_from_a_repository(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a Git repository")
    python = fresh_environment(tmp_path / "env")
    address = f"file://localhost{ROOT}"
    done = pip(python, "--no-build-isolation", f"img2gps[offline] @ git+{address}")
    assert done.returncode == 0, done.stderr
    (conf,) = (tmp_path / "env").glob("lib/python*/site-packages/img2gps/conf")
    assert (conf / "train.yaml").is_file()


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


def test_installed_wheel_answers_in_the_first_minute(installed: Path, workdir: Path) -> None:
    done = run(installed.with_name("img2gps"), workdir, "predict", "quad", "--to", "answers.csv")
    assert done.returncode == 0, done.stderr
    assert "by The built-in quad" in done.stderr
    assert len((workdir / "answers.csv").read_text().splitlines()) == 13
