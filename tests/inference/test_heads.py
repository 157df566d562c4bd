"""Models whose head is solved or gives a density are deployed as networks are."""

from __future__ import annotations

import csv
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from img2gps import Localizer, train
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.inference.app.local import LocalModel
from img2gps.inference.app.model import OnnxModel
from img2gps.inference.app.server import create
from img2gps.inference.density import Density
from img2gps.inference.deployed import REMEMBERS, Deployed
from img2gps.inference.export import formats
from img2gps.inference.export.check import sample_pixels
from img2gps.inference.exported import read_exported, write_exported
from img2gps.inference.features import LOOKS, looks_of
from img2gps.inference.inputs import read_input
from img2gps.inference.localizer import load
from img2gps.inference.network import Network
from img2gps.inference.score import ALL, score
from img2gps.runs.cached import dataset_of
from img2gps.runs.records import read_result
from tests.helpers.tiny import tiny_config

HEADS = ("ridge", "knn+kernel_ridge", "mixture", "cells", "mlp", "metric", "match", "local_ridge")
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
    assert told == {"knn+kernel_ridge", "metric", "match", "local_ridge"}


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
        deviation_m = member(images).deviation_m.numpy()
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


WITH_DENSITY = ("mixture", "cells")


def photos_of(localizer: Localizer, count: int) -> list[np.ndarray]:
    assert localizer.gallery is not None
    assert localizer.gallery.dataset is not None
    return [np.array(localizer.gallery.dataset.pixels()[row]) for row in range(count)]


@pytest.mark.parametrize("head", HEADS)
def test_density_comes_with_the_heads_that_have_one(
    head: str, deployed: dict[str, Deployed]
) -> None:
    localizer = Localizer(deployed[head])
    for position in localizer.predict(photos_of(localizer, 2)):
        assert (position.density is not None) == (head in WITH_DENSITY)


@pytest.mark.parametrize("head", WITH_DENSITY)
def test_density_integrates_to_one_around_the_answer(
    head: str, deployed: dict[str, Deployed]
) -> None:
    localizer = Localizer(deployed[head])
    for position in localizer.predict(photos_of(localizer, 3)):
        density = position.density
        assert density is not None
        assert density.grid().probability.sum() == pytest.approx(1, abs=4e-3)
        lat, lon = np.average([density.lat_deg, density.lon_deg], axis=1, weights=density.shares)
        assert position.lat_deg == pytest.approx(lat, abs=1e-6)
        assert position.lon_deg == pytest.approx(lon, abs=1e-6)


def test_likelihood_of_evaluate_is_that_of_the_run(deployed: dict[str, Deployed]) -> None:
    localizer = Localizer(deployed["mixture"])
    assert localizer.gallery is not None
    assert localizer.gallery.dataset is not None
    found = score(localizer, localizer.gallery.dataset)  # on the validation photos: others trained
    result = read_result(deployed["mixture"].folders[0])
    assert result is not None
    assert found.nll[ALL] == pytest.approx(result.metrics["val/nll"], rel=1e-4)


def test_average_pools_the_densities_of_its_members(deployed: dict[str, Deployed]) -> None:
    heads = [deployed["mixture"], deployed["cells"]]
    members = [one.network.parts()[0] for one in heads]
    pixels = torch.from_numpy(sample_pixels(heads[0].folders, 64))
    with torch.inference_mode():
        both = Network(members).eval()(pixels).density
        own = [one.network(pixels).density for one in heads]
        mixed = Network([members[0], deployed["mlp"].network.parts()[0]]).eval()(pixels).density
    assert both.shape[1] == sum(one.shape[1] for one in own)
    assert both[..., 0].sum(dim=1).numpy() == pytest.approx(1)
    assert torch.equal(both[:, : own[0].shape[1], 1:], own[0][..., 1:])
    assert mixed.shape[1] == 0


@pytest.mark.parametrize("head", WITH_DENSITY)
def test_command_and_app_give_the_density_that_python_gives(
    head: str, deployed: dict[str, Deployed], quad_photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = min(quad_photos.glob("*.jpg"))
    localizer = Localizer(deployed[head])
    (position,) = localizer.predict(photo)
    assert position.density is not None
    with pytest.raises(SystemExit):
        main(["predict", str(photo), "--run", str(deployed[head].folders[0]), "--json"])
    (printed,) = json.loads(capsys.readouterr().out)
    app = create(LocalModel(localizer, show_training=False))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answered = client.post("/api/predict", content=photo.read_bytes()).json()
    assert printed["density"] == answered["density"] == position.density.plain()


@pytest.mark.slow
@pytest.mark.parametrize("head", WITH_DENSITY)
def test_graphs_keep_the_density(
    head: str, deployed: dict[str, Deployed], quad_photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    formats.export(deployed[head], tmp_path / "app", "app")
    formats.export(deployed[head], tmp_path / "program", "torch_export")
    photo = min(quad_photos.glob("*.jpg")).read_bytes()
    (position,) = Localizer(deployed[head]).predict(photo)
    hosted = OnnxModel(tmp_path / "app").locate(photo, "a.jpg")
    pixels = read_input(photo, 64).pixels
    assert pixels is not None
    program = torch.export.load(tmp_path / "program" / "model.pt2").module()
    exported = Density.from_rows(program(torch.from_numpy(pixels[None]))[3][0].tolist())
    assert position.density is not None
    for found in (hosted.density, exported):
        assert found is not None
        assert found.shares == pytest.approx(position.density.shares, abs=1e-4)
        assert found.lat_deg == pytest.approx(position.density.lat_deg, abs=1e-6)
        assert found.lon_deg == pytest.approx(position.density.lon_deg, abs=1e-6)
        assert found.width_m == pytest.approx(position.density.width_m, rel=1e-3)
    assert "density" in (tmp_path / "program" / "README.md").read_text()


def test_looking_at_the_training_photos_does_not_ask_the_head(
    deployed: dict[str, Deployed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`match` takes a hundred times as long as its backbone, and its answers are not needed."""
    own = deployed["match"]
    dataset = dataset_of(own.folders[0])
    assert dataset is not None
    with torch.inference_mode():
        expected = own.network(torch.from_numpy(np.array(dataset.pixels()[:4]))).features.numpy()
    shutil.copytree(own.folders[0], tmp_path / "run", ignore=shutil.ignore_patterns(LOOKS))
    asked = []
    monkeypatch.setattr(own.network.parts()[0].head, "forward", lambda *_: asked.append(True))
    found = looks_of(replace(own, folders=(tmp_path / "run",)), dataset)
    assert asked == []
    assert len(found.features) == len(found.style) == len(dataset)
    assert found.features[:4] == pytest.approx(expected, abs=2e-3)
    assert np.linalg.norm(found.style, axis=1) == pytest.approx(1)


@pytest.mark.parametrize("head", ["mlp", "match"])
def test_photos_asked_at_once_get_the_answers_of_each_alone(
    head: str, deployed: dict[str, Deployed]
) -> None:
    localizer = Localizer(deployed[head])
    photos = [photo[None] for photo in photos_of(localizer, 12)]
    alone = [localizer.answer(photo) for photo in photos]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(localizer.answer, photos))
    for expected, found in zip(alone, together, strict=True):
        assert torch.equal(found.degrees, expected.degrees)
        assert torch.equal(found.strangeness, expected.strangeness)
