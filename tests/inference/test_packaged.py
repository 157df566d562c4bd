"""The small model that comes with the package answers where nothing has been trained."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from img2gps import Localizer
from img2gps.cli.main import main
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.paths import package_folder
from img2gps.inference.find import PACKAGED, newest
from img2gps.inference.inputs import Photo
from img2gps.inference.position import NO_NUMBER
from img2gps.photos import quad

FOLDER = package_folder("models") / PACKAGED


@pytest.fixture(scope="module")
def hidden_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of the built-in quad that no training has seen, in sessions of their own."""
    folder = tmp_path_factory.mktemp("hidden")
    spec = quad.QuadSpec(n=60, width=256, height=192, part="test_known")
    quad.render(spec, folder, threads=1, progress=False)
    return folder


def test_it_is_smaller_than_five_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000


@pytest.mark.slow
def test_it_answers_photos_of_the_quad_better_than_their_mean(
    hidden_photos: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["predict", str(hidden_photos), "--json"])
    assert end.value.code == 0
    said = capsys.readouterr()
    assert "by The built-in quad" in said.err
    answers = json.loads(said.out)
    error = np.array([one["error_m"] for one in answers])
    true = np.array([[one["true_lat_deg"], one["true_lon_deg"]] for one in answers])
    mean = geo.rmse_m(true[:, 0], true[:, 1], *true.mean(axis=0))
    assert len(error) == 60
    assert np.sqrt(np.mean(error**2)) < 0.7 * mean
    inside = [one["error_m"] <= one["radius_m"] for one in answers]
    assert 0.8 <= np.mean(inside) <= 1.0


@pytest.mark.slow
def test_first_minute_needs_no_photo_and_no_training(
    workdir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as end:
        main(["predict", "quad", "--map", "map.html"])
    assert end.value.code == 0
    said = capsys.readouterr()
    assert f"12 photos of the built-in quad are in {tmp_path / 'cache' / 'quad-photos'}" in said.err
    assert said.out.count(" m from the position in the photo") == 12
    assert (workdir / "map.html").read_text().count('class="answer') == 12


def test_it_is_meant_only_where_there_are_no_studies(tmp_path: Path) -> None:
    assert newest([tmp_path]) == PACKAGED
    assert Localizer.load(roots=[tmp_path]).card.synthetic


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "picture", "array"])
def test_single_photo_is_taken_as_one_photo(kind: str, hidden_photos: Path) -> None:
    path = min(hidden_photos.glob("*.jpg"))
    with Image.open(path) as picture:
        photos: dict[str, Photo] = {
            "path": path,
            "text": str(path),
            "bytes": path.read_bytes(),
            "picture": picture,
            "array": np.asarray(picture),
        }
        (answer,) = Localizer.load(PACKAGED).predict(photos[kind])
    assert answer.error == ""


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("expected", "rmse_m", "<b>"),
        ("expected", "rmse_m", None),
        ("expected", "median_m", 1e400),
        ("expected", "n_photos", "many"),
        ("trust", "level", [0.9]),
        ("trust", "ranked_cells", None),
        ("baselines", "ridge", "x"),
        ("", "image_size", 10**6),
        ("", "image_size", "112"),
        ("", "title", {"a": 1}),
        ("", "data", "quad"),
        ("", "runs", 5),
        ("", "notes", "none"),
    ],
)
def test_tampered_card_is_refused(part: str, key: str, value: object, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    plain = json.loads(path.read_text())
    (plain["card"][part] if part else plain["card"])[key] = value
    path.write_text(json.dumps(plain))
    with pytest.raises(BadInput, match=f"not an exported model that this version reads .{key}"):
        Localizer.load(tmp_path / "model")


def test_level_that_takes_more_spots_is_answered_without_a_radius(
    hidden_photos: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(min(hidden_photos.glob("*.jpg")))
    with pytest.raises(SystemExit) as end:
        main(["predict", photo, "--run", PACKAGED, "--level", "0.999", "--json"])
    assert end.value.code == 0
    said = capsys.readouterr()
    assert "no radius at --level 0.999: 92 spots were held out" in said.err
    (answer,) = json.loads(said.out)
    assert (answer["radius_m"], answer["error"]) == (None, None)


def test_weights_without_numbers_give_no_position(hidden_photos: Path, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["members.0.head.bias"] = torch.full_like(tensors["members.0.head.bias"], torch.nan)
    save_file(tensors, path)
    (answer,) = Localizer.load(tmp_path / "model").predict(min(hidden_photos.glob("*.jpg")))
    assert (answer.lat_deg, answer.error) == (None, NO_NUMBER)


def test_missing_package_is_named_with_the_command_that_adds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadInput, match=r"needs timm; pip install 'img2gps\[timm\]'$"):
        Localizer.load(PACKAGED, [tmp_path])
