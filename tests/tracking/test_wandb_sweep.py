"""The native W&B sweep that the documentation offers: `wandb sweep` and `wandb agent`, for real."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from img2gps.config.compose import load_config, register_sweeps
from img2gps.core.files import read_json
from img2gps.core.paths import package_folder
from img2gps.photos import dataset
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CONFIG, HISTORY, PREDICTIONS, History, list_folders
from img2gps.runs.records import RESULT
from img2gps.tracking import sync, uploads
from tests.conftest import ROOT
from tests.helpers.wandb_cases import LOGGER
from tests.helpers.wandb_server import Server

SWEEP = ROOT / "docs" / "wandb" / "table1.yaml"
SMALL = [  # the smallest real run
    "data=quad_tiny", "data.n=40", "split.n_val=8", "image_size=32", "max_epochs=2",
    "weights=none", "baselines=false", "precision=fp32", "threads=1",
]  # fmt: skip


def without_empty(plain: dict[str, Any]) -> dict[str, Any]:
    cut = {k: without_empty(v) if isinstance(v, dict) else v for k, v in plain.items()}
    return {k: v for k, v in cut.items() if v != {}}


@pytest.fixture(name="sweep")
def _sweep() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    return found


def test_the_sweep_is_the_grid_of_the_study(sweep: dict[str, Any]) -> None:
    study = yaml.safe_load((ROOT / "sweeps" / "table1.yaml").read_text(encoding="utf-8"))
    grid = study["hydra"]["sweeper"]
    for key, given in grid["params"].items():
        values = [str(value) for value in sweep["parameters"][key]["values"]]
        assert values == [value.strip() for value in str(given).split(",")]
    assert sweep["parameters"]["seed"]["values"] == grid["seeds"]
    assert sweep["parameters"].keys() == {*grid["params"], "seed"}


def test_every_value_of_the_sweep_makes_a_run(sweep: dict[str, Any]) -> None:
    from hydra import compose, initialize_config_dir

    register_sweeps()
    with initialize_config_dir(version_base="1.3", config_dir=str(package_folder("conf"))):
        for key, spec in sweep["parameters"].items():
            for value in spec["values"]:
                made = load_config(compose("train", [f"{key}={value}"]))
                assert (made.model.name if key == "model" else getattr(made, key)) == value


def photos_shown(server: Server, run_id: str, photos: dataset.Dataset) -> list[str]:
    """Return, row by row, the photo of the data set that the row's picture resembles most."""
    (artifact,) = [
        a
        for a in server.artifacts.values()
        if a["runName"] == run_id and "errors.table.json" in a["files"]
    ]
    table = json.loads(artifact["files"]["errors.table.json"])
    paths = [row[table["columns"].index("thumbnail")]["path"] for row in table["data"]]
    pixels = photos.pixels().astype(float)
    size = (photos.image_size, photos.image_size)
    found = []
    for path in paths:
        with Image.open(io.BytesIO(artifact["files"][path])) as picture:
            shown = np.asarray(picture.convert("RGB").resize(size), dtype=float)
        nearest = np.abs(pixels - shown).mean(axis=(1, 2, 3)).argmin()
        found.append(str(photos.manifest["content"].iloc[nearest]))
    return found


def contents(folder: Path) -> list[str]:
    """Return the validation photos, worst first."""
    with (folder / PREDICTIONS).open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -float(row["error_m"]))
    return [row["content"] for row in rows]


@pytest.mark.slow
def test_an_agent_runs_the_sweep(
    server: Server, sweep: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep["parameters"] = {
        "model": {"values": ["resnet18"]},
        "lr": {"values": [0.001, 0.003]},
        "batch_size": {"values": [16]},
        "seed": {"values": [0]},
    }
    sweep["command"][-1:] = [*SMALL, sweep["command"][-1]]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    environment = {**os.environ, "PATH": path, "WANDB_SILENT": "false"}

    def wandb(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    told = wandb("sweep", "sweep.yaml")
    found = re.search(r"wandb agent (\S+/sweep\d+)", told)
    assert found, told
    wandb("agent", found[1])

    (kept,) = server.sweeps.values()
    assert len(kept["given"]) == 2
    folders = list_folders(tmp_path / "runs")
    assert [folder.parent.name for folder in folders] == ["table1_wandb"] * 2
    for folder in folders:
        receipt = uploads.Receipt.find(folder, LOGGER)
        assert receipt is not None
        point = kept["given"][receipt.id]  # the agent's id, not the run folder's
        there = server.run(receipt.id)
        assert there.fields["sweep"] == found[1].rpartition("/")[2]
        assert there.values["lr"] == point["lr"]
        assert there.values["run_id"] == folder.name
        history = History(folder / HISTORY).rows()
        assert [row["val/rmse_m"] for row in there.metrics[:2]] == [
            row["val/rmse_m"] for row in history
        ]
        assert there.exit_code == 0
        photos = dataset_of(folder)
        assert photos is not None
        assert photos_shown(server, receipt.id, photos) == contents(folder)
    # and sync knows the runs under the ids that the agent chose
    lines = list(sync.sync(tmp_path / "runs", None, sync.Options()))
    assert [line.outcome for line in lines] == ["up to date"] * 2


@pytest.mark.slow
def test_a_study_of_ours_arrives_whole(server: Server, tmp_path: Path) -> None:
    """The same grid without W&B's scheduler: the study engine, online."""
    grid = ["-m", "study=online", "lr=0.001,0.003", "trainer.progress_bar=false"]
    done = subprocess.run(
        [sys.executable, "-m", "img2gps.train", *grid, *SMALL],
        cwd=tmp_path,
        env={**os.environ, "IMG2GPS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kinds = sorted(there.fields["jobType"] for there in server.runs.values())
    assert kinds == ["cell-mean", "cell-mean", "study", "train", "train"]
    for folder in list_folders(tmp_path / "runs"):
        there = server.run(folder.name)
        assert there.fields["groupName"] == "online"
        assert there.fields["displayName"] in ("lr=0.001", "lr=0.003")
        history = History(folder / HISTORY).rows()
        assert [row["epoch"] for row in there.metrics[:-1]] == [row["epoch"] for row in history]
        result = read_json(folder / RESULT) or {}
        assert there.summary["val/rmse_m"] == result["metrics"]["val/rmse_m"]
        saved = yaml.safe_load((folder / CONFIG).read_text())
        assert there.values["config"] == without_empty(saved)  # W&B drops what is empty
    lines = list(sync.sync(tmp_path / "runs", "online", sync.Options()))
    assert [line.outcome for line in lines] == ["up to date"] * 2
