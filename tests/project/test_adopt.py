"""A user's own model, data and metric through `_target_` and --config-dir, without a fork."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from img2gps.core.errors import BadInput
from img2gps.inference.predict import Predictor
from img2gps.runs.records import RESULT
from tests.helpers.photos import make_photo
from tests.helpers.tiny import TINY

CODE = '''
import numpy as np
from torch import nn
from img2gps.photos.ingest import FolderSource

class TinyNet(nn.Module):
    """Pictures (n, 3, h, w) to two outputs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(width, 2),
        )

    def forward(self, images):
        return self.net(images)

def my_folder(root: str):
    """A source: any function that returns one of img2gps.photos.ingest's, or your own."""
    return FolderSource(root)

def north_error_deg(lat, lon, pred_lat, pred_lon) -> float:
    return float(np.abs(pred_lat - lat).mean())
'''
MODEL = "_target_: mine.TinyNet\nname: tinynet\nwidth: 4\n"
DATA = "_target_: mine.my_folder\nname: my_photos\nroot: photos\n"


@pytest.fixture
def project(workdir: Path) -> Path:
    """A user's folder: a module, two configuration files and photos."""
    (workdir / "mine.py").write_text(CODE)
    for group, name, text in (("model", "tinynet", MODEL), ("data", "mine", DATA)):
        (workdir / "my_conf" / group).mkdir(parents=True)
        (workdir / "my_conf" / group / f"{name}.yaml").write_text(text)
    (workdir / "photos").mkdir()
    for i in range(40):
        make_photo(
            workdir / "photos" / f"{i}.jpg", 39.9504 + i * 5e-5, -75.1926 + (i % 7) * 3e-4, seed=i
        )
    return workdir


def train(project: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "img2gps.train",
        "--config-dir",
        "my_conf",
        *TINY[2:],
        *overrides,
    ]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


OWN = (
    "model=tinynet",
    "data=mine",
    "+metrics.north_deg={_target_: mine.north_error_deg}",
)


def test_own_model_data_and_metric(project: Path) -> None:
    done = train(project, *OWN, "model.width=6")
    assert done.returncode == 0, done.stderr
    folder = next((project / "runs" / "default").iterdir())
    result = json.loads((folder / RESULT).read_text())
    assert result["swept"]["model"] == "tinynet"
    assert result["data"]["n"] == 40
    assert 0 < result["metrics"]["val/north_deg"] < 0.01
    assert result["model"]["parameters"] == 3 * 6 * 49 + 6 + 6 * 2 + 2
    with pytest.raises(BadInput, match="never imported from a saved run"):
        Predictor.load(folder)


def test_argument_of_an_own_model_is_part_of_the_identity(project: Path) -> None:
    for width in (2, 3):
        assert train(project, *OWN, f"model.width={width}", "max_epochs=1").returncode == 0
    assert len(list((project / "runs" / "default").iterdir())) == 2


def test_own_model_starts_from_a_file_of_weights(project: Path) -> None:
    (project / "save.py").write_text(
        "import torch, mine\nnet = mine.TinyNet(4)\n"
        "[torch.nn.init.constant_(p, 0.0) for p in net.parameters()]\n"
        "torch.save(net.state_dict(), 'start.pth')\n"
    )
    subprocess.run([sys.executable, "save.py"], cwd=project, check=True)
    still = ("max_epochs=1", "lr=1e-30")  # all predictions stay where zero weights put them
    done = train(project, *OWN, *still, "weights=start.pth")
    assert done.returncode == 0, done.stderr
    folder = next((project / "runs" / "default").iterdir())
    with (folder / "predictions.csv").open(newline="") as file:
        assert len({row["pred_lat_deg"] for row in csv.DictReader(file)}) == 1
    assert json.loads((folder / RESULT).read_text())["weights"]["resolved"] == "file"
    done = train(project, *OWN, *still, "weights=start.pth", "model.width=5")
    assert done.returncode == 2
    assert "belongs to another architecture" in done.stderr


def test_own_class_that_cannot_be_made_is_one_line(project: Path) -> None:
    done = train(project, "data=mine", "model=tinynet", "model._target_=mine.Absent")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("img2gps: error: model._target_: cannot be made")
    assert "Traceback" not in done.stderr


OWN_PARTS = {
    "loss/smooth": "_target_: torch.nn.SmoothL1Loss\nbeta: 0.5\n",
    "loss/cubic": "_target_: mine.power_loss\npower: 3\n",
    "augmentation/darker": "_target_: mine.darker\nfactor: 0.5\n",
    "optimizer/nadam": "_target_: torch.optim.NAdam\nweight_decay: 0.01\n",
    "scheduler/exponential": "_target_: torch.optim.lr_scheduler.ExponentialLR\ngamma: 0.5\n",
}
OWN_FUNCTIONS = """
def power_loss(answers, targets, power):
    return (answers - targets).abs().pow(power).mean()

def darker(images, generator, factor):
    return images * factor
"""
UNFIT_FUNCTIONS = """
def lonely(one):
    return one

def bigger(images, generator):
    return images.repeat(2, 1, 1, 1)
"""
OWN_CALLBACK = """
import pathlib
import pytorch_lightning as pl

class Note(pl.Callback):
    def __init__(self, text):
        self.text = text

    def on_fit_end(self, trainer, module):
        pathlib.Path("note.txt").write_text(self.text)
"""


@pytest.mark.parametrize("part", OWN_PARTS)
def test_own_loss_augmentation_optimiser_and_schedule(part: str, project: Path) -> None:
    with (project / "mine.py").open("a") as file:
        file.write(OWN_FUNCTIONS)
    for name, text in OWN_PARTS.items():
        path = project / "my_conf" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    group, _, choice = part.partition("/")
    values = []
    for words in ((), (f"{group}={choice}",)):
        done = train(project, "data=mine", *words, "study=own")
        assert done.returncode == 0, done.stderr
    folders = list((project / "runs" / "own").iterdir())
    assert len(folders) == 2  # what is one's own is part of the identity
    for folder in folders:
        values.append(json.loads((folder / RESULT).read_text())["metrics"]["val/rmse_m"])
        assert Predictor.load(folder).config.seed == 0  # nothing of it is needed to predict
    assert values[0] != values[1]


def test_own_model_says_what_it_loads(project: Path) -> None:
    with (project / "my_conf" / "model" / "tinynet.yaml").open("a") as file:
        file.write("pretrained: places365\n")
    words = (*OWN, "max_epochs=1")
    done = train(project, *words, "weights=imagenet")
    assert done.returncode == 0, done.stderr
    assert "FROM SCRATCH" not in done.stderr
    folder = next((project / "runs" / "default").iterdir())
    weights = json.loads((folder / RESULT).read_text())["weights"]
    assert (weights["resolved"], weights["reason"]) == ("own", "places365")
    assert train(project, *words, "weights=none").returncode == 0
    assert len(list((project / "runs" / "default").iterdir())) == 2


def test_own_callback_is_called_and_is_part_of_the_identity(project: Path) -> None:
    with (project / "mine.py").open("a") as file:
        file.write(OWN_CALLBACK)
    callback = "+callbacks.note={_target_: mine.Note, text: seen}"
    for words in ((), (callback,)):
        done = train(project, "data=mine", *words, "max_epochs=1")
        assert done.returncode == 0, done.stderr
    assert (project / "note.txt").read_text() == "seen"
    assert len(list((project / "runs" / "default").iterdir())) == 2
    done = train(project, "data=mine", "+callbacks.note={text: seen}")
    assert done.returncode == 2
    assert "give callbacks.note._target_=package.Class" in done.stderr


def test_own_loss_that_does_not_exist_is_one_line(project: Path) -> None:
    done = train(project, "data=mine", "+loss._target_=mine.absent")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("img2gps: error: loss._target_: cannot be found")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["++loss._target_=mine.lonely"],  # with the key of the group that was chosen before
            "loss._target_=mine.lonely: cannot be called with (answers, targets) and the keys of "
            "the group (delta_m): ",
        ),
        (
            ["+augmentation._target_=mine.lonely"],
            "augmentation._target_=mine.lonely: cannot be called with (images, generator): ",
        ),
        (
            ["+augmentation._target_=mine.bigger"],
            "augmentation._target_=mine.bigger: returns [32, 3, 64, 64]; return photos of the ",
        ),
    ],
)
def test_own_function_that_does_not_fit_is_one_line(
    project: Path, overrides: list[str], said: str
) -> None:
    with (project / "mine.py").open("a") as file:
        file.write(UNFIT_FUNCTIONS)
    done = train(project, "data=mine", *overrides)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
