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
