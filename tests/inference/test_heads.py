"""Models whose head is solved or gives a density are deployed as networks are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from img2gps import Localizer, train
from img2gps.core.errors import BadInput
from img2gps.inference.deployed import REMEMBERS, Deployed
from img2gps.inference.export import formats
from img2gps.inference.export.check import sample_pixels
from img2gps.inference.exported import read_exported, write_exported
from img2gps.inference.localizer import load
from tests.helpers.tiny import tiny_config

HEADS = ("ridge", "knn+kernel_ridge", "mixture", "cells", "mlp", "metric", "match")
FROZEN = ("model=efficientnet_lite0", "model.train=head", "weights=imagenet", "precision=fp32")
GRAPHS = ("leaderboard", "onnx", "torch_export")


@pytest.fixture(autouse=True)
def _cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> dict[str, Deployed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        patch.chdir(tmp_path_factory.mktemp("heads"))
        made = {}
        for head in HEADS:
            folder = train.run(tiny_config(*FROZEN, f"head={head}")).folder
            made[head] = load(str(folder.resolve()), [])
        return made


@pytest.mark.parametrize("head", HEADS)
def test_model_answers_as_its_run_did(head: str, deployed: dict[str, Deployed]) -> None:
    localizer = Localizer(deployed[head])
    folder = deployed[head].folders[0]
    assert localizer.gallery is not None
    dataset = localizer.gallery.dataset
    assert dataset is not None
    with (folder / "predictions.csv").open() as file:
        wanted = {row["content"]: row for row in csv.DictReader(file)}
    rows = np.flatnonzero(dataset.manifest["content"].isin(wanted))
    degrees = localizer.answer(dataset.pixels()[rows]).degrees.numpy()
    for content, answer in zip(dataset.manifest["content"].iloc[rows], degrees, strict=True):
        row = wanted[content]
        own = float(row["pred_lat_deg"]), float(row["pred_lon_deg"])
        assert tuple(answer) == pytest.approx(own, abs=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_exported_folder_is_the_same_model(
    head: str, deployed: dict[str, Deployed], tmp_path: Path
) -> None:
    write_exported(deployed[head], tmp_path)
    again = read_exported(tmp_path)
    assert again.heads == deployed[head].heads
    pixels = torch.from_numpy(sample_pixels(deployed[head].folders, 64))
    with torch.inference_mode():
        pairs = zip(again.network(pixels), deployed[head].network(pixels), strict=True)
        for found, expected in pairs:
            assert torch.equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("head", [head for head in HEADS if head != "match"])
def test_graphs_answer_within_a_metre(
    head: str, name: str, deployed: dict[str, Deployed], tmp_path: Path
) -> None:
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    assert formats.export(deployed[head], tmp_path / "out", name) < 1.0


@pytest.mark.parametrize("name", GRAPHS)
def test_head_that_no_graph_can_hold_is_named_with_what_can(
    name: str, deployed: dict[str, Deployed], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"head=match .* choose --format hub or state_dict"):
        formats.export(deployed["match"], tmp_path / "out", name)


def test_card_says_whose_features_the_head_holds(deployed: dict[str, Deployed]) -> None:
    told = {head for head in HEADS if REMEMBERS in deployed[head].card.notes}
    assert told == {"knn+kernel_ridge", "metric", "match"}


def test_density_gives_each_photo_a_radius_of_its_own(deployed: dict[str, Deployed]) -> None:
    localizer = Localizer(deployed["mixture"])
    gallery = localizer.gallery
    assert gallery is not None
    assert gallery.dataset is not None
    pixels = gallery.dataset.pixels()
    trust = localizer.card.trust
    assert trust is not None
    assert trust.adaptive
    photos = [np.array(pixels[row]) for row in range(12)]
    nine, half = (
        np.array([one.radius_m for one in localizer.predict(photos, level=level)])
        for level in (0.9, 0.5)
    )
    assert len(set(nine.round(3))) > 6
    assert (half < nine).all()
    assert half / nine == pytest.approx(half[0] / nine[0])
    with torch.inference_mode():
        member = localizer.deployed.network.parts()[0]
        images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float()
        deviation_m = member(images)[2].numpy()
    assert nine / deviation_m == pytest.approx(nine[0] / deviation_m[0])


@pytest.mark.parametrize("head", ["nonsense", "mixture+nonsense"])
def test_tampered_head_is_refused(head: str, deployed: dict[str, Deployed], tmp_path: Path) -> None:
    write_exported(deployed["mixture"], tmp_path)
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"name": "mixture"', f'"name": "{head}"'))
    with pytest.raises(BadInput, match=r"not an exported model .*\(head nonsense\)"):
        read_exported(tmp_path)
    text = path.read_text().replace(f'"{head}"', '"mixture"')
    path.write_text(text.replace('"count": 8', '"count": "x"'))
    with pytest.raises(BadInput, match=r"not an exported model .*\(head: "):
        read_exported(tmp_path)
