"""Commands that do not train answer without importing torch, Lightning, Optuna or wandb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from img2gps.cli import commands
from tests.helpers.fake_study import Options, make_study

COMMANDS = sorted(path.stem for path in Path(commands.__path__[0]).glob("[!_]*.py"))
HEAVY = ("torch", "pytorch_lightning", "optuna", "wandb")
TOLD = f"""
import atexit, sys
atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr))
"""
TRAIN = TOLD + "import img2gps.train as t; t.main()"
CLI = TOLD + "from img2gps.cli.main import main; main()"


def imported(code: str, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_is_light(command: str, tmp_path: Path) -> None:
    assert imported(CLI, command, "--help", folder=tmp_path) == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--version"]])
def test_top_level_answers_are_light(arguments: list[str], tmp_path: Path) -> None:
    code = CLI if arguments == ["--version"] else TRAIN
    assert imported(code, *arguments, folder=tmp_path) == "[]"


def test_studies_and_report_are_light(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [16]}
    make_study(tmp_path / "runs", "small", Options(axes=axes, seeds=(0, 1), epochs=2, n_val=12))
    assert imported(CLI, "studies", folder=tmp_path) == "[]"
    heavy = imported(CLI, "report", "small", folder=tmp_path)
    assert heavy == "[]"
    assert (tmp_path / "reports" / "small" / "index.html").is_file()


def test_help_of_training_names_groups_choices_and_knobs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "img2gps.train", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "scheduler = cosine | none | step" in done.stdout
    assert "  lr: 0.001" in done.stdout
    assert "table1" in done.stdout
    assert "hydra:" not in done.stdout


def test_package_is_light_until_its_localizer_is_asked_for(tmp_path: Path) -> None:
    code = TOLD + "import img2gps; print(img2gps.__version__)"
    assert imported(code, folder=tmp_path) == "[]"
    code = TOLD + "from img2gps import Localizer; print(Localizer.load)"
    assert "torch" in imported(code, folder=tmp_path)
